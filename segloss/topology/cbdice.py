"""Overlap of masks with each other's centre lines, weighted by distances to the boundary."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Evidence,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    distance_map,
    evidence,
    not_negative,
    one_of,
    over_images,
    prepare,
    ratio,
    soft_masks,
    soft_skeleton,
    spatial_sum,
    thinned,
)

Map = Float[Tensor, "B 1 *S"]
Masks = Bool[Tensor, "B 1 *S"]
Thinning = Literal["morphological", "topological"]


def centerline_boundary_dice_loss(
    logits: Logits,
    target: HardLabels,
    *,
    weighting: Literal["boundary", "mask", "none"] = "boundary",
    thinning: Thinning = "morphological",
    iterations: int = 10,
    smooth: float = 1.0,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the clDice of foreground and its centre line, both weighted by distances to the boundary.

    $$L = 1 - \frac{2\, T_p T_s}{T_p + T_s}, \qquad
    T_p = \frac{\sum_i \sigma^p_i \delta^g_i + s}{\sum_i \kappa(\rho^p_i, \rho^g_i)\, \sigma^p_i + s}, \qquad
    T_s = \frac{\sum_i \sigma^g_i \delta^p_i + s}{\sum_i \kappa(\rho^g_i, \rho^p_i)\, \sigma^g_i + s}$$

    For each of the two masks, $V^g = g$ and $V^p = [p > 1/2]$, $D$ is the distance from a voxel inside to the
    background, $S$ the centre line and $R = D S$ its radius, largest $R_m$, at least 1. With $v = g$ or $v = p$,

    $$\delta = \frac{\min(D, R_m)}{R_m}\, v, \qquad \rho = \frac{R}{R_m}\, v, \qquad
    \sigma = \Big(\frac{R_m - R + 1}{R_m}\Big)^k S\, v$$

    with $k = 2$ in 3D and else $k = 1$, so that thin branches count more; $\kappa(a, b)$ is $a$ where $b = 0$ and else
    $b$. Sums over the voxels $i$ of an image. All foreground classes count as one: $p$ is the sigmoid of
    $\max_{c > 0} z_c - z_0$ of the logits $z$. Distances and centre lines carry no gradient. It comes from the factors
    $p$, and only where $p > 1/2$, since elsewhere they are multiplied by 0.

    Args:
        weighting: `"boundary"` for the formula; `"mask"` for cl-M-Dice, where $\sigma = S v$; `"none"` for clDice with
            these centre lines, where $\delta = v$ and the denominators are the sums of $\sigma = S v$.
        thinning: How the centre lines are found: by openings, as in `soft_cldice_loss`, or by peeling off at most five
            layers of voxels at constant Euler characteristic, which in 2D keeps pieces and holes.
        iterations: Number of erosions of the morphological centre line.
        smooth: The constant $s$.

    Returns:
        A scalar of at most 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`. It is 0 at the
        truth, and can be negative where a predicted centre line runs beside the true one.

    Raises:
        ValueError: If `weighting` or `thinning` is none of these words, `iterations` or `smooth` is negative, or an
            input has the wrong shape, type or values.

    References:
        [shi2024cbdice]

    Examples:
        >>> target = torch.zeros(1, 7, 9, dtype=torch.long)
        >>> target[:, 2:5, 1:8] = 1
        >>> logits = 40.0 * target[:, None] - 20
        >>> logits[..., 4] = -20.0
        >>> centerline_boundary_dice_loss(logits, target, smooth=0.0)
        tensor(0.2500)
    """
    one_of("weighting", weighting, ("boundary", "mask", "none"))
    one_of("thinning", thinning, ("morphological", "topological"))
    not_negative(iterations=iterations, smooth=smooth)
    e = _foreground(logits, target, ignore_index, mask, batch, group, reduction)
    x = e.inputs
    p, g = (x.spatial(y) for y in soft_masks(x))
    valid = None if x.valid is None else x.spatial(x.valid)
    of_p, of_g = (_weighted(y, m, thinning, iterations, valid) for y, m in ((p, p.detach() > 0.5), (g, g > 0)))

    s_p, s_g = (of.s * of.w if weighting == "boundary" else of.s for of in (of_p, of_g))
    if weighting == "none":
        above, below = (s_p * g, s_g * p), (s_p, s_g)
    else:
        above, below = (s_p * of_g.d, s_g * of_p.d), (_either(of_p.r, of_g.r) * s_p, _either(of_g.r, of_p.r) * s_g)
    t_p, t_s = (ratio(_sum(a, e) + smooth, _sum(b, e) + smooth) for a, b in zip(above, below, strict=True))
    return over_images(1 - ratio(2 * t_p * t_s, t_p + t_s, empty=0.0), e)


@dataclass(frozen=True)
class _Weighted:
    """Of a foreground: its centre line `s` and the weights `w` on it, its distances `d` and radii `r`."""

    s: Map
    w: Map
    d: Map
    r: Map


def _foreground(
    logits: Logits,
    target: HardLabels,
    ignore_index: int | None,
    mask: Mask | None,
    batch: bool,
    group: ProcessGroup | None,
    reduction: Reduction,
) -> Evidence:
    """The inputs with all foreground classes as one."""
    x = prepare(logits, target, ignore_index=ignore_index, mask=mask, soft=False)
    z = x.logits if x.activation == "sigmoid" else x.logits[:, 1:].max(1, keepdim=True).values - x.logits[:, :1]
    valid = None if x.valid is None else x.spatial(x.valid)
    how = "sigmoid", True, None, "smooth", None, valid, batch, group, reduction
    return evidence(x.spatial(z), x.spatial(x.labels > 0), *how)


def _weighted(y: Map, masks: Masks, thinning: Thinning, iterations: int, valid: Masks | None) -> _Weighted:
    masks = masks if valid is None else masks & valid
    by_openings = thinning == "morphological"
    s = soft_skeleton(masks.to(torch.uint8), iterations, valid) > 0 if by_openings else thinned(masks)
    d = distance_map(masks, side="inside", valid=valid, dtype=y.dtype)
    r = d * s
    r_max = r.flatten(1).amax(1).clamp(min=1).view(-1, *[1] * (y.ndim - 1))
    w = ((r_max - r + 1) / r_max) ** (2 if y.ndim == 5 else 1)
    return _Weighted(s * y, w, torch.minimum(d, r_max) / r_max * y, r / r_max * y)


def _either(a: Map, b: Map) -> Map:
    """The second where it is not zero, else the first."""
    return torch.where(b == 0, a, b)


def _sum(y: Map, e: Evidence) -> Float[Tensor, " B"]:
    return e.pooled(spatial_sum(y).sum(1))
