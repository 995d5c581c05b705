"""What erosions by a cross leave of squared errors, by loops that numba compiles for the CPU.

A map has a border of zeros, so that what lies beside a voxel is a row further in its plane, or in the plane before or
after, and a loop runs over many rows at once. One such loop erodes, and finds the least and the largest value and the
sum on its way; what stretches an erosion is a factor of the next. So each erosion passes over a map once, and its
derivative twice: the price of the least and of the largest value is a sum over all. A thread has a map of its own.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_math import HALF, INFINITE, TWO, ZERO, bits_of, f32, i32, loop, of_bits, where
from segloss.core.native_parts import share_maps
from segloss.core.opaque import as_operator

TILE = 1024
"""Voxels at a time, as many as stay in a near cache, or a row."""
LEAST, MOST, STRETCH, TOTAL = range(4)
"""What is known of an erosion: its least value, which is taken off; the largest, what stretches it, and the sum."""


@loop
def _add_three(out, a, b, c):
    for i in range(len(out)):
        out[i] = a[i] + b[i] + c[i]


@loop
def _add_two(out, a, b):
    for i in range(len(out)):
        out[i] += a[i] + b[i]


@loop
def _cross(out, e, z, i, row, nothing):
    """The sums of some voxels of a plane, from i on, and of those beside them."""
    here, j = e[z], i + len(out)
    _add_three(out, here[i:j], here[i - 1 : j - 1], here[i + 1 : j + 1])
    _add_two(out, here[i - row : j - row], here[i + row : j + row])
    if len(e) > 1:
        _add_two(out, (e[z - 1] if z > 0 else nothing)[i:j], (e[z + 1] if z + 1 < len(e) else nothing)[i:j])


@loop
def _cut(out, known, share):
    """What is above a half of some means, and the bits of the least and the largest of them, and the sum."""
    least, most, total = bits_of(INFINITE), i32(0), ZERO  # bits of numbers from 0 sort as these do
    for i in range(len(out)):
        v = out[i] * share - HALF
        v = where(known[i] & ~(v < ZERO), v, ZERO)
        out[i] = v
        bits = bits_of(v)
        least, most, total = min(least, where(known[i], bits, bits_of(INFINITE))), max(most, bits), total + v
    return least, most, total


@loop
def _erode(e, eroded, known, row, share):
    """Erode a map: the least and the largest value, and the sum."""
    nothing, start, end, size = np.zeros(e.shape[1], e.dtype), row, e.shape[1] - row, max(TILE, row)
    least, most, total = bits_of(INFINITE), i32(0), 0.0
    for z in range(len(e)):
        for i in range(start, end, size):
            j = min(i + size, end)
            _cross(eroded[z, i:j], e, z, i, row, nothing)
            low, high, of_some = _cut(eroded[z, i:j], known[z % len(known), i:j], share)
            least, most, total = min(least, low), max(most, high), total + of_some
    return of_bits(least), of_bits(most), total


@loop
def _take_off(out, known, low):
    for i in range(len(out)):
        out[i] = where(known[i], out[i] - low, ZERO)


@loop
def _errors(p, g, known, e, row):
    """The squared errors of a map where it counts."""
    for z in range(len(e)):
        for y in range(p.shape[1]):
            out, x, true = e[z, (y + 1) * row + 1 : (y + 2) * row - 1], p[z, y], g[z, y]
            for i in range(len(out)):
                error = x[i] - f32(true[i])
                out[i] = error * error
        _take_off(e[z], known[z % len(known)], ZERO)


@loop
def _erosions(p, g, known, row, share, stretched, room, found):
    """The errors of a map and their erosions, until nothing is left, in arrays that are used by turns; how many."""
    _errors(p, g, known, room[0], row)
    found[0] = 0.0, np.inf, 1.0, 0.0
    for k in range(1, len(found)):
        e = room[k % len(room)]
        least, most, total = _erode(room[(k - 1) % len(room)], e, known, row, f32(share * found[k - 1, STRETCH]))
        found[k] = 0.0, np.inf, 1.0, total
        if stretched and most > least:
            if least > ZERO:
                for z in range(len(e)):
                    _take_off(e[z], known[z % len(known)], least)
                total -= least * (len(e) // len(known) * np.sum(known))
                most -= least
            found[k, LEAST], found[k, MOST], found[k, STRETCH], found[k, TOTAL] = least, most, 1 / most, total
        if total == 0.0:
            return k + 1
    return len(found)


@loop
def erode_again(part, parts, p, g, known, row, share, prices, stretched, out):
    """The priced sums of the erosions of some maps."""
    room, found = np.zeros((2, p.shape[2], known.shape[2]), p.dtype), np.empty((len(prices), 4))
    for at in range(part, out.size, parts):
        image, channel = at // out.shape[1], at % out.shape[1]
        here = known[image % len(known)]
        number = _erosions(p[image, channel], g[image, channel], here, row, share, stretched, room, found)
        total = 0.0
        for k in range(1, number):
            total += prices[k] * found[k, TOTAL] * found[k, STRETCH]
        out[image, channel] = total


@loop
def _price(out, e, known, share, price, most):
    """The prices of some values: the sums of them, and of them times e; and how many e are 0, and the most."""
    total, of_values, zeros, highs = ZERO, ZERO, i32(0), i32(0)
    for i in range(len(out)):
        v = where(known[i], out[i] * share + price, ZERO)
        out[i] = v
        total, of_values = total + v, of_values + v * e[i]
        zeros, highs = zeros + (known[i] & (e[i] == ZERO)), highs + (e[i] == most)
    return total, of_values, zeros, highs


@loop
def _price_values(priced, slope, e, known, row, share, price, most):
    """From the prices of what an erosion has left to those of what it is of, e, which have one of their own."""
    nothing, start, end, size = np.zeros(e.shape[1], e.dtype), row, e.shape[1] - row, max(TILE, row)
    total, of_values, zeros, highs = 0.0, 0.0, 0, 0
    for z in range(len(e)):
        for i in range(start, end, size):
            j = min(i + size, end)
            _cross(slope[z, i:j], priced, z, i, row, nothing)
            given = _price(slope[z, i:j], e[z, i:j], known[z % len(known), i:j], share, price, most)
            total, of_values, zeros, highs = total + given[0], of_values + given[1], zeros + given[2], highs + given[3]
    return total, of_values, zeros, highs


@loop
def _price_cut(out, e, known, stretch, most, of_least, of_most, raised):
    """From the prices of what is stretched to those of what was above a half."""
    for i in range(len(out)):
        v = out[i] * stretch + where(e[i] == most, of_most, where(e[i] == ZERO, of_least, ZERO))
        out[i] = where(known[i] & (raised | (e[i] > ZERO)), v, ZERO)


@loop
def price_back(part, parts, p, g, known, row, share, prices, stretched, of_p):
    """The derivatives of the priced sums of some maps."""
    shape, found = (p.shape[2], known.shape[2]), np.empty((len(prices), 4))
    room, slope, priced = np.zeros((len(prices), *shape), p.dtype), np.zeros(shape, p.dtype), np.zeros(shape, p.dtype)
    for at in range(part, p.shape[0] * p.shape[1], parts):
        image, channel = at // p.shape[1], at % p.shape[1]
        here, x, true = known[image % len(known)], p[image, channel], g[image, channel]
        number = _erosions(x, true, here, row, share, stretched, room, found)
        priced[:] = ZERO
        for k in range(number - 1, -1, -1):
            most, stretch = f32(found[k, MOST]), f32(found[k, STRETCH])
            total, of_values, zeros, highs = _price_values(
                priced, slope, room[k], here, row, share, f32(prices[k]), most
            )
            if k == 0:
                break
            of_most = -of_values * stretch * stretch
            of_least = -of_most - total * stretch
            each = f32(of_least / max(zeros, 1)), f32(of_most / max(highs, 1))
            for z in range(len(slope)):
                counts = here[z % len(here)]
                _price_cut(slope[z], room[k, z], counts, stretch, most, each[0], each[1], found[k, LEAST] > 0)
            slope, priced = priced, slope
        for z in range(len(slope)):
            for y in range(x.shape[1]):
                out, price = of_p[image, channel, z, y], slope[z, (y + 1) * row + 1 : (y + 2) * row - 1]
                for i in range(len(out)):
                    out[i] = TWO * price[i] * (x[z, y, i] - f32(true[z, y, i]))


def _shape(p: Tensor) -> tuple[int, ...]:
    return *p.shape[:2], *(1, 1, *p.shape[2:])[-3:]


def _run(
    do: Any, p: Tensor, g: Tensor, valid: Tensor | None, prices: Sequence[float], stretched: bool, out: Tensor
) -> None:
    """Let the threads share the maps."""
    shape = _shape(p)
    x, true = (y.detach().contiguous().view(shape).numpy() for y in (p, g.view(torch.uint8)))
    valid = torch.ones(1, 1, *shape[3:], dtype=torch.bool) if valid is None else valid.reshape(-1, *shape[2:])
    known, share = F.pad(valid, (1, 1, 1, 1)).flatten(2).numpy(), f32(1 / (2 * (p.ndim - 2) + 1))
    given = known, shape[-1] + 2, share, np.array([0.0, *prices]), stretched, out.numpy()
    share_maps(shape[0] * shape[1], do, x, true, *given)


def eroded_errors(p: Tensor, g: Tensor, valid: Tensor | None, prices: Sequence[float], stretched: bool) -> Tensor:
    """The priced sums of what each erosion leaves of the squared errors of maps (B, C, *S)."""
    out = torch.empty(p.shape[:2], dtype=torch.float64)
    _run(erode_again, p, g, valid, prices, stretched, out)
    return out


def eroded_errors_slope(
    price: Tensor, p: Tensor, g: Tensor, valid: Tensor | None, prices: Sequence[float], stretched: bool
) -> Tensor:
    """Their derivatives with respect to p, times the price (B, C) of the sums."""
    out = empty(p.shape, p.dtype)
    _run(price_back, p, g, valid, prices, stretched, out.view(_shape(p)))
    return out.mul_(price.to(out.dtype).view(*price.shape, *[1] * (p.ndim - 2)))


def _like(p: Tensor, *_: object) -> Tensor:
    return p.new_empty(p.shape[:2], dtype=torch.float64)


as_operator("eroded_errors", eroded_errors, eroded_errors_slope, _like)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p, g = torch.ones(1, 1, 2, 2, 2), torch.zeros(1, 1, 2, 2, 2, dtype=torch.bool)
    for valid in None, g:
        eroded_errors_slope(eroded_errors(p, g, valid, [1.0], True), p, g, valid, [1.0], True)
