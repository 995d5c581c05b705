"""The contours of masks."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import Tensor

from segloss.core.distance import Masks
from segloss.core.inputs import Inputs

FlatMasks = Bool[Tensor, "B K N"]


def inner_boundary(masks: Masks, valid: Bool[Tensor, "B 1 *S"] | None = None) -> Masks:
    """Voxels of a mask with a neighbour along an axis that is not of it.

    What lies outside of the image or does not count is no neighbour.
    """
    outside = ~masks if valid is None else ~masks & valid
    beside = torch.zeros_like(masks)
    for axis in range(2, masks.ndim):
        steps = masks.shape[axis] - 1
        beside.narrow(axis, 0, steps).logical_or_(outside.narrow(axis, 1, steps))
        beside.narrow(axis, 1, steps).logical_or_(outside.narrow(axis, 0, steps))
    return masks & beside


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
