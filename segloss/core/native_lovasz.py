"""The Lovász extension of the Jaccard loss on the CPU, by a radix sort of the errors that can change a slope.

Of a voxel of the class the slope is 1 over the union of the class and what is wrong by more; of another it has also as
a factor how much of the class is wrong by less. So above all errors of others, and below all errors of the class,
there is nothing to sort; what is between them `native_order` sorts.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from segloss.core.native import voxels_of
from segloss.core.native_fetch import fetch_ahead, fetch_place
from segloss.core.native_math import ONE, TWO, ZERO, bits_of, f32, i32, inline, loop, of_bits, where
from segloss.core.native_order import BUCKETS, LINE, PLACE, PLACES, SIZE, TILE, count, fill, order
from segloss.core.native_pair import ROW, take_labels
from segloss.core.native_parts import parts_of, span
from segloss.core.threads import in_threads

ALONE = 2**15
"""Voxels of a class, at least, for each thread that shares it."""


@loop
def _mark(part, parts, p, first_class, labels, by_voxel, is_channel, valid, hinge, found):
    """Turn predictions into errors, negative where a voxel is of the class, and find of some voxels what follows.

    It is the size of each class and the bits of some errors: the least of the class, the least of all, the largest of
    the others, and the largest of all.
    """
    images, classes, voxels = p.shape
    given = np.empty((labels.shape[2 if by_voxel else 1], ROW), labels.dtype)
    g = np.empty(TILE, np.int32)
    found[part, :, :, 0], found[part, :, :, 1:3], found[part, :, :, 3:] = 0, SIZE, 0
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            here = voxels_of(valid, image, first, last)
            take_labels(given, labels, by_voxel, image, first, last - first)
            for c in range(first_class, classes):
                fetch_ahead(p, image, c, first, last - first)
                x, of, yes = p[image, c, first:last], given[c % len(given)], i32(1 if is_channel else c)
                for i in range(len(x)):
                    g[i] = where(i32(of[i]) == yes, i32(1), i32(0))
                if len(here):
                    for i in range(len(x)):
                        g[i] &= i32(here[i])
                if hinge:
                    for i in range(len(x)):
                        margin = ONE - x[i] * (TWO * f32(g[i]) - ONE)
                        x[i] = where(margin <= ZERO, ZERO, margin)
                    if len(here):
                        for i in range(len(x)):
                            x[i] = where(here[i] != 0, x[i], ZERO)
                else:
                    for i in range(len(x)):
                        x[i] = abs(f32(g[i]) - x[i])
                size, low, high, least, most = i32(0), SIZE, i32(0), SIZE, i32(0)
                for i in range(len(x)):
                    e = bits_of(x[i]) & SIZE
                    size += g[i]
                    low = min(low, where(g[i] == 1, e, SIZE))
                    high = max(high, where(g[i] == 1, i32(0), e))
                    least = min(least, e)
                    most = max(most, e)
                    x[i] = of_bits(e | (g[i] << i32(31)))
                of_class = found[part, image, c - first_class]
                of_class[0] += size
                of_class[1] = min(of_class[1], low)
                of_class[2] = min(of_class[2], least)
                of_class[3] = max(of_class[3], high)
                of_class[4] = max(of_class[4], most)


@inline
def _jump(is_hit, hits, wrong, size):
    """By how much the Jaccard loss rises with a voxel, after some voxels of which so many are hits."""
    union = size + (wrong - hits)
    return (ONE if is_hit else size - hits) / (union if is_hit else union * (union + ONE))


@loop
def _slopes(items, p, top, hinge, wrong, hits, size, other):
    """Write the slopes of voxels in the order of their errors, and give their part of the values.

    So many voxels are wrong by more, with so many hits among them. If the class has an only `other`, of that size, it
    is given its slopes in the same order.
    """
    voxels, flat, of_voxels = p.shape[2], p.reshape(-1), p.reshape(1, 1, -1)
    jump, before = np.empty(TILE, f32), np.empty(TILE, np.int32)
    value, value_of_other = 0.0, 0.0
    for first in range(0, len(items), TILE):
        some = items[first : first + TILE]
        for i in range(len(some)):
            before[i] = hits
            hits += (some[i] >> PLACE) & 1
            fetch_place(of_voxels, some[i] & PLACES)
            if other:
                fetch_place(of_voxels, (some[i] & PLACES) + voxels)
        for side in range(2 if other else 1):
            total = 0.0
            for i in range(len(some)):
                key = some[i] >> PLACE
                e, is_hit = of_bits(i32(top - (key >> 1))), (key & 1) ^ side
                right, of = wrong + i - before[i] if side else before[i], other if side else size
                slope = _jump(is_hit, f32(right), f32(wrong + i), f32(of))
                slope = ZERO if hinge and e == ZERO else slope
                total += e * slope
                jump[i] = -slope if is_hit else slope
            for i in range(len(some)):
                flat[np.uint64((some[i] & PLACES) + side * voxels)] = jump[i]
            if side:
                value_of_other += total
            else:
                value += total
        wrong += len(some)
    return value, value_of_other


@loop
def _largest(p, c, images, most, hinge):
    """The slopes where no voxel is of the class: 1 at the first of the largest error."""
    bits = p.view(np.int32)
    found = False
    for image in range(images[0], images[1]):
        for i in range(p.shape[2]):
            here = not found and bits[image, c, i] == most
            found = found or here
            p[image, c, i] = ONE if here and not (hinge and most == 0) else ZERO


STEPS = 4
"""Those of a class."""


@loop
def step(part, parts, number, p, c, images, hinge, least, of_class, other, counts, values, items, found):
    """One of the steps by which the errors of a class become slopes, for one part of its voxels or buckets.

    `of_class` is what `_mark` finds. Where the class has an only `other`, that is its size; else it is 0.
    """
    size, low, every, high, most = of_class
    top, bottom = (most, every) if other else (high, low)
    bottom, shift = max(bottom, least), 0
    while (top - bottom) >> shift >= BUCKETS:
        shift += 1
    if number == 0:
        count(part, parts, p, c, images, top, bottom, shift, counts)
    elif number == 1:
        values[part, 0] = fill(part, parts, p, c, images, top, bottom, shift, size, other > 0, counts, items)
    elif number == 2:
        order(part, parts, shift, counts, items, found)
    else:
        above = counts[:, BUCKETS].sum()
        some, hits = items[found[part, 1] : found[part, 2]], above + found[:part, 0].sum()
        of_some = _slopes(some, p, i32(top), hinge, above + found[part, 1], hits, size, other)
        values[part, 0] += of_some[0]
        values[part, 1] = of_some[1]


@loop
def steps(*given):
    """All of them, one after the other."""
    for number in range(STEPS):
        step(0, 1, number, *given)


@dataclass(frozen=True)
class Extensions:
    """The Lovász extensions of the Jaccard losses of some classes, at errors that become their slopes.

    Attributes:
        errors: Negative where a voxel is of the class.
        classes: Those that take part.
        hinge: Whether errors are margins.
        skip: Whether an absent class costs nothing.
        least: The bits of the least error that has a slope.
        found: What `_mark` finds, of the classes of each image or of all.
        loss: The values.
    """

    errors: Float[np.ndarray, "B C N"]
    classes: range
    hinge: bool
    skip: bool
    least: int
    found: Integer[np.ndarray, "R K 5"]
    loss: Float[np.ndarray, "R K"]

    def run(self, of_two: bool) -> None:
        """Find all: a class in each thread, and the last few classes in all threads together."""
        tasks = []
        for row, sizes in enumerate(self.found[:, :, 0]):
            together = of_two and sizes.all()
            tasks += [(row, c, int(sizes[1]) if together else 0) for c in self.classes[: 1 if together else None]]
        threads = torch.get_num_threads()
        whole = len(tasks) // threads * threads
        left = iter(tasks[:whole])

        def some(part: int, parts: int) -> None:
            room = self._room(1)
            for task in left:
                self.one(*task, room)

        in_threads(threads if whole else 1, threads if whole else 1, some)
        room = self._room(min(threads, 1 + self.errors[:: len(self.loss), 0].size // ALONE))
        for task in tasks[whole:]:
            self.one(*task, room)

    def one(self, row: int, c: int, other: int, room: tuple[np.ndarray, ...]) -> None:
        """One class, and the other if there are two and so many voxels are of that."""
        images, at = (0, len(self.errors)) if len(self.loss) == 1 else (row, row + 1), c - self.classes.start
        of_class, (counts, values, *_) = self.found[row, at], room
        if of_class[0] == 0:
            self.loss[row, at] = 0.0 if self.skip else of_class[4:].astype(np.int32).view(f32)[0]
            _largest(self.errors, c, images, -1 if self.skip else of_class[4], self.hinge)
            return
        given = self.errors, c, images, self.hinge, self.least, of_class, other, *room
        if len(counts) == 1:
            steps(*given)
        else:
            for number in range(STEPS):
                in_threads(len(counts), len(counts), step, number, *given)
        self.loss[row, at] = values[:, 0].sum()
        if other:
            self.loss[row, at + 1] = values[:, 1].sum()

    def _room(self, parts: int) -> tuple[np.ndarray, ...]:
        """Space for a row in so many parts, of which only what is written to takes memory."""
        items = np.empty(self.errors[:: len(self.loss), 0].size + LINE * parts, np.int64)
        return np.empty((parts, BUCKETS + 1), np.int64), np.empty((parts, 2)), items, np.empty((parts, 3), np.int64)


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
    is_channel, by_voxel = labels.shape[1] > 1 or p.shape[1] == 1, labels.stride(1) < labels.stride(2)
    of = labels.view(torch.uint8) if labels.dtype == torch.bool else labels
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.expand(len(p), 1, -1)[:, 0]
    threads = torch.get_num_threads()
    parts = parts_of(p, threads)
    of_parts = np.empty((parts, len(p), len(classes), 5), np.int64)
    given = (of.transpose(1, 2) if by_voxel else of).numpy(), by_voxel, is_channel
    here = counted.contiguous().view(torch.uint8).numpy()
    in_threads(threads, parts, _mark, p.numpy(), classes.start, *given, here, hinge, of_parts)
    found = of_parts.reshape(1, -1, *of_parts.shape[2:]) if batch else of_parts.swapaxes(0, 1)
    found = np.concatenate([found[..., :1].sum(1), found[..., 1:3].min(1), found[..., 3:].max(1)], 2)
    loss = np.zeros(found.shape[:2])
    Extensions(p.numpy(), classes, hinge, skip, least, found, loss).run(of_two)
    return torch.from_numpy(loss), torch.from_numpy(found[..., 0] > 0)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p, labels = torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.uint8)
    extensions(p, labels, None, range(1), batch=True, hinge=False, skip=True, least=1, of_two=False)
