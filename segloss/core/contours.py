"""The contours of masks, and the distances to their other side, among the voxels that count."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.distance import Masks, Side, Spacing, distance_map
from segloss.core.inputs import Inputs, compute_dtype

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


def flat_distance_map(
    masks: FlatMasks, x: Inputs, *, spacing: Spacing | None = None, side: Side = "both"
) -> Float[Tensor, "B K N"]:
    """`distance_map` to the nearest voxel of the other side that counts, of masks that are False where none does."""

    def distance(to: FlatMasks, side: Side = "outside") -> Float[Tensor, "B K N"]:
        dtype = compute_dtype(x.logits.dtype)
        return kept(distance_map(x.spatial(to), spacing=spacing, side=side, dtype=dtype).flatten(2), x.valid)

    if x.valid is None:
        return distance(masks, side)
    others = {"inside": (~masks & x.valid,), "outside": (masks,), "both": (~masks & x.valid, masks)}[side]
    return torch.stack([distance(other) for other in others]).sum(0)
