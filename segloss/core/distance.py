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

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import Inputs, can_look_at, compute_dtype, one_of

Masks = Bool[Tensor, "B C *S"]
DistanceMap = Float[Tensor, "B C *S"]
Spacing = Sequence[float]
Side = Literal["both", "inside", "outside"]
Backend = Literal["auto", "cupy", "edt", "scipy"]

SWEEPS = 100  # Shifts of a mask up to which they are faster than scipy's transform.
INSTALL = {"edt": 'pip install "segloss-catalog[fast]"', "cupy": "pip install cupy-cuda12x"}

_BACKEND: ContextVar[Backend] = ContextVar("backend", default="auto")


def distance_map(
    masks: Masks, *, spacing: Spacing | None = None, side: Side = "both", dtype: torch.dtype = torch.float32
) -> DistanceMap:
    """The distance of each voxel to the nearest voxel of the other side of its mask, (B, C, *S), without gradient.

    Args:
        masks: One mask an image and class, boolean.
        spacing: Size of a voxel along each axis, in whose units the distances are. None stands for 1.
        side: Which voxels have a distance, 0 elsewhere: those of the mask, `"inside"`, those that are not of the mask,
            `"outside"`, which is the distance to the mask, or all.
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
    return _distances(masks, check_spacing(spacing, masks.ndim - 2), side, dtype)


def signed_distance_map(
    masks: Masks, *, spacing: Spacing | None = None, dtype: torch.dtype = torch.float32
) -> DistanceMap:
    """`distance_map` of both sides, negative inside: it jumps from minus to plus a step and is nowhere 0.

    Only where a mask is empty or full is it 0, everywhere.
    """
    distance = distance_map(masks, spacing=spacing, dtype=dtype)
    return torch.where(masks, -distance, distance)


def flat_distance(distance: DistanceMap, x: Inputs) -> Float[Tensor, "B C N"]:
    """A given map, checked and laid flat, 0 where ignored and without gradient."""
    if not isinstance(distance, Tensor):
        raise TypeError(f"distance must be a tensor, got {type(distance).__name__}")
    if not distance.is_floating_point():
        raise ValueError(f"distance must be floating, got {distance.dtype}")
    if distance.shape != x.shape:
        raise ValueError(f"distance must have the shape of logits, {tuple(x.shape)}, got {tuple(distance.shape)}")
    if distance.device != x.logits.device:
        raise ValueError(f"distance is on {distance.device}, but logits are on {x.logits.device}")
    flat = kept(distance.detach().flatten(2).to(compute_dtype(x.logits.dtype)), x.valid)
    if can_look_at(flat) and not math.isfinite(flat.sum()) and not bool(flat.isfinite().all()):
        raise ValueError("distance must be finite")
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

    All give the same distances. `"scipy"` is always there; `"edt"` is several times faster, on the CPU; `"cupy"`
    computes on the GPU. `"auto"` takes cupy for tensors on a GPU, else edt, where they are installed, else scipy.
    The choice holds in the current thread, and in processes forked from it.

    Args:
        name: `"auto"`, `"cupy"`, `"edt"` or `"scipy"`.

    Returns:
        A context manager.

    Raises:
        ValueError: If `name` is none of these.
        ImportError: If what is chosen is not installed.

    References:
        None.

    Examples:
        >>> masks = torch.tensor([[[False, True, True, False, False]]])
        >>> with distance_backend("scipy"):
        ...     distance_map(masks)
        tensor([[[1., 1., 1., 1., 2.]]])
    """
    one_of("name", name, ("auto", "cupy", "edt", "scipy"))
    if name in INSTALL:
        required(name)
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def required(package: str) -> Any:
    """A package that computes distances, or how to install it."""
    found = _imported(package)
    if found is None:
        raise ImportError(f"{package} is not installed; get it with {INSTALL[package]}")
    return found


