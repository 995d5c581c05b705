"""Euclidean distance maps of masks, exact.

A voxel's distance is that to the nearest voxel of the other side, from centre to centre: at least one step of the grid,
inside as outside. Where a mask is empty or full there is no other side, and the distance is 0. (The common transforms
measure to a voxel beyond the corner of the image there, or give infinity.)
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.compiled import compiled
from segloss.core.distance_transform import Side, add_distances
from segloss.core.inputs import Inputs, can_look_at, compute_dtype, one_of
from segloss.core.masks import true_mask
from segloss.core.memory import zeros_like
from segloss.core.opaque import as_map

Masks = Bool[Tensor, "B C *S"]
DistanceMap = Float[Tensor, "B C *S"]
Spacing = Sequence[float]


def distance_map(
    masks: Masks,
    *,
    spacing: Spacing | None = None,
    side: Side = "both",
    valid: Bool[Tensor, "B 1 *S"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> DistanceMap:
    """The distance of each voxel to the nearest voxel of the other side of its mask, (B, C, *S), without gradient.

    Args:
        masks: One mask an image and class, boolean.
        spacing: Size of a voxel along each axis, in whose units the distances are. None stands for 1.
        side: Which voxels have a distance, 0 elsewhere: those of the mask, `"inside"`, those that are not of the mask,
            `"outside"`, which is the distance to the mask, or all.
        valid: Voxels that are known; the others are on neither side and have the distance 0.
        dtype: Type of the map.
    """
    if not isinstance(masks, Tensor):
        raise TypeError(f"masks must be a tensor, got {type(masks).__name__}")
    if masks.dtype != torch.bool or not 3 <= masks.ndim <= 5:
        shape = tuple(masks.shape)
        raise ValueError(
            f"masks must be boolean (B, C, *S) with one to three spatial axes, got {masks.dtype} of shape {shape}"
        )
    one_of("side", side, ("both", "inside", "outside"))
    masks = masks if valid is None else masks & valid
    found = zeros_like(masks, dtype)
    add_distances(found, masks, valid, check_spacing(spacing, masks.ndim - 2), side, 1.0)
    return found


def signed_distance_map(
    masks: Masks,
    *,
    spacing: Spacing | None = None,
    valid: Bool[Tensor, "B 1 *S"] | None = None,
    dtype: torch.dtype = torch.float32,
) -> DistanceMap:
    """`distance_map` of both sides, negative inside: it jumps from minus to plus a step and is nowhere 0.

    Only where a mask is empty or full is it 0, everywhere.
    """
    return _signed(distance_map(masks, spacing=spacing, valid=valid, dtype=dtype), masks)


def signed_distance(
    x: Inputs, spacing: Spacing | None = None, distance: DistanceMap | None = None, *, background: bool = True
) -> Float[Tensor, "B C N"]:
    """The signed distances of the true classes, 0 where ignored: those given, once checked, else computed.

    Without `background` those of channel 0 are left out, as 0.
    """
    size = check_spacing(spacing, len(x.shape) - 2)
    if distance is not None:
        return flat_distance(distance, x)
    masks = true_mask(x)
    return _signed(mask_distance(masks, x, size, background=background), masks)


def _signed(distance: Tensor, masks: Tensor) -> Tensor:
    """Distances turned negative inside, in place."""
    return distance.mul_(1 - 2 * masks.to(torch.int8))


def mask_distance(
    masks: Bool[Tensor, "B C N"],
    x: Inputs,
    spacing: Spacing | None = None,
    *,
    side: Side = "both",
    background: bool = True,
    power: float = 1.0,
    total: Float[Tensor, "B C N"] | None = None,
) -> Float[Tensor, "B C N"]:
    """`distance_map` of masks laid flat like `x`, whose ignored voxels are on no side.

    The distances are raised to a `power`, and added to `total` where that is given, in place.
    """
    if total is None:
        total = zeros_like(masks, compute_dtype(x.logits.dtype))
    valid = None if x.valid is None else x.spatial(x.valid)
    size = check_spacing(spacing, len(x.shape) - 2)
    add_distances(x.spatial(total), x.spatial(masks), valid, size, side, power, 0 if background else 1)
    return total


def label_depth(
    labels: Integer[Tensor, "B K N"], x: Inputs, spacing: Spacing | None, power: float, outside: int
) -> Float[Tensor, "B K N"]:
    """`mask_distance` of the side inside, by numba, of the mask of the label that each voxel has in a map.

    `outside` is none of the labels.
    """
    depths = _operator if torch.compiler.is_compiling() else _squared_depths
    found = depths(x.spatial(labels), check_spacing(spacing, len(x.shape) - 2), outside)
    return found.nan_to_num_(posinf=0.0).pow_(power / 2).flatten(2)


def _squared_depths(labels: Tensor, size: Sequence[float], outside: int) -> Tensor:
    native: Any = compiled("native_depths")
    return native.squared_depths(labels, size, outside)


_operator = as_map(
    "squared_depths", _squared_depths, lambda labels, *_: labels.new_empty(labels.shape, dtype=torch.float32)
)


def flat_distance(distance: DistanceMap, x: Inputs, name: str = "distance") -> Float[Tensor, "B C N"]:
    """A given map, checked and laid flat, 0 where ignored and without gradient; `name` is that of the argument."""
    if not isinstance(distance, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(distance).__name__}")
    if not distance.is_floating_point():
        raise ValueError(f"{name} must be floating, got {distance.dtype}")
    if distance.shape != x.shape:
        raise ValueError(f"{name} must have the shape of logits, {tuple(x.shape)}, got {tuple(distance.shape)}")
    if distance.device != x.logits.device:
        raise ValueError(f"{name} is on {distance.device}, but logits are on {x.logits.device}")
    flat = kept(distance.detach().flatten(2).to(compute_dtype(x.logits.dtype)), x.valid)
    if can_look_at(flat) and not math.isfinite(flat.sum()) and not bool(flat.isfinite().all()):
        raise ValueError(f"{name} must hold finite numbers")
    return flat


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
