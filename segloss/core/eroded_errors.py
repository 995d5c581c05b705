"""What is left of the squared errors of each image and class, erosion after erosion."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.inputs import spatial_sum
from segloss.core.looped import looped
from segloss.core.recomputed import recomputed

Map = Float[Tensor, "B C *S"]
Mask = Bool[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"] | None


def eroded_errors(p: Map, g: Mask, valid: Valid, prices: Sequence[float], *, stretched: bool) -> Float[Tensor, "B C"]:
    """The sums over the voxels of (p - g)² eroded once, twice and so on, each times a price.

    An erosion is what of the mean over a cross is above a half. If stretched, it goes from 0 to 1 before the next,
    image by image and class by class, where it is not flat. Beyond the image, and where voxels do not count, there is
    no error.
    """
    return looped("native_eroded", "eroded_errors", _plain, p, g, valid, prices=prices, stretched=stretched)


def _plain(p: Map, g: Mask, valid: Valid, prices: Sequence[float], stretched: bool) -> Float[Tensor, "B C"]:
    """The same, step by step, for other devices and types, compilers and second derivatives."""

    def step(e: Map) -> Map:
        eroded = _eroded(e, valid)
        return _stretched(eroded, valid) if stretched else eroded

    e, costs = (p - g.to(p.dtype)).square(), []
    for price in prices:
        e = recomputed(step, e)
        costs.append(price * spatial_sum(e))
    return torch.stack(costs).sum(0)


def _eroded(e: Map, valid: Valid) -> Map:
    """The mean over a cross, and what of it is above a half."""
    axes = range(2, e.ndim)
    padded = F.pad(e, [1, 1] * len(axes))
    middle = tuple(slice(1, -1) for _ in axes)
    total = e
    for axis in range(len(axes)):
        for side in (slice(None, -2), slice(2, None)):
            total = total + padded[(..., *middle[:axis], side, *middle[axis + 1 :])]
    above = (total / (2 * len(axes) + 1) - 0.5).clamp(min=0)
    return above if valid is None else above.masked_fill(~valid, 0)


def _stretched(e: Map, valid: Valid) -> Map:
    """From 0 to 1, image by image and class by class; as it is where all voxels that count are the same."""
    axes = tuple(range(2, e.ndim))
    low = (e if valid is None else e.masked_fill(~valid, torch.inf)).amin(axes, keepdim=True)
    high = e.amax(axes, keepdim=True)
    there = high > low
    stretched = (e - torch.where(there, low, 0)) / torch.where(there, high - low, 1)
    return stretched if valid is None else stretched.masked_fill(~valid, 0)
