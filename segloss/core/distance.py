"""Euclidean distance maps of masks, exact, and what they are computed with.

A voxel's distance is that to the nearest voxel of the other side, from centre to centre: at least one step of the grid,
inside as outside. Where a mask is empty or full there is no other side, and the distance is 0. (The common transforms
measure to a voxel beyond the corner of the image there, or give infinity.)
"""

import importlib
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.compiled import compiled
from segloss.core.inputs import Inputs, can_look_at, compute_dtype, one_of
from segloss.core.masks import true_mask
from segloss.core.memory import zeros_like
from segloss.core.opaque import as_map

Masks = Bool[Tensor, "B C *S"]
DistanceMap = Float[Tensor, "B C *S"]
Spacing = Sequence[float]
Side = Literal["both", "inside", "outside"]
Backend = Literal["auto", "cupy", "numba", "scipy"]

_BACKEND: ContextVar[Backend] = ContextVar("backend", default="auto")


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
    _add_distances(found, masks, valid, check_spacing(spacing, masks.ndim - 2), side, 1.0)
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
    _add_distances(x.spatial(total), x.spatial(masks), valid, size, side, power, 0 if background else 1)
    return total


def label_depth(
    labels: Integer[Tensor, "B K N"], x: Inputs, spacing: Spacing | None, power: float, outside: int
) -> Float[Tensor, "B K N"]:
    """`mask_distance` of the side inside, by numba, of the mask of the label that each voxel has in a map.

    `outside` is none of the labels.
    """
    found = _depths(x.spatial(labels), check_spacing(spacing, len(x.shape) - 2), outside)
    return found.nan_to_num_(posinf=0.0).pow_(power / 2).flatten(2)


def _squared_depths(labels: Tensor, size: Sequence[float], outside: int) -> Tensor:
    native: Any = compiled("native_depths")
    return native.squared_depths(labels, size, outside)


_depths = as_map(
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


@contextmanager
def distance_backend(name: Backend) -> Iterator[None]:
    r"""Choose what distance maps are computed with, within a `with` block.

    All give the same distances. `"scipy"` is always there; `"numba"` compiles for the CPU what is many times as fast;
    `"cupy"` computes on the GPU. `"auto"` takes cupy for tensors on a GPU where it is installed, else numba where it
    can be loaded, else scipy.
    The choice holds in the current thread, and in processes forked from it.

    Args:
        name: `"auto"`, `"cupy"`, `"numba"` or `"scipy"`.

    Returns:
        A context manager.

    Raises:
        ValueError: If `name` is none of these.
        ImportError: If what is chosen cannot be loaded.

    Examples:
        >>> masks = torch.tensor([[[False, True, True, False, False]]])
        >>> with distance_backend("scipy"):
        ...     distance_map(masks)
        tensor([[[1., 1., 1., 1., 2.]]])
    """
    one_of("name", name, ("auto", "cupy", "numba", "scipy"))
    if name == "cupy":
        required_cupy()
    if name == "numba" and compiled("native_distance") is None:
        raise ImportError("numba cannot be loaded, or finds no compiler here")
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def required_cupy() -> Any:
    """The package that computes distances on the GPU, or how to install it."""
    found = _cupy_module()
    if found is None:
        raise ImportError("cupy is not installed; get it with pip install cupy-cuda12x")
    return found


@cache
def _cupy_module() -> Any:
    try:
        return importlib.import_module("cupy")
    except ImportError:
        return None


def backend_of(device: torch.device) -> str:
    """What was chosen, else the fastest that is there."""
    name = _BACKEND.get()
    if name != "auto":
        return name
    if device.type == "cuda" and _cupy_module():
        return "cupy"
    return "scipy" if compiled("native_distance") is None else "numba"


@torch.library.custom_op("segloss::add_distances", mutates_args=("total",))
def _add_distances(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float, first: int = 0
) -> None:
    """Add powers of distances to a map, from the first channel on; one operator to a compiler, which sees no more."""
    backend = backend_of(masks.device)
    if backend != "cupy":
        masks, valid = masks.cpu(), None if valid is None else valid.cpu()
    if backend == "numba":
        _natively(total, masks, valid, size, side, power, first)
        return
    for image, channels in enumerate(masks):
        known = None if valid is None else valid[image, 0]
        for channel, mask in enumerate(channels[first:], first):
            for here, there, name in _sides(mask, known):
                if side in (name, "both"):
                    found = _cupy(~there, size) if backend == "cupy" else _scipy(~there, size)
                    found = torch.where(here & there.any(), found, 0)  # decided on the GPU, which nothing waits for
                    total[image, channel] += found.to(total).pow_(power / 2)


@_add_distances.register_fake
def _(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float, first: int = 0
) -> None:
    return None


def _natively(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float, first: int
) -> None:
    """By compiled loops: straight into the map where it is one of theirs, and they know the power."""
    native: Any = compiled("native_distance")
    kind = torch.promote_types(total.dtype, torch.float32)
    fits = total.dtype == kind and total.device.type == "cpu" and total.is_contiguous() and power in (1, 2)
    found = total if fits else torch.zeros(total.shape, dtype=kind)
    native.add_distances(found, masks, valid, size, side, first, root=power == 1)
    if not fits:
        total += (found if power == 1 else found.pow_(power / 2)).to(total)


def _sides(mask: Tensor, known: Tensor | None) -> Iterator[tuple[Tensor, Tensor, str]]:
    """Inside and outside: the voxels on this side, those on the other, and what this one is called."""
    rest = ~mask if known is None else known & ~mask
    yield mask, rest, "inside"
    yield rest, mask, "outside"


def _scipy(mask: Tensor, size: Sequence[float]) -> Tensor:
    """Squared distances inside of a mask, 0 where it is full."""
    from scipy.ndimage import distance_transform_edt

    if mask.all():
        return torch.zeros(mask.shape, dtype=torch.float64)
    found: Any = distance_transform_edt(mask.numpy(), sampling=size)
    return torch.from_numpy(found).square_()


def _cupy(mask: Tensor, size: Sequence[float]) -> Tensor:
    """Squared distances inside of a mask; cupy has no transform of a line, so that a line is taken twice."""
    from cupyx.scipy.ndimage import distance_transform_edt  # pyright: ignore[reportMissingImports]

    cupy, line = required_cupy(), len(size) == 1
    plane, steps = (mask.expand(2, -1), (1.0, *size)) if line else (mask, tuple(size))
    with _where(cupy, mask):
        found = distance_transform_edt(cupy.asarray(plane), sampling=steps, float64_distances=True)
        depths = torch.as_tensor(cupy.asnumpy(found) if mask.device.type == "cpu" else found)
    return depths.square()[0 if line else ...]


@contextmanager
def _where(cupy: Any, mask: Tensor) -> Iterator[None]:
    """The GPU of a mask, and the stream that is in use on it."""
    if mask.device.type == "cpu":
        yield
        return
    ours = torch.cuda.current_stream(mask.device)
    shared = hasattr(ours, "__cuda_stream__") and hasattr(cupy.cuda.Stream, "from_external")
    stream = cupy.cuda.Stream.from_external(ours) if shared else cupy.cuda.ExternalStream(ours.cuda_stream)
    with cupy.cuda.Device(mask.device.index), stream:
        yield