@cache
def _imported(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError:
        return None


def _backend(device: torch.device) -> str:
    name = _BACKEND.get()
    if name != "auto":
        return name
    if device.type == "cuda" and _imported("cupy"):
        return "cupy"
    return "edt" if _imported("edt") else "scipy"


@torch.library.custom_op("segloss::distances", mutates_args=())
def _distances(masks: Tensor, size: Sequence[float], side: str, dtype: torch.dtype) -> Tensor:
    """One operator to a compiler, which cannot look into it."""
    backend = _backend(masks.device)
    squared = _on_gpu(masks, size, side, dtype) if backend == "cupy" else _on_cpu(masks, size, side, dtype, backend)
    return squared.sqrt_()


@_distances.register_fake
def _(masks: Tensor, size: Sequence[float], side: str, dtype: torch.dtype) -> Tensor:
    return masks.new_empty(masks.shape, dtype=dtype)


def _on_cpu(masks: Tensor, size: Sequence[float], side: str, dtype: torch.dtype, backend: str) -> Tensor:
    squared = torch.zeros(masks.shape, dtype=dtype)
    for image, out in zip(masks.cpu().contiguous(), squared, strict=True):
        for channel, (mask, d) in enumerate(zip(image, out, strict=True)):
            if mask.all() or not mask.any():
                continue
            if channel == 1 and len(image) == 2 and side == "both" and (mask != image[0]).all():
                d.copy_(out[0])
            elif backend == "edt":
                _edt(mask, size, side, d)
            else:
                _scipy(mask, size, side, d)
    return squared.to(masks.device)


def _edt(mask: Tensor, size: Sequence[float], side: str, out: Tensor) -> None:
    """Distances to the nearest voxel of another label, of every label but 0: both sides take one pass."""
    import edt

    labels = mask if side == "inside" else ~mask if side == "outside" else mask.to(torch.uint8) + 1
    steps = size if len(size) > 1 else size[0]
    out.copy_(torch.from_numpy(edt.edtsq(labels.numpy(), anisotropy=steps, parallel=torch.get_num_threads())))


def _scipy(mask: Tensor, size: Sequence[float], side: str, out: Tensor) -> None:
    if side != "outside":
        _add_depths(mask.numpy(), size, out)
    if side != "inside":
        _add_depths((~mask).numpy(), size, out)


def _add_depths(mask: NDArray[np.bool_], size: Sequence[float], out: Tensor) -> None:
    """Add the squared distances inside of a mask; the nearest voxel outside touches the box around it."""
    from scipy.ndimage import distance_transform_cdt, find_objects

    (found,) = find_objects(mask.view(np.uint8))
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
    inside, part = mask[box], out[box]
    steps: Any = distance_transform_cdt(inside, "chessboard")
    reach = int(steps.max()) * math.hypot(*size)
    sweeps = [min(n - 1, int(reach / step)) for n, step in zip(part.shape, size, strict=True)]
    if sum(sweeps) <= SWEEPS:
        part += _swept(torch.from_numpy(inside), size, sweeps, reach, out.dtype)
    else:
        _add_transform(inside, size, part)


def _swept(mask: Tensor, size: Sequence[float], sweeps: Sequence[int], reach: float, dtype: torch.dtype) -> Tensor:
    """Squared distances, none above `reach`, by the minimum over shifts along one axis after the other."""
    d = torch.where(mask, reach**2, 0.0).to(dtype)
    work = torch.empty_like(d)
    for axis, (n, step, sweep) in enumerate(zip(d.shape, size, sweeps, strict=True)):
        before = d.clone()
        for k in range(1, sweep + 1):
            for to, start in ((k, 0), (0, k)):
                here, there, moved = (x.narrow(axis, at, n - k) for x, at in ((d, to), (before, start), (work, 0)))
                torch.minimum(here, torch.add(there, (k * step) ** 2, out=moved), out=here)
    return d


def _add_transform(mask: NDArray[np.bool_], size: Sequence[float], out: Tensor) -> None:
    from scipy.ndimage import distance_transform_edt

    nearest: Any = distance_transform_edt(mask, sampling=size, return_distances=False, return_indices=True)
    for axis, (index, step) in enumerate(zip(torch.from_numpy(nearest), size, strict=True)):
        own = torch.arange(out.shape[axis], dtype=index.dtype).view(-1, *[1] * (out.ndim - 1 - axis))
        out += (index.sub_(own).to(out.dtype) * step).square_()


def _on_gpu(masks: Tensor, size: Sequence[float], side: str, dtype: torch.dtype) -> Tensor:
    """Nothing is waited for: empty and full masks are dealt with at the end."""
    cupy = required("cupy")
    squared = torch.stack([_cupy(cupy, mask, size, side, dtype) for mask in masks.flatten(0, 1)])
    flat = masks.flatten(0, 1).flatten(1)
    there = (flat.any(1) & ~flat.all(1)).view(-1, *[1] * len(size))
    return torch.where(there, squared, 0).view(masks.shape)


def _cupy(cupy: Any, mask: Tensor, size: Sequence[float], side: str, dtype: torch.dtype) -> Tensor:
    """Squared distances of one mask; cupy has no transform of a line, so that a line is taken twice."""
    from cupyx.scipy.ndimage import distance_transform_edt  # pyright: ignore[reportMissingImports]

    masks, steps = (mask.expand(2, -1), (1.0, *size)) if len(size) == 1 else (mask, tuple(size))
    sides = [m for m, name in ((masks, "inside"), (~masks, "outside")) if side in (name, "both")]
    with _where(cupy, mask):
        depths = [distance_transform_edt(cupy.asarray(m), sampling=steps, float64_distances=True) for m in sides]
        squared = sum(torch.as_tensor(cupy.asnumpy(d) if mask.device.type == "cpu" else d) ** 2 for d in depths)
    return torch.as_tensor(squared, dtype=dtype)[0 if len(size) == 1 else ...]


@contextmanager
def _where(cupy: Any, mask: Tensor) -> Iterator[None]:
    """The GPU of a mask, and the stream that is in use on it."""
    if mask.device.type == "cpu":
        yield
        return
    with cupy.cuda.Device(mask.device.index), cupy.cuda.ExternalStream(torch.cuda.current_stream().cuda_stream):
        yield
