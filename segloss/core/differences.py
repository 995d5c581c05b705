"""Differences between neighbouring voxels, for losses that measure how a map varies from place to place."""

from collections.abc import Sequence

from jaxtyping import Bool, Shaped
from torch import Tensor

Step = Sequence[int]
Map = Shaped[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]


def difference(y: Map, step: Step, valid: Valid | None = None) -> Map:
    """`y` at x + step minus `y` at x, for every x where both lie in the image; 0 where either is ignored.

    A step has one whole number an axis: (1, 0) leads to the next row, (1, -1) to the next row and one column back.
    """
    here, there = _ends(step)
    d = y[there] - y[here]
    return d if valid is None else d.masked_fill(~both_valid(valid, step), 0)


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
