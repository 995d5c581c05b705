"""Contours of hard masks, for measures that compare them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def contour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The voxels with a neighbour along an axis that is not of the mask; what lies outside the image is not."""
    from scipy.ndimage import binary_erosion

    return mask & ~binary_erosion(mask)


def contour_distances(of: NDArray[np.bool_], to: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float64]:
    """The distance of each voxel of one contour to the other, infinite where that is empty."""
    from scipy.ndimage import distance_transform_edt

    if not to.any():
        return np.full(of.sum(), np.inf)
    return np.asarray(distance_transform_edt(~to, sampling=spacing))[of]
