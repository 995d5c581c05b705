"""The Hausdorff distance by distance maps: errors priced by how far they lie from the contours."""

from typing import Literal

from segloss.core import (
    Activation,
    ClassWeight,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Spacing,
    Value,
    check_reduction,
    class_reducer,
    count,
    errors_by_distance,
    one_of,
    positive,
    prepare,
    ratio,
)


def hausdorff_dt_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    one_sided: bool = False,
    side: Literal["both", "inside"] = "both",
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared error, priced by the distances to the true and to the predicted contour.

    $$L_c = \frac{1}{N} \sum_i (p_{ic} - g_{ic})^2\, \big(d^g_{ic}{}^\alpha + d^{\hat p}_{ic}{}^\alpha\big)$$

    $d^m_{ic}$ is the Euclidean distance from voxel $i$ to the nearest voxel of the other side of a mask $m$: of the
    truth $g$, and of the prediction $\hat p = [p > 1/2]$. It is at least one step of the grid, where the paper measures
    to the contour; without another side, in an empty or full mask, it is 0. The distances carry no gradient. Those of
    the prediction are computed anew in every step, those of the truth may be given.

    Args:
        alpha: Exponent $\alpha$ of the distances.
        one_sided: Whether the term of the prediction is left out. Then everything can be computed beforehand.
        side: Which voxels have a distance: `"both"`, or `"inside"`, those of the mask only; an error outside of both
            masks then costs nothing.

    Returns:
        A scalar of at least 0, in the units of `spacing` to the power of `alpha`; or with `reduction="none"` one loss
        an image and class, (B, C).

    Raises:
        ValueError: If `alpha` is not positive, `side` is not known, `spacing` does not have a positive number for each
            axis, `distance` has the wrong shape, or an input has the wrong shape, type or values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[0.0, -20.0, -20.0, 20.0, 20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> hausdorff_dt_loss(logits, target, one_sided=True)
        tensor(0.3750)
    """
    positive(alpha=alpha)
    one_of("side", side, ("both", "inside"))
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)
    how = {"side": side, "background": include_background, "power": alpha}
    *_, errors = errors_by_distance(x, distance, spacing, one_sided=one_sided, **how).unbind(1)
    return reduce(ratio(errors, count(x), empty=0.0))


def log_hausdorff_dt_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Logarithm of one plus the mean of the Hausdorff loss by distance maps, which grows less on large images.

    $$L = \log\Big(1 + \frac{1}{B C N} \sum_{b, c, i} (p_{bic} - g_{bic})^2\,
    \big(d^g_{bic}{}^\alpha + d^{\hat p}_{bic}{}^\alpha\big)\Big)$$

    The letters are those of `hausdorff_dt_loss`; the mean is over the images $b$ too. The paper has no logarithm.

    Args:
        alpha: Exponent $\alpha$ of the distances.

    Returns:
        A scalar of at least 0; with `reduction="none"` the one loss of the batch, (1,).

    Raises:
        ValueError: If `alpha` is not positive, `spacing` does not have a positive number for each axis, `distance` has
            the wrong shape, or an input has the wrong shape, type or values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[0.0, -20.0, -20.0, 20.0, 20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> log_hausdorff_dt_loss(logits, target)
        tensor(0.5596)
    """
    check_reduction(reduction)
    mean = hausdorff_dt_loss(
        logits,
        target,
        alpha=alpha,
        spacing=spacing,
        distance=distance,
        activation=activation,
        include_background=include_background,
        weight=weight,
        ignore_index=ignore_index,
        mask=mask,
    )
    loss = mean.log1p()
    return loss[None] if reduction == "none" else loss
