"""The Lovász extension of the Jaccard loss on the CPU, by a radix sort of the errors that can change a slope.

Of a voxel of the class the slope is 1 over the union of the class and what is wrong by more; of another it has also as
a factor how much of the class is wrong by less. So above all errors of others, and below all errors of the class,
there is nothing to sort. What is between them is put into buckets by the first bits of the error, and each bucket is
sorted by the others.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from segloss.core.native import ONE, TWO, ZERO, bits_of, f32, i32, in_threads, inline, loop, of_bits, voxels_of, where

TILE, FIRST_BITS, FEW = 512, 8, 24
"""Voxels at a time, bits of an error by which it finds its bucket, and voxels that are sorted one after the other."""
PLACE, PLACES = 31, 2**31 - 1
"""Bits of the place of a voxel, which an item holds below those of its error and truth."""
MOST = i32(0x7FFFFFFF)
SAMPLE = 2**12
"""About how many voxels say which errors are common."""


@inline
def _look(x, labels, yes, valid, g):
    """Where some voxels are of the class."""
    for i in range(len(x)):
        g[i] = where(labels[i] == yes, i32(1), i32(0))
    if len(valid):
        for i in range(len(x)):
            g[i] &= i32(valid[i])


@loop
def errors(part, parts, p, c, images, labels, of, yes, valid, hinge, found):
    """Turn predictions into errors, and find of one part the size of the class and the bits of some errors.

    These are the least of the class, the least of all, the largest of the others, and the largest of all.
    """
    voxels = p.shape[2]
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    g = np.empty(TILE, np.int32)
    size, low, high, least, most = 0, MOST, i32(0), MOST, i32(0)
    for image in range(images[0], images[1]):
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            x = p[image, c, first:last]
            here = voxels_of(valid, image, first, last)
            _look(x, labels[image, of, first:last], yes, here, g)
            if hinge:
                for i in range(len(x)):
                    margin = ONE - x[i] * (TWO * f32(g[i]) - ONE)
                    x[i] = where(margin <= ZERO, ZERO, margin)
                if len(here):
                    for i in range(len(x)):
                        x[i] = x[i] if here[i] else ZERO
            else:
                for i in range(len(x)):
                    x[i] = abs(f32(g[i]) - x[i])
            hits = i32(0)
            for i in range(len(x)):
                e = bits_of(x[i])
                hits += g[i]
                low = min(low, e if g[i] else MOST)
                high = max(high, i32(0) if g[i] else e)
                least = min(least, e)
                most = max(most, e)
            size += hits
    found[part, 0], found[part, 1], found[part, 2], found[part, 3], found[part, 4] = size, low, least, high, most


@loop
def above(part, parts, p, c, images, labels, of, yes, valid, tops, found):
    """How many voxels of one part have an error above each of some, and how many of them are of the class."""
    voxels = p.shape[2]
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    bits = p.view(np.int32)
    g = np.empty(TILE, np.int32)
    for image in range(images[0], images[1]):
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            e = bits[image, c, first:last]
            _look(e, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            for k in range(len(tops)):
                top, every, hits = i32(tops[k]), i32(0), i32(0)
                for i in range(len(e)):
                    every += i32(1) if e[i] > top else i32(0)
                    hits += g[i] if e[i] > top else i32(0)
                found[part, k, 0] += every
                found[part, k, 1] += hits


@inline
def _sort_few(items):
    """Sort by insertion."""
    for i in range(1, len(items)):
        item, k = items[i], i
        while k > 0 and items[k - 1] > item:
            items[k] = items[k - 1]
            k -= 1
        items[k] = item


@inline
def _sort_by(items, out, starts, shift, mask):
    """Put items in the order of some bits, of which `starts` holds the numbers."""
    total = 0
    for k in range(mask + 1):
        n = starts[k]
        starts[k] = total
        total += n
    for i in range(len(items)):
        digit = (items[i] >> shift) & mask
        out[starts[digit]] = items[i]
        starts[digit] += 1


@inline
def _sort(items, spare, bits, first, second):
    """Sort items that differ in some bits of their errors, in two steps."""
    few = bits // 2
    low, high = (1 << few) - 1, (1 << (bits - few)) - 1
    first[: low + 1], second[: high + 1] = 0, 0
    for i in range(len(items)):
        first[(items[i] >> PLACE) & low] += 1
        second[(items[i] >> (PLACE + few)) & high] += 1
    by_low = first[(items[0] >> PLACE) & low] < len(items)
    by_high = second[(items[0] >> (PLACE + few)) & high] < len(items)
    if by_low and by_high:
        _sort_by(items, spare, first, PLACE, low)
        _sort_by(spare[: len(items)], items, second, PLACE + few, high)
    elif by_low or by_high:
        if by_low:
            _sort_by(items, spare, first, PLACE, low)
        else:
            _sort_by(items, spare, second, PLACE + few, high)
        items[:] = spare[: len(items)]


@inline
def _jump(is_hit, hits, wrong, size):
    """By how much the Jaccard loss rises with a voxel, after some voxels of which so many are hits."""
    union = size + (wrong - hits)
    return (ONE if is_hit else size - hits) / (union if is_hit else union * (union + ONE))


@loop
def slopes(p, c, images, labels, of, yes, valid, hinge, top, bottom, wrong, hits, size, other, room):
    """Write minus the slopes of the voxels whose errors are from `top` to `bottom`, and give their part of the values.

    So many voxels are wrong by more, with so many hits among them. If the class has an only `other`, of that size, it
    is given its slopes in the same order. `room` is space to work in.
    """
    voxels, count = p.shape[2], 2 * (top - bottom) + 2
    bits, flat = p.view(np.int32), p.reshape(-1)
    shift = 0
    while (count - 1) >> shift >= 1 << FIRST_BITS:
        shift += 1
    g = np.empty(TILE, np.int32)
    ends = np.zeros(((count - 1) >> shift) + 2, np.int64)
    for image in range(images[0], images[1]):
        for first in range(0, voxels, TILE):
            last = min(first + TILE, voxels)
            e = bits[image, c, first:last]
            _look(e, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            for i in range(len(e)):
                if bottom <= e[i] <= top:
                    ends[((2 * (top - e[i]) + g[i]) >> shift) + 1] += 1
    most = ends.max()
    for k in range(1, len(ends)):
        ends[k] += ends[k - 1]
    items, spare = room[0, : ends[-1]], room[1, :most]
    for image in range(images[0], images[1]):
        for first in range(0, voxels, TILE):
            last = min(first + TILE, voxels)
            e = bits[image, c, first:last]
            _look(e, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            place = (image * p.shape[1] + c) * voxels + first
            for i in range(len(e)):
                if bottom <= e[i] <= top:
                    key = 2 * (top - e[i]) + g[i]
                    items[ends[key >> shift]] = (key << PLACE) | (place + i)
                    ends[key >> shift] += 1
    digits, more_digits = np.empty((2, 1 << (32 - FIRST_BITS) // 2), np.int32)
    start = 0
    for end in ends[:-1]:
        some = items[start:end]
        if len(some) > FEW and shift > 0:
            _sort(some, spare, shift, digits, more_digits)
        elif len(some) > 1:
            _sort_few(some)
        start = end

    jump, of_other, before = np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, np.int32)
    value, value_of_other = 0.0, 0.0
    for first in range(0, len(items), TILE):
        some = items[first : first + TILE]
        for i in range(len(some)):
            before[i] = hits
            hits += (some[i] >> PLACE) & 1
        for i in range(len(some)):
            key = some[i] >> PLACE
            e = of_bits(i32(top - (key >> 1)))
            jump[i] = _jump(key & 1, f32(before[i]), f32(wrong + i), f32(size))
            jump[i] = ZERO if hinge and e == ZERO else jump[i]
            value += e * jump[i]
        for i in range(len(some)):
            flat[np.uint64(some[i] & PLACES)] = -jump[i]
        if other:
            for i in range(len(some)):
                key = some[i] >> PLACE
                e = of_bits(i32(top - (key >> 1)))
                is_hit = 1 - (key & 1)
                of_other[i] = _jump(is_hit, f32(wrong + i - before[i]), f32(wrong + i), f32(other))
                value_of_other += e * of_other[i]
                of_other[i] = -of_other[i] if is_hit else of_other[i]
            for i in range(len(some)):
                flat[np.uint64((some[i] & PLACES) + voxels)] = of_other[i]
        wrong += len(some)
    return value, value_of_other


@loop
def signs(part, parts, p, c, images, labels, of, yes, valid, top, size, other, values):
    """Give the slopes of one part their signs, find those that were not sorted, and add up the values of these."""
    voxels = p.shape[2]
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    g = np.empty(TILE, np.int32)
    top = i32(top)
    share = ONE / f32(size)
    value = 0.0
    for image in range(images[0], images[1]):
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            x = p[image, c, first:last]
            _look(x, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            if other:
                y = p[image, c + 1, first:last]
                for i in range(len(x)):
                    y[i] *= where(bits_of(x[i]) < 0, ONE, ZERO)
            for i in range(len(x)):
                e = bits_of(x[i])
                above = where((e > top) & (g[i] == 1), ONE, ZERO)
                value += x[i] * above
                x[i] = where(e >= 0, -share * above, x[i] * (TWO * f32(g[i]) - ONE))
    values[part] = value * share


@loop
def largest(p, c, images, most, hinge):
    """The slopes where no voxel is of the class: 1 at the first of the largest error."""
    bits = p.view(np.int32)
    found = False
    for image in range(images[0], images[1]):
        for i in range(p.shape[2]):
            here = not found and bits[image, c, i] == most
            found = found or here
            p[image, c, i] = ONE if here and not (hinge and most == 0) else ZERO


@dataclass(frozen=True)
class Extensions:
    """The Lovász extensions of the Jaccard losses of some classes, at predictions that become their slopes.

    Attributes:
        p: Probabilities, or the scores of a hinge.
        labels: Class indices, or the yes and no of each channel.
        valid: Which voxels count, or nothing.
        classes: Those that take part.
        hinge: Whether errors are margins.
        skip: Whether an absent class costs nothing.
        least: The bits of the least error that has a slope.
        loss: The values, of each image or of all.
        size: How many voxels are of the class.
    """

    p: Float[np.ndarray, "B C N"]
    labels: Shaped[np.ndarray, "B K N"]
    valid: Shaped[np.ndarray, "B N"]
    classes: range
    hinge: bool
    skip: bool
    least: int
    loss: Float[np.ndarray, "R K"]
    size: Float[np.ndarray, "R K"]

    def run(self, of_two: bool) -> None:
        """Find all: a class in each thread, and the last few classes in all threads together."""
        tasks = [(row, c) for row in range(len(self.loss)) for c in (self.classes[:1] if of_two else self.classes)]
        threads = torch.get_num_threads()
        whole = len(tasks) // threads * threads
        left = iter(tasks[:whole])

        def some(part: int, parts: int) -> None:
            room = self._room()
            for task in left:
                self.one(*task, of_two, 1, room)

        in_threads(threads if whole else 1, threads if whole else 1, some)
        for task in tasks[whole:]:
            self.one(*task, of_two, threads)

    def one(self, row: int, c: int, of_two: bool, threads: int, room: np.ndarray | None = None) -> None:
        """One class, and the other if there are two."""
        images = (0, len(self.p)) if len(self.loss) == 1 else (row, row + 1)
        dense, alone = self.labels.shape[1] > 1, self.p.shape[1] == 1
        yes = self.labels.dtype.type(1 if dense or alone else c)
        given = self.p, c, images, self.labels, c if dense else 0, yes, self.valid
        found = np.empty((threads, 5), np.int64)
        in_threads(threads, threads, errors, *given, self.hinge, found)
        size, low, least, high, most = int(found[:, 0].sum()), *found[:, 1:3].min(0), *found[:, 3:].max(0)
        others = self._counted(images) - size if of_two else 0
        at = row, c - self.classes.start
        self.size[at] = size
        if size == 0:
            self.loss[at] = 0 if self.skip else np.int32(most).view(f32)
            largest(*given[:3], -1 if self.skip else most, self.hinge)
        else:
            top, bottom = (most, least) if others else (high, low)
            values = self._sorted(given, int(top), max(int(bottom), self.least), size, others, threads, room)
            self.loss[at], of_other = values
            if others:
                self.loss[row, at[1] + 1], self.size[row, at[1] + 1] = of_other, others
        if of_two and not (size and others):
            self.one(row, c + 1, False, threads, room)

    def _room(self) -> np.ndarray:
        """Space for a row, of which only what is written to takes memory."""
        return np.empty((2, self.p[:: len(self.loss), 0].size), np.int64)

    def _counted(self, images: tuple[int, int]) -> int:
        valid = self.valid[slice(*images)]
        return int(np.count_nonzero(valid)) if len(self.valid) else (images[1] - images[0]) * self.p.shape[2]

    def _sorted(
        self,
        given: tuple[Any, ...],
        top: int,
        bottom: int,
        size: int,
        others: int,
        threads: int,
        room: np.ndarray | None,
    ) -> tuple[float, float]:
        """The values of a class and of the only other, in as many steps as memory and threads ask for."""
        _, c, images, *_ = given
        tops = self._steps(c, images, top, bottom, threads)
        wrong = np.zeros((threads, len(tops), 2), np.int64)
        in_threads(threads, threads, above, *given, tops, wrong)
        bottoms = [*(tops[1:] + 1), bottom][: len(tops)]
        left = iter(zip(tops, bottoms, *wrong.sum(0).T, strict=True))
        values = [(0.0, 0.0)]

        def some(part: int, parts: int) -> None:
            space = self._room() if room is None else room
            values.extend(slopes(*given, self.hinge, *map(int, step), size, others, space) for step in left)

        in_threads(threads, threads, some)
        rest = np.empty(threads)
        in_threads(threads, threads, signs, *given, top, size, others, rest)
        value, of_other = np.sum(values, 0)
        return value + rest.sum(), of_other

    def _steps(self, c: int, images: tuple[int, int], top: int, bottom: int, threads: int) -> np.ndarray:
        """The bits of the largest errors of parts of like sizes."""
        rows = images[1] - images[0]
        number = threads * -(-4 * rows // self.p[:, :, 0].size)
        some = self.p[slice(*images), c, :: max(1, rows * self.p.shape[2] // SAMPLE)].view(np.int32)
        some = np.sort(some[(some >= bottom) & (some < top)])
        cuts = np.unique(some[[len(some) * k // number for k in range(1, number)] if len(some) else []])
        return np.array([top, *cuts[::-1]])[: top >= bottom]


def extensions(
    p: Float[Tensor, "B C N"],
    labels: Shaped[Tensor, "B K N"],
    valid: Bool[Tensor, "B 1 N"] | None,
    classes: range,
    *,
    batch: bool,
    hinge: bool,
    skip: bool,
    least: int,
    of_two: bool,
) -> tuple[Float[Tensor, "R K"], Bool[Tensor, "R K"]]:
    """The extensions for some classes at `p`, which become their slopes, and whether there are such classes."""
    of = labels.view(torch.uint8) if labels.dtype == torch.bool else labels
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.expand(len(p), 1, -1)[:, 0]
    loss, size = np.zeros((2, 1 if batch else len(p), len(classes)))
    given = p.numpy(), of.contiguous().numpy(), counted.contiguous().view(torch.uint8).numpy(), classes
    Extensions(*given, hinge, skip, least, loss, size).run(of_two)
    return torch.from_numpy(loss), torch.from_numpy(size) > 0


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p, labels = torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.uint8)
    extensions(p, labels, None, range(1), batch=True, hinge=False, skip=True, least=1, of_two=False)
