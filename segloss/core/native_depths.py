"""How deep voxels lie in their label, by loops that numba compiles for the CPU: the distances to another label.

They are those of `native_distance` inside of the masks of all labels, found together in the time of one mask: a voxel
of another label hides what is behind it.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.native_distance import COLUMNS, NEAR, REACH, envelope, three
from segloss.core.native_math import ONE, ZERO, loop
from segloss.core.native_parts import PART
from segloss.core.threads import in_threads

GROUP = 2**12
"""Voxels of lines that look at once."""


@loop
def count(part, parts, labels, step, d):
    """Squared distances along the first axis to another label, in some columns; infinite where there is none."""
    planes, columns = labels.shape[1], labels[0, 0].size
    image, share, shares = part % len(labels), part // len(labels), parts // len(labels)
    own, places = labels[image].reshape(planes, columns), d[image].reshape(planes, columns)
    start, end = share * columns // shares, (share + 1) * columns // shares
    for first in range(start, end, COLUMNS):
        last = min(first + COLUMNS, end)
        n, steps = last - first, np.full(last - first, np.inf, d.dtype)
        for x in range(planes):
            here, before, out = own[x, first:last], own[max(x - 1, 0), first:last], places[x, first:last]
            for i in range(n):
                more = steps[i] + ONE
                steps[i] = ONE if here[i] != before[i] else more
            for i in range(n):
                out[i] = steps[i]
        steps[:] = np.inf
        for x in range(planes - 1, -1, -1):
            here, behind, out = own[x, first:last], own[min(x + 1, planes - 1), first:last], places[x, first:last]
            for i in range(n):
                more = steps[i] + ONE
                steps[i] = ONE if here[i] != behind[i] else more
            for i in range(n):
                least = steps[i] if steps[i] < out[i] else out[i]
                out[i] = (least * step) * (least * step)


@loop
def _look(out, d, labels, stride, squares, outside):
    """Let all voxels look for another label, a stride a step: steps, and whether some have to look further.

    Around them there are as many places of the label `outside` as they look far, and these are infinite.
    """
    n, k, left, first = len(out), 0, ONE, REACH * stride
    own = labels[first : first + n]
    for i in range(n):
        out[i] = d[first + i]
    while left > ZERO and k < REACH and not (k == NEAR and left + left > n):
        k += 1
        square, edge, left = squares[k], squares[k + 1], ZERO
        up, down = d[first - k * stride : first - k * stride + n], d[first + k * stride : first + k * stride + n]
        of_up, of_down = labels[first - k * stride :][:n], labels[first + k * stride :][:n]
        for i in range(n):
            is_other = (of_up[i] != own[i]) & (of_up[i] != outside)
            a = (ZERO if is_other else up[i]) + square
            out[i] = a if a < out[i] else out[i]
        for i in range(n):
            is_other = (of_down[i] != own[i]) & (of_down[i] != outside)
            a = (ZERO if is_other else down[i]) + square
            a = a if a < out[i] else out[i]
            out[i] = a
            left += ONE if (a > edge) & (own[i] != outside) else ZERO
    return k, left > ZERO


@loop
def _look_far(found, d, labels, k, squares, away, step, room):
    """Let the voxels of a line that k steps were not enough for look on, by the envelope of their run of one label."""
    start, (lines, at, starts, heights, halves) = 0, room
    for end in range(1, len(d) + 1):
        if end < len(d) and labels[end] == labels[start]:
            continue
        n, deepest = end - start, ZERO
        for i in range(start, end if n > k else start):
            deepest = max(deepest, found[i])
        if deepest > squares[k + 1]:
            line, out = lines[0, : n + 2], lines[1, : n + 2]
            line[0], line[n + 1] = ZERO if start else np.inf, ZERO if end < len(d) else np.inf
            line[1 : n + 1] = d[start:end]
            envelope(line, out, away[len(squares) - n - 2 :], step, at, starts, heights, halves)
            found[start:end] = out[1 : n + 1]
        start = end


@loop
def spread(part, parts, labels, steps, squares, outside, d):
    """Let the voxels of some planes look along the other axes."""
    image, share, shares = part % len(labels), part // len(labels), parts // len(labels)
    planes, rows, n = labels.shape[1:]
    size, wide = max(rows, n) + 2, n + REACH
    room = (
        np.empty((2, size), d.dtype), np.empty(size, np.int64), np.empty(size), np.empty(size), 0.5 / np.arange(size)
    )  # fmt: skip
    away = np.concatenate((squares[1, :0:-1], squares[1])), np.concatenate((squares[0, :0:-1], squares[0]))
    start, end = share * planes // shares, (share + 1) * planes // shares
    if rows > 1:
        own, g = np.full((rows + 2 * REACH, n), outside, labels.dtype), np.full((rows + 2 * REACH, n), np.inf, d.dtype)
        line, found, label = np.empty(rows, d.dtype), np.empty(rows, d.dtype), np.empty(rows, labels.dtype)
        for x in range(start, end):
            plane = d[image, x]
            own[REACH : REACH + rows], g[REACH : REACH + rows] = labels[image, x], plane
            k, is_left = _look(plane.reshape(-1), g.reshape(-1), own.reshape(-1), n, squares[0], outside)
            for z in range(n if is_left else 0):
                for y in range(rows):
                    line[y], found[y], label[y] = g[REACH + y, z], plane[y, z], own[REACH + y, z]
                _look_far(found, line, label, k, squares[0], away[1], steps[1], room)
                for y in range(rows):
                    plane[y, z] = found[y]
    if n > 1:
        lines, of = d[image].reshape(planes * rows, n), labels[image].reshape(planes * rows, n)
        group = 1 + GROUP // wide
        size = group * wide + 2 * REACH
        own, g = np.full(size, outside, labels.dtype), np.full(size, np.inf, d.dtype)
        out = np.empty((group, wide), d.dtype)
        for first in range(start * rows, end * rows, group):
            number = min(group, end * rows - first)
            for y in range(number):
                at = REACH + y * wide
                own[at : at + n], g[at : at + n] = of[first + y], lines[first + y]
            k, is_left = _look(out.reshape(-1)[: number * wide], g, own, 1, squares[1], outside)
            for y in range(number):
                at, found = REACH + y * wide, out[y, :n]
                if is_left:
                    _look_far(found, g[at : at + n], own[at : at + n], k, squares[1], away[0], steps[2], room)
                lines[first + y] = found


def squared_depths(labels: Integer[Tensor, "B K *S"], size: Sequence[float], outside: int) -> Float[Tensor, "B K *S"]:
    """The squared distance of each voxel to the nearest one of another label, infinite in a map of one label.

    `outside` is none of the labels.
    """
    given, steps = labels.reshape(-1, *three(labels.shape[2:])).numpy(), np.array(three(size), float)
    found = np.empty(given.shape, np.float32)
    squares = np.square(steps[1:, None] * np.arange(max(given.shape[1:]) + REACH + 2)).astype(np.float32)
    threads, parts = torch.get_num_threads(), len(given) * (1 + found[0].size // PART)
    in_threads(threads, parts, count, given, steps[0], found)
    in_threads(threads, parts, spread, given, steps, squares, outside, found)
    return torch.from_numpy(found).view(labels.shape)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    squared_depths(torch.zeros(1, 1, 1, dtype=torch.uint8), [1.0], 1)
