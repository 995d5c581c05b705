"""Betti numbers of a mask."""

from typing import Any, Literal

import numpy as np


def betti_numbers(mask: np.ndarray, construction: Literal["T", "V"] = "T") -> tuple[int, ...]:
    """The numbers of components, loops and cavities of a mask with one to three axes."""
    axes, closed = mask.ndim, construction == "T"
    if not mask.any():
        return (0,) * axes
    components = _components(mask, corners=closed)
    if axes == 1:
        return (components,)
    holes = _components(np.pad(~mask, 1, constant_values=True), corners=not closed) - 1
    if axes == 2:
        return components, holes
    return components, components + holes - _euler(mask, closed=closed), holes


def _components(mask: np.ndarray, *, corners: bool) -> int:
    """How many there are where voxels touch across corners, or along the axes alone."""
    from scipy.ndimage import generate_binary_structure, label

    found: Any = label(mask, generate_binary_structure(mask.ndim, mask.ndim if corners else 1))
    return found[1]


def _euler(cells: np.ndarray, *, closed: bool) -> int:
    """Vertices less edges plus faces less cubes."""
    cells = np.pad(cells, 1) if closed else cells
    alternating = [(1, cells)]
    for axis in range(cells.ndim):
        pairs = []
        for sign, those in alternating:
            one, other = (those.take(range(k, those.shape[axis] - 1 + k), axis) for k in (0, 1))
            pairs += [(sign, one | other), (-sign, those)] if closed else [(sign, those), (-sign, one & other)]
        alternating = pairs
    return sum(sign * int(np.count_nonzero(those)) for sign, those in alternating)
