"""Persistent homology of images: what appears and vanishes as a threshold moves, and at which voxels.

Voxels enter one by one, in the order of their values, and of their indices where these are equal. So a bar has one
voxel of birth and one of death, whatever it is computed with, and a gradient can flow to the two.
"""

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core.betti import betti_numbers
from segloss.core.inputs import one_of, sum_dtype
from segloss.core.persistence_libraries import COMPUTE, Construction, HomologyBackend, Voxels, library_of

Filtration = Literal["superlevel", "sublevel"]
Field = np.ndarray
Box = tuple[slice, ...]
Maps = Float[Tensor, "M *S"]
Masks = Bool[Tensor, "M *S"]

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Bars:
    """The bars of an image: their dimension, and the voxels of birth and death as flat indices in C order.

    A component is of dimension 0, a loop or, in a plane, a hole of dimension 1, a cavity of dimension 2. What never
    dies has -1 for its death.
    """

    dimension: Voxels
    birth: Voxels
    death: Voxels


@dataclass(frozen=True)
class Barcode:
    """The bars of many maps that die, the longest of each look and dimension first.

    Attributes:
        look: The patch a bar is in, counted through the patches of the first map, then those of the next.
        dimension: Its dimension.
        birth: Its voxel of birth, a flat index into all maps together.
        death: Its voxel of death.
        rank: Its place by length among the bars of its look and dimension, 0 for the longest.
    """

    look: Integer[Tensor, " n"]
    dimension: Integer[Tensor, " n"]
    birth: Integer[Tensor, " n"]
    death: Integer[Tensor, " n"]
    rank: Integer[Tensor, " n"]

    def total(self, cost: Float[Tensor, " n"], looks: int) -> Float[Tensor, " L"]:
        """The costs of bars added up for each look."""
        cost = cost.to(sum_dtype(cost.device))
        return cost.new_zeros(looks).index_add(0, self.look, cost)


def persistence(
    field: Field,
    *,
    construction: Construction = "T",
    filtration: Filtration = "superlevel",
    valid: np.ndarray | None = None,
    dimensions: Sequence[int] | None = None,
    backend: HomologyBackend | None = None,
) -> Bars:
    """The bars of an image, sorted by dimension, birth and death, without those of length 0.

    Args:
        field: Values of the voxels, with one to three axes.
        construction: What a voxel is. `"T"`: a closed cube, so that the foreground is connected across corners;
            `"V"`: a vertex, connected to its neighbours along the axes; `"freudenthal"`: a vertex of a triangulation
            with one diagonal in each square.
        filtration: Whether high values enter first, `"superlevel"`, or low ones, `"sublevel"`.
        valid: Voxels that count, None for all. What has not died once they are all there, never dies.
        dimensions: Those wanted, None for all.
        backend: What to compute with, as for `homology_backend`; None for what that says.
    """
    one_of("construction", construction, ("T", "V", "freudenthal"))
    one_of("filtration", filtration, ("superlevel", "sublevel"))
    wanted = range(field.ndim) if dimensions is None else dimensions
    library = library_of(construction, backend)
    value = field.ravel().astype(np.promote_types(field.dtype, np.float32), copy=False)
    value = -value if filtration == "superlevel" else value
    if valid is not None:
        value = np.where(valid.ravel(), value, np.inf)
    voxels = value.size if valid is None else np.count_nonzero(valid)
    order = np.argsort(value, kind="stable")
    time = np.empty(value.size)
    time[order] = np.arange(value.size)
    # Axes of one voxel are left out: they change no bar, and cripser's vertices are not connected beside one.
    time = time.reshape([n for n in field.shape if n > 1] or [1])

    found = COMPUTE[library](time, construction, min(max(wanted, default=0), time.ndim - 1))
    dimension, birth, death = found[:, np.lexsort(found[::-1])]
    forever = death >= voxels
    voxel_of_birth, voxel_of_death = order[birth], np.where(forever, -1, order[np.where(forever, 0, death)])
    kept = (birth < voxels) & np.isin(dimension, wanted)
    kept &= forever | (value[voxel_of_birth] != value[voxel_of_death])
    return Bars(dimension[kept], voxel_of_birth[kept], voxel_of_death[kept])


def barcode(
    maps: Maps,
    *,
    patch: Sequence[int] = (),
    construction: Construction = "T",
    filtration: Filtration = "superlevel",
    valid: Masks | None = None,
    where: Bool[Tensor, " L"] | None = None,
    dimensions: Sequence[int] | None = None,
) -> Barcode:
    """The bars that die, of every patch of every map, computed in the threads that torch may use on the CPU.

    Args:
        maps: One map a row. No gradient flows through it: take the values at birth and death.
        patch: Size of a patch along each axis; without it, there is one of the size of the map.
        construction: As for `persistence`.
        filtration: As for `persistence`.
        valid: Voxels that count, None for all.
        where: Looks to take, None for all.
        dimensions: Those wanted, None for all.
    """
    wanted = list(range(maps.ndim - 1) if dimensions is None else dimensions)
    found = _barcode(maps.detach(), valid, where, list(patch), construction, filtration, wanted)
    return Barcode(*found.unbind(0))


def undefined(maps: Maps) -> Float[Tensor, " M"]:
    """NaN for each map with a value that is NaN, which may have no bar to show it, and 0 for others."""
    return 0 * maps.detach().flatten(1).sum(1)


