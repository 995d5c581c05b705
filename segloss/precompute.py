"""What losses need of the target alone, to be computed once an image: in a data loader, or before the training.

The maps are tensors like any label map: they can be cropped, flipped and stored with it. What is computed here and
given to a loss, as its `distance`, `skeleton` or `weight_map`, has the same effect as what the loss computes itself.
"""

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss import core
from segloss.core import Side, Spacing
from segloss.core import distance_backend as distance_backend
from segloss.distribution import inverse_weight_map as inverse_weight_map
from segloss.distribution import unet_weight_map as unet_weight_map
from segloss.shape import layer_weight_map as layer_weight_map
from segloss.topology import tubed_skeleton as tubed_skeleton

Target = Tensor | np.ndarray


def signed_distance_map(
    target: Target,
    classes: int,
    *,
    spacing: Spacing | None = None,
    batched: bool = False,
    ignore_index: int | None = None,
) -> Float[Tensor, " C *S"] | Float[Tensor, "B C *S"]:
    r"""Signed distances of every class, negative inside: the `distance` of every loss that takes one.

    A voxel's distance is that to the nearest voxel of the other side, from centre to centre, so that it is at least one
    step of the grid. Exact, without gradient, and computed on the GPU where cupy is installed and the target is there.

    Args:
        target: Class indices, integer (\*S); or the masks of the classes, boolean (C, \*S). A tensor or an array.
        classes: Number of channels C of the logits; 1 stands for a foreground only, label 1.
        spacing: Size of a voxel along each axis, in whose units the distances are. None stands for 1.
        batched: Whether the target has a batch axis in front, (B, \*S), (B, 1, \*S) or (B, C, \*S).
        ignore_index: Label of voxels that belong to no side and have distance 0.

    Returns:
        The distances, float32, (C, \*S) or (B, C, \*S), on the device of `target`. A class that is absent, or that
        fills the image, has the distance 0.

    Raises:
        TypeError: If `target` is neither a tensor nor an array.
        ValueError: If `target` has the wrong shape, type or labels, `classes` is not positive, or `spacing` does not
            have a positive number for each axis.

    References:
        [kervadec2019boundary], [karimi2019hausdorff]

    Examples:
        >>> signed_distance_map(torch.tensor([0, 0, 1, 1, 1, 0]), 1)
        tensor([[ 2.,  1., -1., -2., -1.,  1.]])
    """
    masks, valid = _masks(target, classes, batched, ignore_index)
    found = core.signed_distance_map(masks, spacing=spacing, valid=valid)
    return found if batched else found[0]


def distance_map(
    target: Target,
    classes: int,
    *,
    spacing: Spacing | None = None,
    side: Side = "both",
    batched: bool = False,
    ignore_index: int | None = None,
) -> Float[Tensor, " C *S"] | Float[Tensor, "B C *S"]:
    r"""Distances of every class without a sign, or those of one side only.

    Args:
        target: Class indices, integer (\*S); or the masks of the classes, boolean (C, \*S). A tensor or an array.
        classes: Number of channels C of the logits; 1 stands for a foreground only, label 1.
        spacing: Size of a voxel along each axis, in whose units the distances are. None stands for 1.
        side: Which voxels have a distance, 0 elsewhere: `"inside"` of a class, `"outside"`, or `"both"`.
        batched: Whether the target has a batch axis in front, (B, \*S), (B, 1, \*S) or (B, C, \*S).
        ignore_index: Label of voxels that belong to no side and have distance 0.

    Returns:
        The distances, as in `signed_distance_map`.

    Raises:
        TypeError: If `target` is neither a tensor nor an array.
        ValueError: If `target` has the wrong shape, type or labels, `classes` is not positive, `spacing` does not have
            a positive number for each axis, or `side` is not known.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> distance_map(torch.tensor([0, 0, 1, 1, 1, 0]), 1, side="inside", spacing=[0.5])
        tensor([[0.0000, 0.0000, 0.5000, 1.0000, 0.5000, 0.0000]])
    """
    masks, valid = _masks(target, classes, batched, ignore_index)
    found = core.distance_map(masks, spacing=spacing, side=side, valid=valid)
    return found if batched else found[0]


def contour_distance_map(
    target: Target,
    classes: int,
    *,
    spacing: Spacing | None = None,
    batched: bool = False,
    ignore_index: int | None = None,
) -> Float[Tensor, " C *S"] | Float[Tensor, "B C *S"]:
    r"""Distances to the contour of every class, for `shape_aware_cross_entropy_loss`.

    The contour are the voxels of the class with a neighbour along an axis that is not of it; what lies outside of the
    image or is ignored is no neighbour.

    Args:
        target: Class indices, integer (\*S); or the masks of the classes, boolean (C, \*S). A tensor or an array.
        classes: Number of channels C of the logits; 1 stands for a foreground only, label 1.
        spacing: Size of a voxel along each axis, in whose units the distances are. None stands for 1.
        batched: Whether the target has a batch axis in front, (B, \*S), (B, 1, \*S) or (B, C, \*S).
        ignore_index: Label of voxels that belong to no class and have distance 0.

    Returns:
        The distances, as in `signed_distance_map`. A class without a contour has the distance 0.

    Raises:
        TypeError: If `target` is neither a tensor nor an array.
        ValueError: If `target` has the wrong shape, type or labels, `classes` is not positive, or `spacing` does not
            have a positive number for each axis.

    References:
        [alarif2017shape]

    Examples:
        >>> contour_distance_map(torch.tensor([0, 0, 1, 1, 1, 0, 0]), 1)
        tensor([[2., 1., 0., 1., 0., 1., 2.]])
    """
    masks, valid = _masks(target, classes, batched, ignore_index)
    found = core.distance_map(core.inner_boundary(masks, valid), spacing=spacing, side="outside", valid=valid)
    return found if batched else found[0]


def _masks(
    target: Target, classes: int, batched: bool, ignore_index: int | None
) -> tuple[Bool[Tensor, "B C *S"], Bool[Tensor, "B 1 *S"] | None]:
    """The mask of every class, and the voxels that are known where some are not."""
    core.positive(classes=classes)
    if not hasattr(target, "__array__"):
        raise TypeError(f"target must be a tensor or an array, got {type(target).__name__}")
    labels = torch.as_tensor(target)
    labels = labels if batched else labels.unsqueeze(0)
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"target must be class indices or boolean masks, got {labels.dtype}")
    dense = labels.dtype == torch.bool
    if not dense and batched and labels.ndim > 2 and labels.shape[1] == 1:
        labels = labels.squeeze(1)
    axes = labels.ndim - 1 - dense
    if not 1 <= axes <= 3 or 0 in labels.shape or (dense and labels.shape[1] != classes):
        front = "B, " if batched else ""
        raise ValueError(
            f"target must be integer ({front}*S) or boolean ({front}{classes}, *S) with one to three spatial axes, "
            f"got {labels.dtype} {tuple(labels.shape if batched else labels.shape[1:])}"
        )
    if dense:
        if ignore_index is not None:
            raise ValueError(f"ignore_index={ignore_index} needs a target of class indices")
        return labels, None
    valid = None if ignore_index is None else labels != ignore_index
    top = max(classes - 1, 1)
    within = (labels >= 0) & (labels <= top)
    if not bool((within if valid is None else within | ~valid).all()):
        raise ValueError(f"target holds other labels than 0 to {top}; name a label to leave out with ignore_index")
    names = range(classes) if classes > 1 else (1,)
    masks = torch.stack([labels == name for name in names], 1)
    return masks, None if valid is None else valid.unsqueeze(1)
