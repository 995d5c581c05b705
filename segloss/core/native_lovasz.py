"""The Lovász extension of the Jaccard loss on the CPU, by a radix sort of the errors that can change a slope.

Of a voxel of the class the slope is 1 over the union of the class and what is wrong by more; of another it has also as
a factor how much of the class is wrong by less. So above all errors of others, and below all errors of the class,
there is nothing to sort; what is between them `native_order` sorts.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from segloss.core.native import voxels_of
from segloss.core.native_fetch import fetch_place
from segloss.core.native_math import ONE, TWO, ZERO, bits_of, f32, i32, inline, loop, of_bits, where
from segloss.core.native_order import BUCKETS, LINE, PLACE, PLACES, TILE, count, fill, look, order
from segloss.core.native_pair import by_channel
from segloss.core.threads import in_threads

MOST = i32(0x7FFFFFFF)
PART = 2**15
"""Voxels of a part, at least, that threads share."""


@loop
def _errors(part, parts, p, c, images, labels, of, yes, valid, hinge, found):
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
            look(x, labels[image, of, first:last], yes, here, g)
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
            hits = i32(0)
            for i in range(len(x)):
                e = bits_of(x[i])
                hits += g[i]
                low = min(low, where(g[i] == 1, e, MOST))
                high = max(high, where(g[i] == 1, i32(0), e))
                least = min(least, e)
                most = max(most, e)
            size += hits
    found[part, 0], found[part, 1], found[part, 2], found[part, 3], found[part, 4] = size, low, least, high, most


@inline
def _jump(is_hit, hits, wrong, size):
    """By how much the Jaccard loss rises with a voxel, after some voxels of which so many are hits."""
    union = size + (wrong - hits)
    return (ONE if is_hit else size - hits) / (union if is_hit else union * (union + ONE))


@loop
def _slopes(items, p, top, hinge, wrong, hits, size, other):
    """Write minus the slopes of voxels in the order of their errors, and give their part of the values.

    So many voxels are wrong by more, with so many hits among them. If the class has an only `other`, of that size, it
    is given its slopes in the same order.
    """
    voxels, flat, of_voxels = p.shape[2], p.reshape(-1), p.reshape(1, 1, -1)
    jump, of_other, before = np.empty(TILE, f32), np.empty(TILE, f32), np.empty(TILE, np.int32)
    value, value_of_other = 0.0, 0.0
    for first in range(0, len(items), TILE):
        some = items[first : first + TILE]
        for i in range(len(some)):
            before[i] = hits
            hits += (some[i] >> PLACE) & 1
            fetch_place(of_voxels, some[i] & PLACES)
            if other:
                fetch_place(of_voxels, (some[i] & PLACES) + voxels)
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
def _signs(part, parts, p, c, images, labels, of, yes, valid, top, size, other):
    """Give the slopes of one part their signs, find those that were not sorted, and give the value of these."""
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
            look(x, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            if other:
                y = p[image, c + 1, first:last]
                for i in range(len(x)):
                    y[i] *= where(bits_of(x[i]) < 0, ONE, ZERO)
            for i in range(len(x)):
                e = bits_of(x[i])
                above = where((e > top) & (g[i] == 1), ONE, ZERO)
                value += x[i] * above
                x[i] = where(e >= 0, -share * above, x[i] * (TWO * f32(g[i]) - ONE))
    return value * share


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


STEPS = 6
"""Those of a class."""


@loop
def step(part, parts, number, p, c, images, labels, valid, counted, hinge, skip, least, found, counts, values, items):
    """One of the steps by which the predictions of a class become slopes, for one part of its voxels or buckets.

    Where the class has an only other, so many voxels are `counted`; else that is 0.
    """
    is_channel = labels.shape[1] > 1 or p.shape[1] == 1
    given = p, c, images, labels, c if labels.shape[1] > 1 else 0, i32(1 if is_channel else c), valid
    if number == 0:
        _errors(part, parts, *given, hinge, found)
        return
    size, low, every = found[:, 0].sum(), found[:, 1].min(), found[:, 2].min()
    high, most = found[:, 3].max(), found[:, 4].max()
    if size == 0:
        if number == 1 and part == 0:
            values[0, 0] = 0.0 if skip else of_bits(i32(most))
            _largest(p, c, images, -1 if skip else most, hinge)
        return
    others = max(counted - size, 0)
    top, bottom = (most, every) if others else (high, low)
    bottom, shift = max(bottom, least), 0
    while (top - bottom) >> shift >= BUCKETS:
        shift += 1
    if number == 1:
        count(part, parts, p, c, images, top, bottom, shift, counts)
    elif number == 2:
        fill(part, parts, *given, top, bottom, shift, counts, items)
    elif number == 3:
        order(part, parts, shift, counts, items, found)
    elif number == 4:
        above = counts[:, BUCKETS].sum()
        some, hits = items[found[part, 6] : found[part, 7]], above + found[:part, 5].sum()
        wrong = above + found[part, 6]
        values[part, 0], values[part, 1] = _slopes(some, p, i32(top), hinge, wrong, hits, size, others)
    else:
        values[part, 0] += _signs(part, parts, *given, top, size, others)


@loop
def steps(*given):
    """All of them, one after the other."""
    for number in range(STEPS):
        step(0, 1, number, *given)


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
            room = self._room(1)
            for task in left:
                self.one(*task, of_two, room)

        in_threads(threads if whole else 1, threads if whole else 1, some)
        room = self._room(min(threads, 1 + self.p[:: len(self.loss), 0].size // PART))
        for task in tasks[whole:]:
            self.one(*task, of_two, room)

    def one(self, row: int, c: int, of_two: bool, room: tuple[np.ndarray, ...]) -> None:
        """One class, and the other if there are two."""
        images = (0, len(self.p)) if len(self.loss) == 1 else (row, row + 1)
        found, _, values, _ = room
        parts, counted = len(found), self._counted(images) if of_two else 0
        given = self.p, c, images, self.labels, self.valid, counted, self.hinge, self.skip, self.least, *room
        values[:] = 0
        if parts == 1:
            steps(*given)
        else:
            for number in range(STEPS):
                in_threads(parts, parts, step, number, *given)
        size, at = int(found[:, 0].sum()), c - self.classes.start
        self.size[row, at], self.loss[row, at] = size, values[:, 0].sum()
        if of_two and 0 < size < counted:
            self.size[row, at + 1], self.loss[row, at + 1] = counted - size, values[:, 1].sum()
        elif of_two:
            self.one(row, c + 1, False, room)

    def _room(self, parts: int) -> tuple[np.ndarray, ...]:
        """Space for a row in so many parts, of which only what is written to takes memory."""
        items = np.empty(self.p[:: len(self.loss), 0].size + LINE * parts, np.int64)
        return np.empty((parts, 8), np.int64), np.empty((parts, BUCKETS + 1), np.int64), np.empty((parts, 2)), items

    def _counted(self, images: tuple[int, int]) -> int:
        valid = self.valid[slice(*images)]
        return int(np.count_nonzero(valid)) if len(self.valid) else (images[1] - images[0]) * self.p.shape[2]


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
    of = by_channel(labels.view(torch.uint8)) if labels.dtype == torch.bool else labels.contiguous().numpy()
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.expand(len(p), 1, -1)[:, 0]
    loss, size = np.zeros((2, 1 if batch else len(p), len(classes)))
    given = p.numpy(), of, counted.contiguous().view(torch.uint8).numpy(), classes
    Extensions(*given, hinge, skip, least, loss, size).run(of_two)
    return torch.from_numpy(loss), torch.from_numpy(size) > 0


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p, labels = torch.ones(1, 1, 1), torch.ones(1, 1, 1, dtype=torch.uint8)
    extensions(p, labels, None, range(1), batch=True, hinge=False, skip=True, least=1, of_two=False)