def features(
    masks: Masks,
    *,
    patch: Sequence[int] = (),
    construction: Construction = "T",
    valid: Masks | None = None,
) -> Integer[Tensor, "L D"]:
    """How many bars that die a mask has, for every look and dimension; -1 for a mask that is empty or full there.

    Where all voxels count, these are its Betti numbers, less the component that stays.
    """
    return _features(masks, valid, list(patch), construction)


def patches(shape: Sequence[int], patch: Sequence[int]) -> list[Box]:
    """Boxes that tile an image, the last along each axis no larger than what is left."""
    sizes = patch or shape
    starts = [[slice(at, min(at + size, n)) for at in range(0, n, size)] for n, size in zip(shape, sizes, strict=True)]
    return list(itertools.product(*starts))


@torch.library.custom_op("segloss::barcode", mutates_args=())
def _barcode(
    maps: Tensor,
    valid: Tensor | None,
    where: Tensor | None,
    patch: Sequence[int],
    construction: str,
    filtration: str,
    dimensions: Sequence[int],
) -> Tensor:
    """One operator to a compiler, which cannot look into it; the fields of a `Barcode` in a row each."""
    library = library_of(construction)
    fields, kept = maps.cpu().numpy(), None if valid is None else valid.cpu().numpy()
    boxes = patches(maps.shape[1:], patch)
    index = np.arange(fields.size).reshape(fields.shape)
    looks = range(len(fields) * len(boxes)) if where is None else where.nonzero().flatten().tolist()

    def bars(look: int) -> Voxels:
        at = look // len(boxes), *boxes[look % len(boxes)]
        at, there = (at, None) if kept is None else _cropped(at, kept)
        if 0 in fields[at].shape:
            return np.empty((4, 0), dtype=np.int64)
        how: Any = {"construction": construction, "filtration": filtration, "backend": library}
        found = persistence(fields[at], valid=there, dimensions=dimensions, **how)
        dies, voxels = found.death >= 0, index[at].ravel()
        rows = found.dimension, voxels[found.birth], voxels[found.death]
        return np.stack([np.full(len(dies), look), *rows])[:, dies]

    look, dimension, birth, death = np.concatenate([np.empty((4, 0), dtype=np.int64), *_each(bars, looks)], 1)
    values, group = fields.ravel(), look * maps.ndim + dimension
    order = np.lexsort((-np.abs(values[birth] - values[death]), group))
    group = group[order]
    rank = np.arange(len(group)) - np.searchsorted(group, group)
    rows = np.stack([*(row[order] for row in (look, dimension, birth, death)), rank])
    return torch.from_numpy(rows).to(maps.device)


@_barcode.register_fake
def _(maps: Tensor, *others: Any) -> Tensor:
    bars = torch.library.get_ctx().new_dynamic_size()
    return maps.new_empty((5, bars), dtype=torch.long)


@torch.library.custom_op("segloss::features", mutates_args=())
def _features(masks: Tensor, valid: Tensor | None, patch: Sequence[int], construction: str) -> Tensor:
    library = library_of(construction)
    fields, kept = masks.cpu().numpy(), None if valid is None else valid.cpu().numpy()
    boxes, axes = patches(masks.shape[1:], patch), masks.ndim - 1

    def numbers(look: int) -> Sequence[int]:
        at = look // len(boxes), *boxes[look % len(boxes)]
        at, there = (at, None) if kept is None else _cropped(at, kept)
        mask = fields[at]
        inside = mask if there is None else mask[there]
        if inside.all() or not inside.any():
            return (-1,) * axes
        if there is None and construction in ("T", "V"):
            components, *others = betti_numbers(mask, construction)  # pyright: ignore[reportArgumentType]
            return components - 1, *others
        how: Any = {"construction": construction, "backend": library}
        found = persistence(mask, valid=there, **how)
        return np.bincount(found.dimension[found.death >= 0], minlength=axes).tolist()

    found = _each(numbers, range(len(fields) * len(boxes)))
    return torch.tensor(found, dtype=torch.long, device=masks.device)


@_features.register_fake
def _(masks: Tensor, valid: Tensor | None, patch: Sequence[int], construction: str) -> Tensor:
    looks = len(masks) * len(patches(masks.shape[1:], patch))
    return masks.new_empty((looks, masks.ndim - 1), dtype=torch.long)


def _cropped(at: tuple[Any, ...], valid: np.ndarray) -> tuple[tuple[Any, ...], np.ndarray | None]:
    """The part of a box in which voxels count, and which count there; None where all do."""
    there = valid[at]
    if there.all():
        return at, None
    box = []
    for axis, side in enumerate(at[1:]):
        seen = np.flatnonzero(there.any(tuple(a for a in range(there.ndim) if a != axis)))
        box.append(slice(side.start + seen[0], side.start + seen[-1] + 1) if len(seen) else slice(0))
    at = at[0], *box
    return at, None if valid[at].all() else valid[at]


def _each(function: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> list[_Result]:
    """Results of all jobs, in as many threads as torch may use: the libraries let go of the interpreter."""
    jobs = list(jobs)
    threads = min(torch.get_num_threads(), len(jobs))
    if threads <= 1:
        return [function(job) for job in jobs]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(function, jobs))
