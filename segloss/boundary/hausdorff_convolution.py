"""The Hausdorff distance by convolutions: errors priced by the disks that fit between the contours."""

import math
from collections.abc import Sequence

from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    ball_prices,
    class_reducer,
    count,
    per_map,
    positive,
    predicted,
    predicted_mask,
    prepare,
    ratio,
    spatial_sum,
    true_mask,
)

Map = Float[Tensor, "B C *S"]
Hard = Bool[Tensor, "B C *S"]


def hausdorff_convolution_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    radii: Sequence[float] = (3, 6, 9, 12, 15, 18),
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared error, priced by the radii of the disks around a voxel that lie mostly on the other side.

    $$L_c = \frac{1}{N} \sum_{r} r^\alpha \sum_i (p_{ic} - g_{ic})^2
    \Big[\big(f(B_r * \bar g)_{ic} + f(B_r * \hat p)_{ic}\big)\, p_{ic}
    + \big(f(B_r * g)_{ic} + f(B_r * \bar{\hat p})_{ic}\big)\, g_{ic}\Big]$$

    $B_r$ is a ball of radius $r$ whose equal weights sum up to 1, $f(a) = \max(a - 1/2, 0)$, $\hat p = [p > 1/2]$, and
    $\bar m = 1 - m$. Beyond the image, and where voxels are ignored, is background. The convolutions carry no gradient.

    Args:
        alpha: Exponent $\alpha$ of the radii.
        radii: Radii $r$ of the balls, in voxels.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `alpha` or a radius is not positive, there is no radius, or an input has the wrong shape, type or
            values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[20.0, -20.0, -20.0, -20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 0, 0, 0]])
        >>> hausdorff_convolution_loss(logits, target, radii=[1])
        tensor(0.0833)
    """
    positive(alpha=alpha)
    if len(radii) == 0 or not all(0 < r < math.inf for r in radii):
        raise ValueError(f"radii must be positive numbers, at least one, got {radii}")
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)

    p = x.spatial(predicted(x.logits, x.valid, x.activation))
    g, yes = x.spatial(true_mask(x)), x.spatial(predicted_mask(x))
    prices = ball_prices(g, yes, radii, [r**alpha for r in radii], p.dtype)

    def errors(p: Map, g: Hard, prices: Float[Tensor, "B C 2 *S"]) -> Float[Tensor, "B C"]:
        (extra, missed), g = prices.unbind(2), g.to(p.dtype)
        return spatial_sum((p - g).square() * (extra * p + missed * g))

    loss = per_map(errors, p, g, prices)
    return reduce(ratio(loss, count(x), empty=0.0))
