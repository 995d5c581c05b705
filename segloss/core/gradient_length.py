"""The mean length of the gradient of a map, from differences between neighbouring voxels."""

from collections.abc import Sequence
from functools import reduce

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.differences import both_valid, difference, forward_steps
from segloss.core.inputs import spatial_sum
from segloss.core.looped import looped
from segloss.core.reduce import ratio

Map = Float[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"] | None


def gradient_length(y: Map, valid: Valid, smooth: float, *, aligned: bool) -> Float[Tensor, "B C"]:
    """The mean of √(|∇y|² + s) over the voxels that have a difference along every axis, with s the constant `smooth`.

    Differences along all axes start from the voxel, where `aligned`. Else that along an axis starts from the next voxel
    along this axis.
    """
    return looped("native_gradient_length", "gradient_length", _plain, y, valid, smooth=smooth, aligned=aligned)


def _plain(y: Map, valid: Valid, smooth: float, aligned: bool) -> Float[Tensor, "B C"]:
    margin = 1 if aligned else 2
    boxes = {step: _box(step, y.shape[2:], margin) for step in forward_steps(y.ndim - 2)}
    squares = [difference(y, step, box=box).square() for step, box in boxes.items()]
    length = (reduce(torch.add, squares) + smooth).sqrt()
    if valid is None:
        return spatial_sum(length) / max(1, length[0, 0].numel())
    ends = [both_valid(valid, step, box=box) for step, box in boxes.items()]
    itself = (slice(None), slice(None), *(slice(max(0, size - margin)) for size in y.shape[2:]))
    counted = reduce(torch.logical_and, ends, valid[itself])
    total, n = (spatial_sum(it) for it in (length.masked_fill(~counted, 0), counted))
    return ratio(total, n, empty=0.0)


def _box(step: Sequence[int], shape: Sequence[int], margin: int) -> list[slice]:
    """Where the differences along an axis start."""
    first = [s * (margin - 1) for s in step]
    return [slice(start, start + max(0, size - margin)) for start, size in zip(first, shape, strict=True)]
