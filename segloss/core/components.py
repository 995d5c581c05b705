"""Connected components of label maps, by scipy, or by cc3d where that is installed."""

from functools import cache
from importlib.util import find_spec
from typing import Literal

import numpy as np
from jaxtyping import Int32, Shaped

Connectivity = Literal["faces", "all"]
Components = tuple[Int32[np.ndarray, "*S"], int]


def connected_components(labels: Shaped[np.ndarray, "*S"], connectivity: Connectivity = "faces") -> Components:
    """Components of equal labels in one to three dimensions, numbered from 1, and their number; 0 is the background.

    Voxels are neighbours by their `"faces"`, or by edges and corners too with `"all"`. The numbers depend on the
    package that gives them, the components do not.
    """
    if labels.ndim in (2, 3) and _has_cc3d():
        return _by_cc3d(labels, connectivity)
    return _by_scipy(labels, connectivity)


@cache
def _has_cc3d() -> bool:
    return find_spec("cc3d") is not None


def _by_cc3d(labels: Shaped[np.ndarray, "*S"], connectivity: Connectivity) -> Components:
    import cc3d

    faces = connectivity == "faces"
    neighbours = (4 if faces else 8) if labels.ndim == 2 else (6 if faces else 26)
    labels = labels.astype(np.uint8) if labels.dtype == np.bool_ else labels
    found, number = cc3d.connected_components(labels, connectivity=neighbours, return_N=True)
    return found.astype(np.int32, copy=False), int(number)


def _by_scipy(labels: Shaped[np.ndarray, "*S"], connectivity: Connectivity) -> Components:
    from scipy.ndimage import generate_binary_structure, label

    neighbours = generate_binary_structure(labels.ndim, 1 if connectivity == "faces" else labels.ndim)
    found, number = np.zeros(labels.shape, np.int32), 0
    for value in np.unique(labels[labels != 0]):
        there, of_value = labels == value, np.empty(labels.shape, np.int32)
        label(there, neighbours, output=of_value)
        found[there] = of_value[there] + number
        number += int(of_value.max())
    return found, number
