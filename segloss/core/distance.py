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
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import Inputs, can_look_at, compute_dtype, one_of
from segloss.core.masks import true_mask

Masks = Bool[Tensor, "B C *S"]
DistanceMap = Float[Tensor, "B C *S"]
Spacing = Sequence[float]
Side = Literal["both", "inside", "outside"]
Backend = Literal["auto", "cupy", "edt", "scipy"]

NEAR, SPECKLED = 5, 0.25  # What is tried first, in steps, where the share of voxels unlike their neighbour is larger.
SWEEPS = 100  # Shifts of a mask up to which they are faster than scipy's transform.
INSTALL = {"edt": 'pip install "segloss-catalog[fast]"', "cupy": "pip install cupy-cuda12x"}

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
    found = torch.zeros(masks.shape, dtype=dtype, device=masks.device)
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
    distance = distance_map(masks, spacing=spacing, valid=valid, dtype=dtype)
    return torch.where(masks, -distance, distance)


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
    found = mask_distance(masks, x, size, background=background)
    return torch.where(masks, -found, found)


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
    if not background:
        masks = masks & (torch.arange(masks.shape[1], device=masks.device) > 0).view(-1, 1)
    if total is None:
        total = torch.zeros(masks.shape, dtype=compute_dtype(x.logits.dtype), device=masks.device)
    valid = None if x.valid is None else x.spatial(x.valid)
    size = check_spacing(spacing, len(x.shape) - 2)
    _add_distances(x.spatial(total), x.spatial(masks), valid, size, side, power)
    return total


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

    All give the same distances. `"scipy"` is always there; `"edt"` is faster, in single precision, on the CPU; `"cupy"`
    computes on the GPU. `"auto"` takes cupy for tensors on a GPU, else edt unless the logits are in double precision,
    where they are installed, else scipy.
    The choice holds in the current thread, and in processes forked from it.

    Args:
        name: `"auto"`, `"cupy"`, `"edt"` or `"scipy"`.

    Returns:
        A context manager.

    Raises:
        ValueError: If `name` is none of these.
        ImportError: If what is chosen is not installed.

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


def _backend(device: torch.device, dtype: torch.dtype) -> str:
    """What was chosen, else the fastest that is installed and as exact as the type of the map."""
    name = _BACKEND.get()
    if name != "auto":
        return name
    if device.type == "cuda" and _imported("cupy"):
        return "cupy"
    return "edt" if dtype != torch.float64 and _imported("edt") else "scipy"


@torch.library.custom_op("segloss::add_distances", mutates_args=("total",))
def _add_distances(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float
) -> None:
    """Add powers of distances to a map, mask by mask; one operator to a compiler, which cannot look into it."""
    backend = _backend(masks.device, total.dtype)
    if backend != "cupy":
        masks, valid = masks.cpu(), None if valid is None else valid.cpu()
    for image, channels in enumerate(masks):
        known = None if valid is None else valid[image, 0]
        found = None
        for channel, mask in enumerate(channels):
            if found is None or not _is_complement(channels, side, known):
                found = None
                found = _squared(mask, known, size, side, total.dtype, backend)
                found = None if found is None else found.pow_(power / 2).to(total.device)
            if found is not None:
                total[image, channel] += found


@_add_distances.register_fake
def _(total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float) -> None:
    return None


def _is_complement(channels: Tensor, side: str, known: Tensor | None) -> bool:
    """Whether there are two masks and each is the other side of the other."""
    alike = len(channels) == 2 and side == "both" and known is None and channels.device.type == "cpu"
    return alike and bool((channels[0] != channels[1]).all())


def _squared(
    mask: Tensor, known: Tensor | None, size: Sequence[float], side: str, dtype: torch.dtype, backend: str
) -> Tensor | None:
    """Squared distances of one mask, a new map; None where it is seen to have no other side."""
    if backend == "cupy":
        return _on_gpu(mask, known, size, side, dtype)
    if mask.all() or not mask.any():
        return None
    known = None if known is None or known.all() else known
    if backend == "edt" and side == "both" and known is None and not _is_speckled(mask):
        return _edt(mask.to(torch.uint8) + 1, size, dtype)
    found = None
    for here, there, name in _sides(mask, known):
        if side in (name, "both") and there.any():
            depths = _depths(~there, size, dtype, backend).mul_(here)
            found = depths if found is None else found.add_(depths)
    return found


def _sides(mask: Tensor, known: Tensor | None) -> Iterator[tuple[Tensor, Tensor, str]]:
    """Inside and outside: the voxels on this side, those on the other, and what this one is called."""
    rest = ~mask if known is None else known & ~mask
    yield mask, rest, "inside"
    yield rest, mask, "outside"


