"""Soft skeletons by loops that numba compiles for the CPU: an erosion and the opening of it in one pass each way.

A map has a border of values that no erosion takes, as have voxels that are not valid, and is an array of planes. So
what lies beside a voxel is a row further in its plane, or in the plane before or after, and a loop runs over many rows
at once. On the way back the price of a window goes to the first voxel that has its value. Maps are shared by the
threads, or the planes of one: then what a plane has from those beside it is found once more.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math
from collections import deque
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_distance import three
from segloss.core.native_math import HALF, ONE, ZERO, loop, where
from segloss.core.threads import in_threads

Maps = list[tuple[int, ...]]
"""Which image and class each of some maps is of."""

GROUPS = 2
"""Groups of maps for a thread from which on each is the work of one."""
TILE = 1024
"""Voxels at a time, as many as stay in a near cache, or a row."""


@loop
def _least_of_three(out, a, b, c):
    """The least of three rows, voxel by voxel."""
    for i in range(len(out)):
        least = where(a[i] < b[i], a[i], b[i])
        out[i] = where(c[i] < least, c[i], least)


@loop
def _most_of_three(out, a, b, c):
    """The largest."""
    for i in range(len(out)):
        most = where(a[i] > b[i], a[i], b[i])
        out[i] = where(c[i] > most, c[i], most)


@loop
def _least_where(out, a, b, here, top):
    """The least of what is there and of two others; what is not valid stays so."""
    for i in range(len(out)):
        least = where(a[i] < out[i], a[i], out[i])
        least = where(b[i] < least, b[i], least)
        out[i] = where(here[i] == top, top, least)


@loop
def _lowered(out, x, top, low):
    """Values, of which those that are not valid become so low that no dilation takes them."""
    for i in range(len(out)):
        out[i] = where(x[i] == top, low, x[i])


@loop
def _interior(plane, row):
    """From where to where a plane has voxels, and how many of them are taken at a time: a row at least."""
    return row + 1, len(plane) - row - 1, max(TILE, row)


@loop
def _erode(out, e, z, row, work):
    """The erosion of a plane."""
    here = e[z]
    first, last, size = _interior(here, row)
    for i in range(first, last, size):
        j = min(i + size, last)
        tile, middle = out[i:j], here[i:j]
        along = work[: j - i] if row else tile
        _least_of_three(along, here[i - 1 : j - 1], middle, here[i + 1 : j + 1])
        if row:
            _least_of_three(tile, along, here[i - row : j - row], here[i + row : j + row])
        _least_where(tile, e[z - 1, i:j], e[z + 1, i:j], middle, here[0])


@loop
def _dilate(along, across, plane, row, low, work):
    """The largest values of a plane along its rows, and of these across them."""
    first, last, size = _interior(plane, row)
    for i in range(first, last, size):
        j = min(i + size, last)
        v = work[: j - i + 2]
        _lowered(v, plane[i - 1 : j + 1], plane[0], low)
        _most_of_three(along[i:j], v[:-2], v[1:-1], v[2:])
    if row:
        _most_of_three(
            across[first:last], along[first - row : last - row], along[first:last], along[first + row : last + row]
        )


@loop
def _planes_for(part, parts, e):
    """Of which planes a part finds the values."""
    planes = len(e) - 2
    return 1 + part * planes // parts, 1 + (part + 1) * planes // parts


@loop
def erode(part, parts, e, out, row):
    """The erosion of some planes."""
    first, last = _planes_for(part, parts, e)
    work = np.empty(max(TILE, row), e.dtype)
    for z in range(first, last):
        _erode(out[z], e, z, row, work)


@loop
def _take_off(rest, here, opened, top):
    """Lessen the rest by what an opening takes away."""
    one = rest.dtype.type(1)
    for i in range(len(rest)):
        left = where((opened[i] < here[i]) & (here[i] != top), opened[i], here[i])
        rest[i] *= one - (here[i] - left)


@loop
def open_planes(part, parts, e, further, rest, row, low):
    """Erode some planes; what the opening takes away from them is taken off the rest."""
    first, last = _planes_for(part, parts, e)
    work = np.empty(max(TILE, row) + 2, e.dtype)
    halo, along, ring = e[0].copy(), np.full((3, e.shape[1]), low, e.dtype), np.full((3, e.shape[1]), low, e.dtype)
    across = ring if row else along
    for z in range(first - 1, last + 1):
        if 0 < z < len(e) - 1:
            plane = further[z] if first <= z < last else halo
            _erode(plane, e, z, row, work)
            _dilate(along[z % 3], across[z % 3], plane, row, low, work)
        else:
            across[z % 3] = low
        if z > first:
            here = e[z - 1]
            start, end, size = _interior(here, row)
            for i in range(start, end, size):
                j = min(i + size, end)
                opened = work[: j - i]
                _most_of_three(opened, across[0, i:j], across[1, i:j], across[2, i:j])
                _take_off(rest[z - 1, i:j], here[i:j], opened, here[0])


@loop
def _route(price, before, here, of, slope_before, slope, slope_after):
    """Give the price of each window of three to the first that has its value."""
    for i in range(len(price)):
        slope_before[i] += where(before[i] == of[i], price[i], ZERO)
    for i in range(len(price)):
        slope[i] += where(before[i] == of[i], ZERO, where(here[i] == of[i], price[i], ZERO))
    for i in range(len(price)):
        slope_after[i] += where(before[i] == of[i], ZERO, where(here[i] == of[i], ZERO, price[i]))


@loop
def _route_to_planes(price, before, here, of, slope_before, slope, slope_after):
    """The same for windows across planes, whose slopes lie apart."""
    for i in range(len(price)):
        first, second = before[i] == of[i], here[i] == of[i]
        slope_before[i] += where(first, price[i], ZERO)
        slope[i] += where(first, ZERO, where(second, price[i], ZERO))
        slope_after[i] += where(first, ZERO, where(second, ZERO, price[i]))


@loop
def _price_lost(price, here, opened, value, of_value, top):
    """What an opening takes away has the price of the rest, times what others leave of it."""
    for i in range(len(price)):
        lost = here[i] - opened[i]
        left = ONE - lost
        others = where(left == ZERO, ONE, value[i] / left)
        price[i] = where((lost > ZERO) & (here[i] != top), of_value[i] * others, ZERO)


@loop
def _route_in_plane(price, slope, eroded, along, across, row, low, work, in_rows):
    """Give the prices of largest values, along rows and then `across` them, to the values of a plane, `eroded`."""
    first, last, size = _interior(eroded, row)
    if row:
        in_rows[:] = ZERO
    for i in range(first, last + size, size):
        j = min(i + size, last)
        if row and i < last:
            ahead, after = in_rows[i - row : j - row], in_rows[i + row : j + row]
            _route(price[i:j], along[i - row : j - row], along[i:j], across[i:j], ahead, in_rows[i:j], after)
        i, j = i - size, min(i, last)  # only rows behind have the prices of all windows
        if i >= first:
            v, of_rows = work[: j - i + 1], (in_rows if row else price)[i:j]
            _lowered(v, eroded[i - 1 : j], eroded[0], low)
            _route(of_rows, v[:-1], v[1:], along[i:j], slope[i - 1 : j - 1], slope[i:j], slope[i + 1 : j + 1])


@loop
def open_planes_back(part, parts, e, further, value, of_value, slope, slope_before, row, low):
    """Give the prices of what an opening of some planes takes away to the erosion and to what was eroded."""
    first, last = _planes_for(part, parts, e)
    size, length, top = max(TILE, row), e.shape[1], e[0, 0]
    opened, prices, work = np.empty(size, e.dtype), np.empty(size, e.dtype), np.empty(size + 2, e.dtype)
    along, ring = np.full((3, length), low, e.dtype), np.full((3, length), low, e.dtype)
    across, routed, in_rows = (ring if row else along), np.zeros((3, length), e.dtype), np.zeros(length, e.dtype)
    start, end, _ = _interior(e[0], row)
    for z in range(max(first - 3, -1), last + 1):
        before, here, after = (z - 1) % 3, z % 3, (z + 1) % 3
        if 0 < z + 1 < len(e) - 1:
            _dilate(along[after], across[after], further[z + 1], row, low, work)
        else:
            across[after] = low
        routed[after] = ZERO
        for i in range(start, end if max(first - 1, 1) <= z < min(last + 1, len(e) - 1) else start, size):
            j = min(i + size, end)
            a, b, of, price = across[before, i:j], across[here, i:j], opened[: j - i], prices[: j - i]
            _most_of_three(of, a, b, across[after, i:j])
            _price_lost(price, e[z, i:j], of, value[z, i:j], of_value[z, i:j], top)
            _route_to_planes(price, a, b, of, routed[before, i:j], routed[here, i:j], routed[after, i:j])
            if first <= z < last:
                out = slope_before[z, i:j]
                for k in range(len(price)):
                    out[k] = -price[k]
        if first <= z - 1 < last:
            of_plane, to, eroded = routed[before], slope[z - 1], further[z - 1]
            _route_in_plane(of_plane, to, eroded, along[before], across[before], row, low, work, in_rows)


@loop
def _share(price, other, of, beside):
    """Move to others what windows along an axis have of a price: all where they are less than those beside, or half."""
    for i in range(len(price)):
        share = price[i] * where(of[i] < beside[i], ONE, where(of[i] == beside[i], HALF, ZERO))
        other[i] = share
        price[i] -= share


@loop
def erode_back(part, parts, e, slope, slope_before, row, deep):
    """Add the prices of an erosion of some planes to those of what was eroded; axes that tie share a price."""
    first, last = _planes_for(part, parts, e)
    start, end, size = _interior(e[0], row)
    nowhere, work, top = np.zeros(e.shape[1], e.dtype), np.empty((6, size), e.dtype), e[0, 0]
    for z in range(max(first - 1, 1), min(last + 1, len(e) - 1)):
        here, to = e[z], slope_before[z] if first <= z < last else nowhere
        to_before = slope_before[z - 1] if first <= z - 1 < last else nowhere
        to_after = slope_before[z + 1] if first <= z + 1 < last else nowhere
        for i in range(start, end, size):
            j = min(i + size, end)
            n, middle, before, ahead, left = (
                j - i,
                here[i:j],
                e[z - 1, i:j],
                here[i - row : j - row],
                here[i - 1 : j - 1],
            )
            price, other, least = work[0, :n], work[1, :n], work[2, :n]
            planes, rows, along = work[3, :n], work[4, :n], work[5, :n]
            price[:], planes[:], rows[:] = slope[z, i:j], top, top
            _least_of_three(along, left, middle, here[i + 1 : j + 1])
            if row:
                _least_of_three(rows, ahead, middle, here[i + row : j + row])
            if deep:
                _least_of_three(planes, before, middle, e[z + 1, i:j])
            _least_of_three(least, planes, rows, rows)
            _share(price, other, along, least)
            _route(other, left, middle, along, to[i - 1 : j - 1], to[i:j], to[i + 1 : j + 1])
            if row:
                _share(price, other, rows, planes)
                _route(other, ahead, middle, rows, to[i - row : j - row], to[i:j], to[i + row : j + row])
            if deep:
                _route_to_planes(price, before, middle, planes, to_before[i:j], to[i:j], to_after[i:j])


def remainder(y: Tensor, valid: Tensor | None, iterations: int) -> Tensor:
    """What no opening of a map (B, C, *S) takes away, nor of its erosions."""
    grid, found = _Grid(y), empty(y.shape, y.dtype)

    def find(call: Callable[..., None], maps: Maps, e: np.ndarray, further: np.ndarray, rest: np.ndarray) -> None:
        grid.take(e, y, maps, valid)
        further[:], rest[:] = e, 1
        for _ in range(iterations + 1):
            call(open_planes, e, further, rest, grid.row, grid.low)
            e, further = further, e
        grid.give(rest, found, maps)

    grid.run(3, find)
    return found


def remainder_slope(y: Tensor, valid: Tensor | None, iterations: int, value: Tensor, of_value: Tensor) -> Tensor:
    """Its derivative, times the price of each of its values; a few erosions are kept, those between found again."""
    grid, found, step = _Grid(y), empty(y.shape, y.dtype), math.isqrt(iterations) + 1

    def find(call: Callable[..., None], maps: Maps, *room: np.ndarray) -> None:
        (values, prices, slope, slope_before), space, (first, *others) = room[:4], room[4 : 4 + step], room[4 + step :]
        grid.take(values, value, maps)
        grid.take(prices, of_value, maps)
        grid.take(first, y, maps, valid)
        for e in space:
            e[:] = first
        slope[:] = 0
        kept = [first]

        def erosions(number: int) -> list[np.ndarray]:
            eroded = kept[-1:]
            for e in space[:number]:
                call(erode, eroded[-1], e, grid.row)
                eroded.append(e)
            return eroded

        for e in others:
            e[:] = erosions(step)[-1]
            kept.append(e)
        for start in reversed(range(0, iterations + 1, step)):
            for e, further in reversed([*pairwise(erosions(min(step, iterations + 1 - start)))]):
                call(open_planes_back, e, further, values, prices, slope, slope_before, grid.row, grid.low)
                call(erode_back, e, slope, slope_before, grid.row, grid.deep)
                slope, slope_before = slope_before, slope
            kept.pop()
        grid.give(slope, found, maps)

    grid.run(5 + step + iterations // step, find)
    return found


class _Grid:
    """How the loops see maps: as planes of rows, with a border; maps of one row a plane lie side by side."""

    def __init__(self, y: Tensor) -> None:
        self.planes, self.rows, self.n = three(y.shape[2:])
        self.deep, self.row = y.ndim > 3, self.n + 2 if y.ndim == 5 else 0
        """Whether there are planes beside a plane, and what lies between a voxel and that of the next row, if any."""
        kind = np.dtype(str(y.dtype).removeprefix("torch."))
        bounds = np.finfo(kind) if y.is_floating_point() else np.iinfo(kind)
        self.low, self.top = kind.type(bounds.min), kind.type(bounds.max)
        maps = [*np.ndindex(*y.shape[:2])]
        size = 1 if self.row else max(1, TILE // (self.n + 2))
        self.groups = [maps[i : i + size] for i in range(0, len(maps), size)]

    def run(self, arrays: int, find: Callable[..., None]) -> None:
        """Find what is asked for each group of maps, by one thread with all of it, or by all with some planes each.

        `find(call, maps, *room)` has so many arrays to work in, which are those of the group before.
        """
        threads, first, one = torch.get_num_threads(), np.int64(0), np.int64(1)
        many = len(self.groups) >= GROUPS * threads
        length = math.prod(self._shape(self.groups[0]))
        rooms = deque(np.empty((arrays, length), self.top.dtype) for _ in range(threads if many else 1))

        def task(call: Callable[..., None], maps: Maps) -> None:
            room, shape = rooms.pop(), self._shape(maps)
            find(call, maps, *room[:, : math.prod(shape)].reshape(arrays, *shape))
            rooms.append(room)

        def alone(part: int, _: int) -> None:
            task(lambda loop, *given: loop(first, one, *given), self.groups[part])

        def together(loop: Callable[..., None], *given: Any) -> None:
            in_threads(threads, min(threads, self.planes), loop, *given)

        if many:
            in_threads(threads, len(self.groups), alone)
            return
        for maps in self.groups:
            task(together, maps)

    def _shape(self, maps: Maps) -> tuple[int, int]:
        """Planes, and what a plane of some maps has, borders included."""
        rows = self.rows + 2 if self.row else len(maps)
        return self.planes + 2, rows * (self.n + 2)

    def take(self, e: np.ndarray, y: Tensor, maps: Maps, valid: Tensor | None = None) -> None:
        """Put some maps into their borders, which are what no erosion takes."""
        e[:] = self.top
        for at, voxels in zip(maps, self.each(e), strict=True):
            voxels[:] = self.plain(y[at])
            if valid is not None:
                voxels[~self.plain(valid[at[0], 0])] = self.top

    def give(self, e: np.ndarray, found: Tensor, maps: Maps) -> None:
        """Put them into those of all images and classes."""
        for at, voxels in zip(maps, self.each(e), strict=True):
            self.plain(found[at])[:] = voxels

    def each(self, e: np.ndarray) -> list[np.ndarray]:
        """What lies within the borders."""
        inside = e.reshape(len(e), -1, self.n + 2)[1:-1, :, 1:-1]
        return [inside[:, 1:-1]] if self.row else np.split(inside, inside.shape[1], axis=1)

    def plain(self, y: Tensor) -> np.ndarray:
        """The same of a map without a border."""
        return y.detach().view(self.planes, self.rows, self.n).numpy()


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    y = torch.zeros(1, 1, 2)
    remainder_slope(y, None, 1, remainder(y, None, 1), y)
