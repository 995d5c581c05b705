"""Scatter of windows by loops that numba compiles for the CPU.

The product of two places of a window, summed over all windows, is that of a map and of the map moved from one place to
the other, summed over a box: all of it but some voxels at its sides. So the planes, rows and columns there and what is
inside have a sum of their own for each move, of which there are fewer than pairs of places, and the sum over a box is
made of these. On the way back a move has a price for each of them. A thread has a map of its own.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_math import loop
from segloss.core.native_parts import share_maps


@loop
def _zone(at, n, size):
    """The zone of a voxel on an axis: those at its ends have one each, and the others share one."""
    return at if at < size - 1 else max(size - 1, at - n + min(n, 2 * size - 1))


@loop
def _table(shape, sizes):
    """Zeros for each move and zone."""
    (planes, rows, n), (deep, high, wide) = shape, (2 * sizes[0] - 1, 2 * sizes[1] - 1, 2 * sizes[2] - 1)
    return np.zeros((deep, high, wide, min(planes, deep), min(rows, high), min(n, wide)))


@loop
def _place(number, sizes):
    return number // (sizes[1] * sizes[2]), number // sizes[2] % sizes[1], number % sizes[2]


@loop
def _box(zones, sizes, i):
    """The zones of voxels that are at a place of some window."""
    (z, y, x), (planes, rows, n) = _place(i, sizes), zones.shape
    return zones[z : z + planes - sizes[0] + 1, y : y + rows - sizes[1] + 1, x : x + n - sizes[2] + 1]


@loop
def _between(table, sizes, i, j):
    """What moves a place to another, in the zones of the first."""
    (z, y, x), (to_z, to_y, to_x) = _place(i, sizes), _place(j, sizes)
    return _box(table[to_z - z + sizes[0] - 1, to_y - y + sizes[1] - 1, to_x - x + sizes[2] - 1], sizes, i)


@loop
def _products(a, b, sizes, opposite):
    """The sums over each zone of a times what is beside it in b, for each move; of two opposite ones for one alone."""
    (planes, rows, n), (deep, high, wide), table = a.shape, sizes, _table(a.shape, sizes)
    start, end = wide - 1, max(wide - 1, n - wide + 1)
    for z in range(planes):
        for y in range(rows):
            of_row = table[:, :, :, _zone(z, planes, deep), _zone(y, rows, high)]
            for dz in range(max(1 - deep, -z) if opposite else 0, min(deep, planes - z)):
                for dy in range(max(1 - high, -y) if opposite or dz else 0, min(high, rows - y)):
                    one, other = a[z, y], b[z + dz, y + dy]
                    for dx in range(1 - wide if opposite or dz or dy else 0, wide):
                        sums, total = of_row[dz + deep - 1, dy + high - 1, dx + wide - 1], 0.0
                        for x in range(max(0, -dx), min(start, n - dx)):
                            sums[x] += one[x] * other[x + dx]
                        u, v = one[start:end], other[start + dx :]
                        for x in range(len(u)):
                            total += u[x] * v[x]
                        sums[start] += total
                        for x in range(end, min(n, n - dx)):
                            sums[x - n + len(sums)] += one[x] * other[x + dx]
    return table


@loop
def scatter(part, parts, p, g, sizes, found):
    """The sums of products of two places over all windows of some maps, the places of p before those of g."""
    d = found.shape[1] // 2
    for at in range(part, len(p), parts):
        a, b, out = p[at].astype(np.float64), g[at].astype(np.float64), found[at]
        of_p, of_both, of_g = _products(a, a, sizes, False), _products(a, b, sizes, True), _products(b, b, sizes, False)
        for i in range(d):
            for j in range(d):
                out[i, d + j] = out[d + j, i] = np.sum(_between(of_both, sizes, i, j))
                if i <= j:
                    out[i, j] = out[j, i] = np.sum(_between(of_p, sizes, i, j))
                    out[d + i, d + j] = out[d + j, d + i] = np.sum(_between(of_g, sizes, i, j))


@loop
def _add_moved(out, x, table, z, y, sizes):
    """Add to a row what is beside it in x, times the price of the move."""
    (planes, rows, n), (deep, high, wide) = x.shape, sizes
    start, end = wide - 1, max(wide - 1, n - wide + 1)
    of_row = table[:, :, :, _zone(z, planes, deep), _zone(y, rows, high)]
    for dz in range(max(1 - deep, -z), min(deep, planes - z)):
        for dy in range(max(1 - high, -y), min(high, rows - y)):
            other = x[z + dz, y + dy]
            for dx in range(1 - wide, wide):
                prices = of_row[dz + deep - 1, dy + high - 1, dx + wide - 1]
                for i in range(max(0, -dx), min(start, n - dx)):
                    out[i] += prices[i] * other[i + dx]
                u, v, price = out[start:end], other[start + dx :], prices[start]
                for i in range(len(u)):
                    u[i] += price * v[i]
                for i in range(end, min(n, n - dx)):
                    out[i] += prices[i - n + len(prices)] * other[i + dx]


@loop
def scatter_back(part, parts, p, g, sizes, price, offset, slope):
    """The derivatives of priced sums with respect to some maps p, less an offset of each place."""
    d = price.shape[1]
    for at in range(part, len(p), parts):
        a, b, n = p[at].astype(np.float64), g[at].astype(np.float64), p.shape[3]
        of_p, of_g, constant = _table(a.shape, sizes), _table(a.shape, sizes), _table(a.shape, sizes)[0, 0, 0]
        for i in range(d):
            _box(constant, sizes, i)[:] -= offset[at, i]
            for j in range(d):
                _between(of_p, sizes, i, j)[:] += price[at, i, j]
                _between(of_g, sizes, i, j)[:] += price[at, i, d + j]
        row = np.empty(n)
        for z in range(a.shape[0]):
            for y in range(a.shape[1]):
                of_row = constant[_zone(z, a.shape[0], sizes[0]), _zone(y, a.shape[1], sizes[1])]
                for i in range(n):
                    row[i] = of_row[_zone(i, n, sizes[2])]
                _add_moved(row, a, of_p, z, y, sizes)
                _add_moved(row, b, of_g, z, y, sizes)
                slope[at, z, y] = row


def window_scatter(p: Tensor, g: Tensor, size: int) -> Tensor:
    """The sums of products of two places over all windows of maps (K, *S), the places of p before those of g."""
    width = 2 * size ** (p.ndim - 1)
    found = torch.empty(len(p), width, width, dtype=torch.float64)
    _run(scatter, p, g, size, found)
    return found


def window_scatter_slope(p: Tensor, g: Tensor, size: int, price: Tensor, offset: Tensor) -> Tensor:
    """Derivatives with respect to p, from the prices (K, D, 2D) of the sums; of each place (K, D) less an offset."""
    slope = empty(p.shape, p.dtype)
    _run(scatter_back, p, g, size, price, offset, slope.view(_shape(p)))
    return slope


def _shape(p: Tensor) -> tuple[int, ...]:
    return len(p), *(1, 1, *p.shape[1:])[-3:]


def _run(do: Any, p: Tensor, g: Tensor, size: int, *others: Tensor) -> None:
    """Let the threads share the maps."""
    sizes = (1,) * (4 - p.ndim) + (size,) * (p.ndim - 1)
    maps = [y.detach().contiguous().view(_shape(p)).numpy() for y in (p, g)]
    share_maps(len(p), do, *maps, sizes, *(y.contiguous().numpy() for y in others))


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p = torch.ones(1, 2)
    window_scatter_slope(p, p, 1, window_scatter(p, p, 1)[:, :1], torch.ones(1, 1, dtype=torch.float64))
