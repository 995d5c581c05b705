"""Persistent homology by cripser or by gudhi: the same bars, of whatever is installed or chosen."""

import importlib.util
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import numpy as np

from segloss.core.inputs import one_of

Construction = Literal["T", "V", "freudenthal"]
HomologyBackend = Literal["auto", "cripser", "gudhi"]
Voxels = np.ndarray

INSTALL = {"gudhi": 'pip install "segloss-catalog[topology]"', "cripser": 'pip install "segloss-catalog[fast]"'}

_BACKEND: ContextVar[HomologyBackend] = ContextVar("homology_backend", default="auto")


@contextmanager
def homology_backend(name: HomologyBackend) -> Iterator[None]:
    """Choose what persistent homology is computed with, within a `with` block.

    Both give the same bars. `"auto"` takes cripser, which is several times faster, where it is installed, else gudhi.
    The triangulation of `construction="freudenthal"` is always computed with gudhi. The choice holds in the current
    thread, and in processes forked from it.

    Args:
        name: `"auto"`, `"cripser"` or `"gudhi"`.

    Returns:
        A context manager.

    Raises:
        ValueError: If `name` is none of these.
        ImportError: If what is chosen is not installed.

    Examples:
        >>> with segloss.homology_backend("gudhi"):
        ...     segloss.core.persistence(torch.tensor([3.0, 1.0, 2.0]).numpy())
        Bars(dimension=array([0, 0]), birth=array([0, 2]), death=array([-1,  1]))
    """
    one_of("name", name, ("auto", "cripser", "gudhi"))
    if name != "auto":
        _require(name)
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def library_of(construction: str, chosen: HomologyBackend | None = None) -> Literal["cripser", "gudhi"]:
    """What to compute with: the one place where that is decided."""
    name = _BACKEND.get() if chosen is None else chosen
    if name == "auto":
        name = "cripser" if _is_installed("cripser") else "gudhi"
    if construction == "freudenthal":
        name = "gudhi"
    _require(name)
    return name


def _is_installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def _require(package: str) -> None:
    if not _is_installed(package):
        raise ImportError(f"persistent homology needs {package}, get it with {INSTALL[package]}")


def _cripser(time: np.ndarray, construction: str, top: int) -> Voxels:
    """Dimension, birth and death of every bar, in a row each."""
    module = "tcripser" if construction == "T" else "cripser"
    found = importlib.import_module(module).computePH(time, maxdim=top)
    return np.minimum(np.asarray(found).reshape(len(found), -1)[:, :3].T, time.size).astype(np.int64)


def _gudhi(time: np.ndarray, construction: str, top: int) -> Voxels:
    import gudhi

    if construction == "freudenthal":
        complex = _triangulation(time)
    else:
        voxels: dict[str, Any] = {"top_dimensional_cells" if construction == "T" else "vertices": time}
        complex: Any = gudhi.CubicalComplex(**voxels)  # pyright: ignore[reportAttributeAccessIssue]
    complex.compute_persistence(homology_coeff_field=2)
    found = [np.reshape(complex.persistence_intervals_in_dimension(d), (-1, 2)) for d in range(top + 1)]
    dimension = np.repeat(np.arange(top + 1), [len(intervals) for intervals in found])
    ends = np.minimum(np.concatenate(found), time.size).T
    return np.vstack([dimension, ends]).astype(np.int64)


COMPUTE: dict[str, Callable[[np.ndarray, str, int], Voxels]] = {"cripser": _cripser, "gudhi": _gudhi}


def _triangulation(time: np.ndarray) -> Any:
    """Every cube cut along its diagonals; a simplex enters with the last of its vertices."""
    import gudhi

    tree: Any = gudhi.SimplexTree()  # pyright: ignore[reportAttributeAccessIssue]
    index = np.arange(time.size, dtype=np.int32).reshape(time.shape)
    for chain in _chains(((0,) * time.ndim,)):
        corners = [
            index[tuple(slice(at, at + n - far) for at, far, n in zip(corner, chain[-1], time.shape, strict=True))]
            for corner in chain
        ]
        vertices = np.stack([corner.ravel() for corner in corners])
        tree.insert_batch(vertices, time.ravel()[vertices].max(0))
    return tree


def _chains(chain: tuple[tuple[int, ...], ...]) -> Iterator[tuple[tuple[int, ...], ...]]:
    """The corners of a cube that make a simplex, from the first corner outwards."""
    yield chain
    for step in itertools.product((0, 1), repeat=len(chain[0])):
        if step != chain[-1] and all(a >= b for a, b in zip(step, chain[-1], strict=True)):
            yield from _chains((*chain, step))