def _is_speckled(mask: Tensor) -> bool:
    """Whether every few voxels are on another side, as in the prediction of a network that knows nothing yet."""
    changes = mask[..., 1:] != mask[..., :-1]
    return int(changes.sum()) > SPECKLED * mask.numel()


def _depths(mask: Tensor, size: Sequence[float], dtype: torch.dtype, backend: str) -> Tensor:
    """Squared distances inside of a mask that is not full."""
    if _is_speckled(mask):
        reach = NEAR * min(size)
        sweeps = [min(n - 1, int(reach / step)) for n, step in zip(mask.shape, size, strict=True)]
        found = _swept(mask, size, sweeps, reach, dtype)
        if found.max() < reach**2:
            return found
    return _edt(mask, size, dtype) if backend == "edt" else _scipy(mask, size, dtype)


def _edt(labels: Tensor, size: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Squared distances to the nearest voxel of another label, of every label but 0: both sides take one pass."""
    import edt

    steps = size if len(size) > 1 else size[0]
    found = edt.edtsq(labels.contiguous().numpy(), anisotropy=steps, parallel=torch.get_num_threads())
    return torch.from_numpy(found).to(dtype)


def _scipy(mask: Tensor, size: Sequence[float], dtype: torch.dtype) -> Tensor:
    """Squared distances inside of a mask; the nearest voxel outside touches the box around it."""
    from scipy.ndimage import distance_transform_cdt, find_objects

    away = mask.contiguous().numpy()
    (found,) = find_objects(away.view(np.uint8))
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in found)
    inside = away[box]
    steps: Any = distance_transform_cdt(inside, "chessboard")
    reach = int(steps.max()) * math.hypot(*size)
    del steps
    sweeps = [min(n - 1, int(reach / step)) for n, step in zip(inside.shape, size, strict=True)]
    if sum(sweeps) <= SWEEPS:
        found = _swept(torch.from_numpy(inside), size, sweeps, reach, dtype)
    else:
        found = _transformed(inside, size, dtype)
    if found.shape == mask.shape:
        return found
    out = torch.zeros(mask.shape, dtype=dtype)
    out[box] = found
    return out


def _swept(mask: Tensor, size: Sequence[float], sweeps: Sequence[int], reach: float, dtype: torch.dtype) -> Tensor:
    """Squared distances, none above `reach`, by the minimum over shifts along one axis after the other."""
    d = torch.where(mask, reach**2, 0.0).to(dtype)
    before, work = torch.empty_like(d), torch.empty_like(d)
    for axis, (n, step, sweep) in enumerate(zip(d.shape, size, sweeps, strict=True)):
        before.copy_(d)
        for k in range(1, sweep + 1):
            for to, start in ((k, 0), (0, k)):
                here, there, moved = (x.narrow(axis, at, n - k) for x, at in ((d, to), (before, start), (work, 0)))
                torch.minimum(here, torch.add(there, (k * step) ** 2, out=moved), out=here)
    return d


def _transformed(mask: np.ndarray, size: Sequence[float], dtype: torch.dtype) -> Tensor:
    from scipy.ndimage import distance_transform_edt

    nearest: Any = distance_transform_edt(mask, sampling=size, return_distances=False, return_indices=True)
    out = torch.zeros(mask.shape, dtype=dtype)
    for axis, (index, step) in enumerate(zip(torch.from_numpy(nearest), size, strict=True)):
        own = torch.arange(out.shape[axis], dtype=index.dtype).view(-1, *[1] * (out.ndim - 1 - axis))
        out += (index.sub_(own).to(dtype) * step).square_()
    return out


def _on_gpu(mask: Tensor, known: Tensor | None, size: Sequence[float], side: str, dtype: torch.dtype) -> Tensor:
    """Nothing is waited for: a mask without another side is dealt with at the end."""
    cupy, found = required("cupy"), torch.zeros(mask.shape, dtype=dtype, device=mask.device)
    for here, there, name in _sides(mask, known):
        if side in (name, "both"):
            found += torch.where(here & there.any() & mask.any(), _cupy(cupy, ~there, size).to(dtype), 0)
    return found


def _cupy(cupy: Any, mask: Tensor, size: Sequence[float]) -> Tensor:
    """Squared distances inside of a mask; cupy has no transform of a line, so that a line is taken twice."""
    from cupyx.scipy.ndimage import distance_transform_edt  # pyright: ignore[reportMissingImports]

    line = len(size) == 1
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
