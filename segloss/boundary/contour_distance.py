"""The distance to the contour of a mask."""

from segloss.core import DistanceMap, Masks, Spacing, distance_map, inner_boundary


def contour_distance_map(masks: Masks, *, spacing: Spacing | None = None) -> DistanceMap:
    r"""The distance of each voxel to the contour of its mask, for `shape_aware_cross_entropy_loss`.

    $$d_i = \min_{j \in C} \lVert i - j \rVert$$

    The contour $C$ are the voxels of the mask with a neighbour along an axis that is not of it; the outside of the
    image is no neighbour. Where there is no contour, the distance is 0. It is computed once an image.

    Args:
        masks: One mask an image and class, boolean (B, C, \*S).
        spacing: Size of a voxel along each axis. None stands for 1.

    Returns:
        The distances, (B, C, \*S), floating, of at least 0.

    Raises:
        ValueError: If `masks` has the wrong shape or type, or `spacing` not a positive number for each axis.

    References:
        [alarif2017shape]

    Examples:
        >>> masks = torch.tensor([[[False, True, True, True, False, False]]])
        >>> contour_distance_map(masks)
        tensor([[[1., 0., 1., 0., 1., 2.]]])
    """
    distance_map(masks[:0], spacing=spacing)
    return distance_map(inner_boundary(masks), spacing=spacing, side="outside")
