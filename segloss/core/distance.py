"""The size of a voxel, in which distances are measured."""

import math
from collections.abc import Sequence

Spacing = Sequence[float]


def check_spacing(spacing: Spacing | None, axes: int) -> tuple[float, ...]:
    """Size of a voxel along each axis, 1 where none is given."""
    if spacing is None:
        return (1.0,) * axes
    if isinstance(spacing, int | float | str):
        raise TypeError(f"spacing must be a sequence of {axes} numbers, one an axis, got {spacing!r}")
    size = tuple(float(step) for step in spacing)
    if len(size) != axes or not all(0 < step < math.inf for step in size):
        raise ValueError(f"spacing must be {axes} positive numbers, one an axis, got {spacing}")
    return size
