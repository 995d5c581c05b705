"""The Hausdorff distance by erosions: errors priced by how many erosions they erode_again."""

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    class_reducer,
    count,
    eroded_errors,
    positive,
    predicted,
    prepare,
    ratio,
    true_mask,
)


def hausdorff_erosion_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    erosions: int = 10,
    normalise: bool = True,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared error eroded again and again, each time priced higher.

    $$L_c = \frac{1}{N} \sum_{k=1}^{K} k^\alpha \sum_i e^{(k)}_{ic}, \qquad
    e^{(k)} = \nu\big(\max(B * e^{(k-1)} - \tfrac12, 0)\big), \qquad e^{(0)}_{ic} = (p_{ic} - g_{ic})^2$$

    $B$ is a cross of $2d + 1$ equal weights in $d$ dimensions that sum up to 1, and $\nu$ stretches the map of each
    image and class to the interval from 0 to 1, where it is not flat. Without $\nu$, as the formula is usually printed,
    one erosion leaves nothing above a half, and all further ones leave nothing. Everything is differentiated. Beyond
    the image, and where voxels are ignored, the error is 0.

    Args:
        alpha: Exponent $\alpha$ of the number of erosions.
        erosions: Number of erosions $K$.
        normalise: Whether each eroded map is stretched, $\nu$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `alpha` or `erosions` is not positive, or an input has the wrong shape, type or values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, 20.0, 20.0, 20.0, -20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 0, 0, 0]])
        >>> hausdorff_erosion_loss(logits, target, erosions=2, alpha=1.0)
        tensor(1.3148)
    """
    positive(alpha=alpha, erosions=erosions)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)
    valid = None if x.valid is None else x.spatial(x.valid)

    p, g = x.spatial(predicted(x.logits, x.valid, x.activation)), x.spatial(true_mask(x))
    costs = eroded_errors(p, g, valid, [k**alpha for k in range(1, erosions + 1)], stretched=normalise)
    return reduce(ratio(costs, count(x), empty=0.0))
