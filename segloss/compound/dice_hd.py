"""Dice and the Hausdorff loss by distance maps, brought to the same size and added up."""

from functools import partial
from typing import Literal

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Spacing,
    Value,
    class_part,
    errors_by_distance,
    evidence,
    not_negative,
    one_of,
    over_parts,
    positive,
    ratio,
)


def dice_hd_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    side: Literal["both", "inside"] = "inside",
    smooth: float = 1e-5,
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    reduction: Reduction = "mean",
) -> Value:
    r"""Dice loss times what makes it as large as the Hausdorff loss, plus that loss.

    $$L = w\, L_D + L_H, \qquad w = \frac{L_H}{L_D + 10^{-5}}$$

    $L_D$ is one minus the mean over the classes of the soft Dice coefficient, smoothed with $s$, and $L_H$ the mean of
    `hausdorff_dt_loss`. The weight $w$ is that of the batch and carries no gradient: the value is nearly
    $2 L_H$, the gradient that of both parts.

    Args:
        alpha: Exponent $\alpha$ of the distances.
        side: Which voxels have a distance: `"inside"`, those of the mask only, or `"both"`.
        smooth: The constant $s$ of Dice.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `alpha` is not positive, `smooth` is negative, `side` is not known, `spacing` does not have a
            positive number for each axis, `distance` has the wrong shape, or an input has the wrong shape, type or
            values.

    References:
        [karimi2019hausdorff], [ma2021odyssey]

    Examples:
        >>> logits = torch.tensor([[[0.0, -20.0, -20.0, 20.0, 20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1, 1, 1]])
        >>> dice_hd_loss(logits, target, side="both")
        tensor(1.4999)
    """
    positive(alpha=alpha)
    not_negative(smooth=smooth)
    one_of("side", side, ("both", "inside"))
    how = activation, include_background, weight, absent, ignore_index, mask, batch, None, reduction
    of = {"side": side, "background": include_background, "power": alpha}
    find = partial(errors_by_distance, distance=distance, spacing=spacing, one_sided=False, **of)
    e = evidence(logits, target, *how, find=lambda x: (find(x), None, None), soft=False)
    dice = class_part(1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth), e)
    hausdorff = class_part(ratio(e.terms[0], e.n, empty=0.0), e)
    w = (hausdorff.mean() / (dice.mean() + 1e-5)).detach()
    return over_parts(w * dice + hausdorff, e)
