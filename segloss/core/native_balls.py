"""How many voxels of a mask lie in the balls around each voxel, by loops that numba compiles for the CPU.

A ball is a stack of disks, and a disk one of runs, rows of voxels. So for each plane of a mask it is found once how
many voxels lie in a run of each length around each voxel; a disk adds up those of the rows beside it, and the numbers
of a disk are added to the planes from which a ball has it there. All rows of a plane are added at once, as short
integers. A thread has a map of its own.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_math import HALF, ZERO, f32, loop, where
from segloss.core.native_parts import share_maps

TILE = 4096
"""Numbers at a time, as many as stay in a near cache."""


@loop
def _count_runs(plane, runs):
    """How many voxels of each row of a plane lie up to some steps from each of its voxels."""
    longest, n = len(runs) - 1, plane.shape[1]
    before = np.zeros(n + 2 * longest + 1, np.int32)
    for y in range(len(plane)):
        total = 0
        for x in range(n):
            total += plane[y, x]
            before[longest + x + 1] = total
        before[longest + n + 1 :] = total
        for w in range(longest + 1):
            out, ahead, behind = runs[w, y], before[longest + w + 1 :], before[longest - w :]
            for x in range(n):
                out[x] = ahead[x] - behind[x]


@loop
def _add(out, numbers):
    for i in range(len(out)):
        out[i] += numbers[i]


@loop
def _add_two(out, numbers, others):
    for i in range(len(out)):
        out[i] += numbers[i] + others[i]


@loop
def _count_disk(runs, widths, row, start, end, disk):
    """How many voxels lie in the disk around each voxel, of rows this wide to both sides, the middle one first.

    All lie from `start` to `end`. Found is from where to where there are any.
    """
    rows = 0
    while rows < len(widths) and widths[rows] >= 0:
        rows += 1
    first, last = max(0, start - (rows - 1) * row), min(len(disk), end + (rows - 1) * row)
    for i in range(first, last, TILE):
        j = min(i + TILE, last)
        disk[i:j] = runs[widths[0], i:j]
        for y in range(1, rows):
            of_row, shift = runs[widths[y]], y * row
            if i >= shift and j + shift <= len(disk):
                _add_two(disk[i:j], of_row[i - shift : j - shift], of_row[i + shift : j + shift])
                continue
            if j > shift:
                k = max(i, shift)
                _add(disk[k:j], of_row[k - shift : j - shift])
            if i + shift < len(disk):
                k = min(j, len(disk) - shift)
                _add(disk[i:k], of_row[i + shift : k + shift])
    return first, last


@loop
def _rows_of(plane):
    """The first row that has any voxels, and what follows the last."""
    first, last = len(plane), 0
    for y in range(len(plane)):
        if np.any(plane[y]):
            first, last = min(first, y), y + 1
    return first, last


@loop
def _count_balls(mask, widths, found, disk):
    """How many voxels of a mask lie in the balls around each voxel, whose disks have rows this wide to both sides."""
    planes, rows, n = mask.shape
    runs = np.empty((np.max(widths) + 1, rows, n), found.dtype)
    found[:] = 0
    for z in range(planes):
        start, end = _rows_of(mask[z])
        if end == 0:
            continue
        _count_runs(mask[z], runs)
        for k in range(len(widths)):
            for away in range(widths.shape[1]):
                if widths[k, away, 0] < 0 or (z < away and z + away >= planes):
                    break
                of_plane = runs.reshape(len(runs), rows * n)
                first, last = _count_disk(of_plane, widths[k, away], n, start * n, end * n, disk)
                if z + away < planes:
                    _add(found[k, z + away, first:last], disk[first:last])
                if 0 < away <= z:
                    _add(found[k, z - away, first:last], disk[first:last])


@loop
def _add_prices(numbers, size, price, below, above):
    """Add the price of how far the mean over a ball is below, or above, a half."""
    for i in range(len(numbers)):
        beyond = f32(numbers[i]) / size - HALF
        below[i] -= price * where(beyond < ZERO, beyond, ZERO)
        above[i] += price * where(beyond > ZERO, beyond, ZERO)


@loop
def price(part, parts, g, yes, widths, sizes, prices, out, kind):
    """The prices of some maps, one after the other."""
    channels, (planes, rows, n) = g.shape[1], g.shape[2:]
    found, disk = np.empty((len(widths), planes, rows * n), kind.dtype), np.empty(rows * n, kind.dtype)
    for at in range(part, len(g) * channels, parts):
        extra, missed = out[at // channels, at % channels]
        extra[:], missed[:] = ZERO, ZERO
        for predicted in range(2):
            mask = (yes if predicted else g)[at // channels, at % channels]
            below, above = (missed, extra) if predicted else (extra, missed)
            _count_balls(mask, widths, found, disk)
            for k in range(len(widths)):
                _add_prices(found[k].reshape(-1), sizes[k], prices[k], below, above)


def ball_prices(g: Tensor, yes: Tensor, radii: Sequence[float], prices: Sequence[float]) -> Tensor:
    """The prices of what is predicted too much, and too little, (B, C, 2, *S)."""
    shape, axes = (1, 1, *g.shape[2:])[-3:], g.ndim - 2
    widths, sizes = zip(*(_widths(r, max(radii), axes, shape) for r in radii), strict=True)
    kind = np.empty(0, np.int16 if max(sizes) < 2**15 else np.int32)
    out = empty((*g.shape[:2], 2, *g.shape[2:]), torch.float32)
    masks = [m.contiguous().view(torch.uint8).view(*m.shape[:2], *shape).numpy() for m in (g, yes)]
    given = np.array(widths), np.array(sizes, f32), np.array(prices, f32), out.view(*g.shape[:2], 2, -1).numpy(), kind
    share_maps(math.prod(g.shape[:2]), price, *masks, *given)
    return out


def _widths(radius: float, largest: float, axes: int, shape: Sequence[int]) -> tuple[np.ndarray, int]:
    """How wide to both sides the rows of a ball are, plane by plane from its middle, -1 for none; and its size."""
    reach = [0] * (3 - axes) + [math.floor(largest)] * axes
    z, y, x = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    ball = z**2 + y**2 + x**2 <= radius**2
    inside = ball[tuple(slice(n, n + size) for n, size in zip(reach, shape, strict=True))]
    return inside.sum(-1) - 1, int(ball.sum())


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    g = torch.tensor([[[[True, False]]]])
    ball_prices(g, ~g, [1.0], [1.0])
