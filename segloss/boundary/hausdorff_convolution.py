"""The Hausdorff distance by convolutions: errors priced by the disks that fit between the contours."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

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
    positive,
    predicted_mask,
    prepare,
    ratio,
    soft_masks,
    spatial_sum,
)

Map = Float[Tensor, "B C *S"]


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

    p, g = soft_masks(x)
    extra, missed = _prices(x.spatial(g), x.spatial(predicted_mask(x).to(p.dtype)), radii, alpha)
    loss = (p - g).square() * (extra.flatten(2) * p + missed.flatten(2) * g)
    return reduce(ratio(spatial_sum(loss), count(x), empty=0.0))


def _prices(g: Map, predicted: Map, radii: Sequence[float], alpha: float) -> tuple[Map, Map]:
    """Prices of what is predicted too much and too little: the mean over a ball of a complement is one minus that."""
    extra, missed = torch.zeros_like(g), torch.zeros_like(g)
    for r in radii:
        in_g, in_p = (_mean_over_ball(m, r) for m in (g, predicted))
        extra += r**alpha * ((0.5 - in_g).clamp(min=0) + (in_p - 0.5).clamp(min=0))
        missed += r**alpha * ((in_g - 0.5).clamp(min=0) + (0.5 - in_p).clamp(min=0))
    return extra, missed


def _mean_over_ball(m: Map, r: float) -> Map:
    """The mean of a mask over the ball around each voxel, zero beyond the image, by Fourier transform."""
    axes, reach = tuple(range(2, m.ndim)), int(r)
    at = torch.arange(-reach, reach + 1, device=m.device, dtype=m.dtype)
    ball = (torch.stack(torch.meshgrid(*[at] * len(axes), indexing="ij")).square().sum(0) <= r**2).to(m.dtype)
    sizes = [n + 2 * reach for n in m.shape[2:]]
    product = torch.fft.rfftn(m, sizes, axes) * torch.fft.rfftn(ball, sizes)
    found = torch.fft.irfftn(product, sizes, axes)[(..., *(slice(reach, reach + n) for n in m.shape[2:]))]
    return (found / ball.sum()).clamp(0, 1)
