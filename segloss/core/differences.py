"""Differences between neighbouring voxels, for losses that measure how a map varies from place to place."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from segloss.core.function import Function

Step = Sequence[int]
Box = Sequence[slice]
Map = Shaped[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]
Slices = tuple[slice, ...]


def difference(y: Map, step: Step, valid: Valid | None = None, *, box: Box | None = None) -> Map:
    """`y` at x + step minus `y` at x, for every x where both lie in the image; 0 where either is ignored.

    A step has one whole number an axis: (1, 0) leads to the next row, (1, -1) to the next row and one column back.
    `box` gives other x to start from, from a first to a last place along every axis.
    """
    ends = _ends(step, box)
    d: Any = _difference(y, *ends) if torch.compiler.is_compiling() else _Difference.apply(y, *ends)
    return d if valid is None else d.masked_fill(~both_valid(valid, step, box=box), 0)


def both_valid(valid: Valid, step: Step, *, box: Box | None = None) -> Valid:
    """Where a `difference` has both its ends."""
    here, there = _ends(step, box)
    return valid[here] & valid[there]


def forward_steps(axes: int) -> list[tuple[int, ...]]:
    """The step to the next voxel along each axis."""
    return [tuple(int(axis == other) for other in range(axes)) for axis in range(axes)]


def _ends(step: Step, box: Box | None) -> tuple[Slices, Slices]:
    """The voxels that steps start from, and those they lead to."""
    if box is None:
        start = [slice(max(0, -s), -s if s > 0 else None) for s in step]
        stop = [slice(max(0, s), s if s < 0 else None) for s in step]
    else:
        start = box
        stop = [slice(part.start + s, part.stop + s) for part, s in zip(box, step, strict=True)]
    everything = slice(None), slice(None)
    return (*everything, *start), (*everything, *stop)


def _difference(y: Map, here: Slices, there: Slices) -> Map:
    return y[there] - y[here]


class _Difference(Function):
    """Its gradient is gathered in one map; two slices would make two."""

    @staticmethod
    def forward(y: Tensor, here: Slices, there: Slices) -> Tensor:
        return _difference(y, here, there)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Slices, Slices], output: Tensor) -> None:
        y, ctx.here, ctx.there = inputs
        ctx.shape = y.shape

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None, None]:
        slope = prices[0].new_zeros(ctx.shape)
        slope[ctx.there] += prices[0]
        slope[ctx.here] -= prices[0]
        return slope, None, None
