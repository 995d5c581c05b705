"""Distance transforms by loops that numba compiles for the CPU: exact, in time linear in the number of voxels.

Along the first axis the steps to the nearest voxel are counted, there and back. Along the others a squared distance is
the least of (ks)² + d² over the voxels k steps of size s away. All voxels of a line look for it at once, one step
after the other, which is soon over where it is near; else it is on the lower envelope of the parabolas. Where the other
side is a mask of few lines, each is tried.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.native_math import ONE, ZERO, inline, loop
from segloss.core.threads import in_threads

MASKS, SHARES = 2, 4
"""Masks of a thread from which on each is the work of one, and parts of a mask for a thread, where there are fewer."""
NEAR, REACH = 10, 24
"""Steps after which most voxels are near, or a line takes the envelope; and steps after which all have to be."""
LINES = 40
"""Lines of a mask, at most, that are tried one after the other."""
COLUMNS = 128
"""Columns that are counted at a time, as many as stay in a near cache."""


@loop
def find(part, parts, masks, known, found):
    """Whether a mask has voxels, and voxels on its other side."""
    image, channel = part // masks.shape[1], part % masks.shape[1]
    mask, inside = masks[image, channel].reshape(-1), 0
    for i in range(len(mask)):
        inside += mask[i]
    rest = len(mask) - inside
    if len(known):
        rest, here = 0, known[image].reshape(-1)
        for i in range(len(mask)):
            rest += here[i] & (mask[i] ^ 1)
    found[image, channel] = inside > 0 and rest > 0


@loop
def count(part, parts, mask, known, inside, step, d):
    """Squared distances along the first axis to the other side, in some columns; infinite where there is none."""
    rows, columns = len(d), d[0].size
    masks, places = mask.reshape(rows, columns), d.reshape(rows, columns)
    voxels = known.reshape(len(known) * rows, columns)
    start, end = part * columns // parts, (part + 1) * columns // parts
    for first in range(start, end, COLUMNS):
        last = min(first + COLUMNS, end)
        n, steps = last - first, np.full(last - first, np.inf, d.dtype)
        for x in range(rows):
            m, out = masks[x, first:last], places[x, first:last]
            if inside and len(known):
                here = voxels[x, first:last]
                for i in range(n):
                    more, other = steps[i] + ONE, here[i] & (m[i] ^ 1)
                    steps[i] = ZERO if other else more
            else:
                for i in range(n):
                    more, other = steps[i] + ONE, m[i] ^ inside
                    steps[i] = ZERO if other else more
            for i in range(n):
                out[i] = steps[i]
        for x in range(rows - 1, -1, -1):
            out = places[x, first:last]
            for i in range(n):
                ahead, behind = steps[i] + ONE, out[i]
                steps[i] = ahead if ahead < behind else behind
            for i in range(n):
                out[i] = (steps[i] * step) * (steps[i] * step)


@loop
def _look(out, d, at, stride, squares, most):
    """Let the voxels of a line look for what is near, a stride a step: steps, 0 where all are 0, and voxels left."""
    n, k, left = len(out), 0, ZERO
    line = d[at : at + n]
    for i in range(n):
        a = line[i]
        out[i] = a
        left += ONE if a > ZERO else ZERO
    while left > ZERO and k < most and not (k == NEAR and left + left > n):
        k += 1
        up, down = d[at - k * stride : at - k * stride + n], d[at + k * stride : at + k * stride + n]
        square, edge, left = squares[k], squares[k + 1], ZERO
        for i in range(n):
            a, b, c = out[i], up[i] + square, down[i] + square
            a = b if b < a else a
            a = c if c < a else a
            out[i] = a
            left += ONE if a > edge else ZERO
    return k, left


@loop
def envelope(d, out, away, step, at, starts, heights, halves):
    """The lower envelope of the parabolas that stand on a line: `at` which voxels, and from where on."""
    n, top, per = len(d), -1, 1.0 / (step * step)
    for q in range(n):
        heights[q] = d[q] * per + float(q) * float(q)
    for q in range(n):
        if heights[q] < np.inf:
            start = -np.inf
            while top >= 0:
                start = (heights[q] - heights[at[top]]) * halves[q - at[top]]
                if start > starts[top]:
                    break
                top -= 1
            top += 1
            at[top], starts[top] = q, start if top else -np.inf
    if top < 0:
        out[:] = np.inf
        return
    first = 0
    for k in range(top + 1):
        last = min(n, int(np.floor(starts[k + 1])) + 1) if k < top and starts[k + 1] < n else n
        if last > first:
            some, least, more = out[first:last], d[at[k]], away[n - 1 - at[k] + first :]
            for q in range(len(some)):
                some[q] = least + more[q]
            first = last


@loop
def _box(mask, inside):
    """Between which rows and which columns the other side lies."""
    planes, rows, n = mask.shape
    if inside:
        return 0, rows, 0, n
    in_rows, in_columns = np.zeros(rows, np.uint8), np.zeros(n, np.uint8)
    for x in range(planes):
        for y in range(rows):
            m, found = mask[x, y], np.uint8(0)
            for z in range(n):
                in_columns[z] |= m[z]
                found |= m[z]
            in_rows[y] |= found
    at, along = np.flatnonzero(in_rows), np.flatnonzero(in_columns)
    return at[0], at[-1] + 1, along[0], along[-1] + 1


@inline
def _least(out, a, b, c, d, more):
    """The least of what is there and of four lines, each with something more."""
    for i in range(len(out)):
        least = out[i]
        other = a[i] + more[0]
        least = other if other < least else least
        other = b[i] + more[1]
        least = other if other < least else least
        other = c[i] + more[2]
        least = other if other < least else least
        other = d[i] + more[3]
        out[i] = other if other < least else least


@loop
def _try_rows(out, d, squares, y, start, end, first):
    """The least of what some rows have and of the squares of the steps from there, of voxels from the first on."""
    out[:] = np.inf
    last = first + len(out)
    for k in range(start, end, 4):
        at = k, min(k + 1, end - 1), min(k + 2, end - 1), min(k + 3, end - 1)
        more = squares[abs(y - at[0])], squares[abs(y - at[1])], squares[abs(y - at[2])], squares[abs(y - at[3])]
        _least(out, d[at[0], first:last], d[at[1], first:last], d[at[2], first:last], d[at[3], first:last], more)


@loop
def _try_columns(out, d, away, first):
    """The same along a line, of what voxels from the first on have; `away` are the squares of steps there and back."""
    out[:] = np.inf
    n, end = len(out), len(d) - 1
    for k in range(0, len(d), 4):
        at = k, min(k + 1, end), min(k + 2, end), min(k + 3, end)
        more = d[at[0]], d[at[1]], d[at[2]], d[at[3]]
        w, x, y, z = n - 1 - first - at[0], n - 1 - first - at[1], n - 1 - first - at[2], n - 1 - first - at[3]
        _least(out, away[w : w + n], away[x : x + n], away[y : y + n], away[z : z + n], more)


@loop
def spread(part, parts, mask, known, inside, box, steps, squares, root, d, total):
    """Add up the distances of some planes, whose squares along the first axis are given."""
    planes, rows, n = d.shape
    first, last = box[2:]
    few_rows, few_columns = not inside and box[1] - box[0] <= LINES, not inside and last - first <= LINES
    away = np.concatenate((squares[1, n - 1 : 0 : -1], squares[1, :n]))
    away_in_rows = np.concatenate((squares[0, rows - 1 : 0 : -1], squares[0, :rows]))
    high, wide, size = min(REACH, rows - 1), min(REACH, n - 1), max(rows, n)
    g, h = np.full((rows + 2 * high, n), np.inf, d.dtype), np.full((rows, n + 2 * wide), np.inf, d.dtype)
    out, far = np.empty(n, d.dtype), np.empty(n, np.bool_)
    line, found = np.empty(rows, d.dtype), np.empty(rows, d.dtype)
    at, starts, heights = np.empty(size, np.int64), np.empty(size), np.empty(size)
    halves = 0.5 / np.arange(size)
    for x in range(part * planes // parts, (part + 1) * planes // parts):
        for y in range(rows if few_rows else 0):
            _try_rows(h[y, wide + first : wide + last], d[x], squares[0], y, box[0], box[1], first)
        if not few_rows:
            far[:], missing = False, 0
            for y in range(rows):
                for z in range(n):
                    g[high + y, z] = d[x, y, z]
            for y in range(rows):
                row = h[y, wide : wide + n]
                k, left = _look(row, g.reshape(-1), (high + y) * n, n, squares[0], high)
                if left > ZERO and k < rows - 1:
                    edge, missing = squares[0, k + 1], 0
                    for z in range(n):
                        far[z] |= row[z] > edge
                        missing += far[z]
                if missing == n:
                    break
            for z in range(n if missing else 0):
                if far[z]:
                    for y in range(rows):
                        line[y] = g[high + y, z]
                    envelope(line, found, away_in_rows, steps[1], at, starts, heights, halves)
                    for y in range(rows):
                        h[y, wide + z] = found[y]
        for y in range(rows):
            row, m = h[y], mask[x, y]
            if few_columns:
                k, left = 1, ZERO
                _try_columns(out, row[wide + first : wide + last], away, first)
            else:
                k, left = _look(out, row, wide, 1, squares[1], wide)
                if left > ZERO and k < n - 1:
                    envelope(row[wide : wide + n], out, away, steps[2], at, starts, heights, halves)
            if k == 0 and left == ZERO:
                continue
            if root:
                for i in range(n):
                    out[i] = np.sqrt(out[i])
            if len(known):
                here = known[0, x, y]
                for i in range(n):
                    a = out[i]
                    out[i] = a if (m[i] if inside else here[i] & (m[i] ^ 1)) else ZERO
            for channel in range(len(total)):
                of = total[channel, x, y]
                for i in range(n):
                    of[i] += out[i]


@loop
def whole(mask_number, masks, known, sides, steps, squares, root, total, d):
    """Add up the distances of a mask."""
    image, channel = mask_number // masks.shape[1], mask_number % masks.shape[1]
    mask, here = masks[image, channel], known[image : image + 1]
    of = total[image, channel : channel + total.shape[1] // masks.shape[1]]
    first, one = np.int64(0), np.int64(1)  # for a number that is written there they would be compiled once more
    for inside in sides:
        count(first, one, mask, here, inside, steps[0], d)
        spread(first, one, mask, here, inside, _box(mask, inside), steps, squares, root, d, of)


def add_distances(
    total: Tensor, masks: Tensor, valid: Tensor | None, size: Sequence[float], side: str, first: int, *, root: bool
) -> None:
    """Add squared distances, or their roots, to a contiguous map of float32 or float64; see `add_distances`.

    Where there are two masks, each the other side of the other, what is found for one is that of both.
    """
    valid = None if valid is None or bool(valid.all()) else valid
    both = masks.shape[1] == 2 and first == 0 and side == "both" and valid is None
    if both and bool((masks[:, 0] != masks[:, 1]).all()):
        masks = masks[:, :1]
    given, of, steps = _planes(masks), _planes(total), np.array(three(size), float)
    channels, *shape = given.shape[1:]
    known = np.empty((0, *shape), np.uint8) if valid is None else _planes(valid)[:, 0]
    squares = np.square(steps[1:, None] * np.arange(max(shape) + 1)).astype(of.dtype)
    sides = np.array([1, 0] if side == "both" else [side == "inside"], np.uint8)
    threads, found = torch.get_num_threads(), np.zeros(given.shape[:2], bool)
    in_threads(threads, found.size, find, given, known, found)
    found[:, :first] = False
    todo = np.flatnonzero(found)
    if len(todo) >= MASKS * threads:
        rooms = deque(np.empty((threads, *shape), of.dtype))

        def one(part: int, _: int) -> None:
            d = rooms.pop()
            whole(todo[part], given, known, sides, steps, squares, root, of, d)
            rooms.append(d)

        in_threads(threads, len(todo), one)
        return
    d = np.empty(shape, of.dtype)
    for image, channel in zip(*np.divmod(todo, channels), strict=True):
        mask, here = given[image, channel], known[image : image + 1]
        places = of[image, channel : channel + of.shape[1] // channels]
        for inside in sides:
            in_threads(threads, SHARES * threads, count, mask, here, inside, steps[0], d)
            how = inside, _box(mask, inside), steps, squares, root
            in_threads(threads, min(SHARES * threads, len(d)), spread, mask, here, *how, d, places)


def _planes(x: Tensor) -> np.ndarray:
    """A map as planes, rows and voxels; what is true is 1."""
    x = x.contiguous().view(torch.uint8) if x.dtype == torch.bool else x
    return x.view(*x.shape[:2], *three(x.shape[2:])).numpy()


def three(axes: Sequence[Any]) -> tuple[Any, ...]:
    """Planes, their rows and the voxels of a row, or the sizes of a step; where there is no such axis, 1."""
    first, *middle, last = axes if len(axes) > 1 else (1, *axes)
    return first, *(middle or [1]), last


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    masks = torch.tensor([[[True, False]]])
    add_distances(torch.zeros(masks.shape), masks, None, [1.0], "both", 0, root=True)
