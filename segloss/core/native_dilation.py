"""Dilations by loops that numba compiles for the CPU: largest values of three along an axis, again and again.

The voxels of a map lie in one row, in which a step along an axis is some voxels long. So a loop runs over many at once,
also from a line of the axis to the next, and those at the ends of a line are found once more. A thread has a map of its
own, which stays in a near cache.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_math import ZERO, loop, scalar, where
from segloss.core.native_parts import share_maps

TILE = 2048
"""Voxels at a time."""


@scalar
def _more(a, b):
    return where(a > b, a, b)


@loop
def _most_of_three(out, before, here, after):
    for i in range(len(out)):
        out[i] = _more(after[i], _more(before[i], here[i]))


@loop
def _largest(y, out, n, step):
    """The largest values of each voxel and those a step before and after it, on lines of n steps."""
    for i in range(step, len(y) - step, TILE):
        j = min(i + TILE, len(y) - step)
        _most_of_three(out[i:j], y[i - step : j - step], y[i:j], y[i + step : j + step])
    for line in range(0, len(y), n * step):
        for start in (line, line + (n - 1) * step):
            before, after = step if start > line else 0, step if start < line + (n - 1) * step else 0
            for i in range(start, start + step):
                out[i] = _more(y[i + after], _more(y[i - before], y[i]))


@loop
def _of_later_and_here(out, y, before, of_here, of_after, price, price_after):
    """The prices of the windows around the voxel after and around a voxel, if it is the first that has their value."""
    for i in range(len(out)):
        here = where((y[i] == of_here[i]) & (before[i] != of_here[i]), price[i], ZERO)
        out[i] = where(y[i] == of_after[i], price_after[i], ZERO) + here


@loop
def _of_former(out, before, before_that, of_before, price_before):
    """The price of the window around the voxel before, if neither that nor the one before has its value."""
    for i in range(len(out)):
        out[i] += where((before[i] != of_before[i]) & (before_that[i] != of_before[i]), price_before[i], ZERO)


@loop
def _give_back(price, y, most, out, n, step):
    """Give the price of each of the largest values to the first voxel of its window that has it."""
    for i in range(2 * step, len(y) - step, TILE):
        j = min(i + TILE, len(y) - step)
        before, of_before, later, to = y[i - step : j - step], most[i - step : j - step], i + step, j + step
        _of_later_and_here(out[i:j], y[i:j], before, most[i:j], most[later:to], price[i:j], price[later:to])
        _of_former(out[i:j], before, y[i - 2 * step : j - 2 * step], of_before, price[i - step : j - step])
    for line in range(0, len(y), n * step):
        for k in (0, 1, n - 1):
            for i in range(line + k * step, line + (k + 1) * step if k < n else line):
                total = ZERO
                if k + 1 < n and y[i] == most[i + step]:
                    total += price[i + step]
                if y[i] == most[i] and not (k > 0 and y[i - step] == most[i]):
                    total += price[i]
                if k > 0 and y[i - step] != most[i - step] and (k == 1 or y[i - 2 * step] != most[i - step]):
                    total += price[i - step]
                out[i] = total


@loop
def maxima(y, found, axes):
    """The largest values of a map along the first axis, of these along the next, and so on."""
    for k, (n, step) in enumerate(axes):
        _largest(found[k - 1] if k > 0 else y, found[k], n, step)


@loop
def route(price, y, found, axes, room, out):
    """Write the gradient of a map from that of the last of its maxima.

    There is room for two maps on the way, neither of which holds the price; the first may be `out`.
    """
    for k in range(len(axes) - 1, -1, -1):
        to = out if k == 0 else room[k % 2]
        _give_back(price, found[k - 1] if k > 0 else y, found[k], to, axes[k, 0], axes[k, 1])
        price = to


@loop
def dilate(part, parts, y, out, axes):
    """Dilate some maps along axes, one after the other."""
    room = np.empty((2, y.shape[1]), y.dtype)
    for at in range(part, len(y), parts):
        former = y[at]
        for k, (n, step) in enumerate(axes):
            found = out[at] if k == len(axes) - 1 else room[k % 2]
            _largest(former, found, n, step)
            former = found


@loop
def dilate_back(part, parts, y, price, out, axes):
    """The gradient of some maps from that of their dilations."""
    found, room = np.empty((len(axes), y.shape[1]), y.dtype), np.empty((2, y.shape[1]), price.dtype)
    for at in range(part, len(y), parts):
        maxima(y[at], found, axes)
        route(price[at], y[at], found, axes, room, out[at])


def dilation(y: Tensor, axes: list[int]) -> Tensor:
    """The largest values of three along some axes of maps (B, C, *S), one after the other, which may come twice."""
    return _run(dilate, axes, y)


def dilation_slope(y: Tensor, axes: list[int], price: Tensor) -> Tensor:
    """The gradient of maps from that of their dilations."""
    return _run(dilate_back, axes, y, price)


def _run(do: Any, axes: list[int], *maps: Tensor) -> Tensor:
    shape, found = maps[0].shape, empty(maps[0].shape, maps[-1].dtype)
    number = math.prod(shape[:2])
    lines = np.array([(shape[axis], math.prod(shape[axis + 1 :])) for axis in axes])
    flat = [y.detach().contiguous().view(number, -1).numpy() for y in (*maps, found)]
    share_maps(number, do, *flat, lines)
    return found


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    y = torch.zeros(1, 1, 2)
    dilation_slope(y, [2], dilation(y, [2]))
