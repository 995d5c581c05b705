"""The contours of masks."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from segloss.core.distance import Masks
from segloss.core.inputs import Inputs
from segloss.core.opaque import as_map

FlatMasks = Bool[Tensor, "B K N"]


def inner_boundary(masks: Masks, valid: Bool[Tensor, "B 1 *S"] | None = None, *, outside: bool = False) -> Masks:
    """Voxels of a mask with a neighbour along an axis that is not of it.

    What lies outside of the image is a neighbour if that is said; what does not count is none.
    """
    if torch.compiler.is_compiling():  # whose vectors of booleans do not compile
        return _operator(masks, valid, outside)
    return _inner_boundary(masks, valid, outside)


def _inner_boundary(masks: Tensor, valid: Tensor | None, outside: bool) -> Tensor:
    others = ~masks if valid is None else ~masks & valid
    beside = masks.new_zeros(masks.shape)
    for axis in range(2, masks.ndim):
        steps = masks.shape[axis] - 1
        beside.narrow(axis, 0, steps).logical_or_(others.narrow(axis, 1, steps))
        beside.narrow(axis, 1, steps).logical_or_(others.narrow(axis, 0, steps))
        for edge in (0, steps) if outside else ():
            beside.select(axis, edge).fill_(True)
    return beside.logical_and_(masks)


_operator = as_map("inner_boundary", _inner_boundary, lambda masks, *_: masks.new_empty(masks.shape))


def flat_contour(masks: FlatMasks, x: Inputs) -> FlatMasks:
    """The inner boundary of masks that are False where voxels do not count."""
    return inner_boundary(x.spatial(masks), None if x.valid is None else x.spatial(x.valid)).flatten(2)


def contour(mask: np.ndarray) -> np.ndarray:
    """The voxels with a neighbour along an axis that is not of the mask; what lies outside the image is not."""
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)


def contour_distances(of: np.ndarray, to: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The distance of each voxel of one contour to the other, infinite where that is empty."""
    from scipy.ndimage import distance_transform_edt

    if not to.any():
        return np.full(of.sum(), np.inf)
    return np.asarray(distance_transform_edt(~to, sampling=spacing))[of]
