"""Differences between neighbouring voxels, for losses that measure how a map varies from place to place."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor
from torch.autograd import Function

Step = Sequence[int]
Map = Shaped[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]


def difference(y: Map, step: Step, valid: Valid | None = None) -> Map:
    """`y` at x + step minus `y` at x, for every x where both lie in the image; 0 where either is ignored.

    A step has one whole number an axis: (1, 0) leads to the next row, (1, -1) to the next row and one column back.
    """
    d: Any = _difference(y, step) if torch.compiler.is_compiling() else _Difference.apply(y, step)
    return d if valid is None else d.masked_fill(~both_valid(valid, step), 0)


def _difference(y: Map, step: Step) -> Map:
    here, there = _ends(step)
    return y[there] - y[here]


class _Difference(Function):
    """Its gradient is gathered in one place; that of two slices would be two maps."""

    @staticmethod
    def forward(y: Tensor, step: Step) -> Tensor:
        return _difference(y, step)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Step], output: Tensor) -> None:
        ctx.shape, ctx.step = inputs[0].shape, inputs[1]

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        here, there = _ends(ctx.step)
        slope = prices[0].new_zeros(ctx.shape)
        slope[there] += prices[0]
        slope[here] -= prices[0]
        return slope, None


def both_valid(valid: Valid, step: Step) -> Valid:
    """Where a `difference` has both its ends."""
    here, there = _ends(step)
    return valid[here] & valid[there]


def forward_steps(axes: int) -> list[tuple[int, ...]]:
    """The step to the next voxel along each axis."""
    return [tuple(int(axis == other) for other in range(axes)) for axis in range(axes)]


def _ends(step: Step) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """The voxels that steps start from, and those they lead to."""
    start = (slice(max(0, -s), -s if s > 0 else None) for s in step)
    stop = (slice(max(0, s), s if s < 0 else None) for s in step)
    everything = slice(None), slice(None)
    return (*everything, *start), (*everything, *stop)
