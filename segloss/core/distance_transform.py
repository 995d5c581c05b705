"""The Euclidean distance transform of masks, inside and outside, by scipy, by loops that numba compiles, or by cupy."""

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from segloss.core.compiled import compiled
from segloss.core.inputs import one_of

Side = Literal["both", "inside", "outside"]
Backend = Literal["auto", "cupy", "numba", "scipy"]

_BACKEND: ContextVar[Backend] = ContextVar("backend", default="auto")


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
        >>> with segloss.distance_backend("scipy"):
        ...     segloss.precompute.distance_map(torch.tensor([0, 1, 1, 0, 0]), 1)
        tensor([[1., 1., 1., 1., 2.]])
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


def add_distances(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float, first: int = 0
) -> None:
    """Add powers of distances to a map, from the first channel on."""
    run = _operator if torch.compiler.is_compiling() else _add_distances
    run(total, masks, valid, size, side, power, first)


def _add_distances(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, power: float, first: int
) -> None:
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


_operator = torch.library.custom_op("segloss::add_distances", _add_distances, mutates_args=("total",))
_operator.register_fake(lambda *_: None)
