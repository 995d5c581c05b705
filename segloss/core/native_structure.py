"""Local structure by loops that numba compiles for the CPU: a window slides along one axis after the other.

The voxels of a map lie in one row, in which a step along an axis is some voxels long. So a loop runs over many at once,
also from a line of the axis to the next, and those at the ends of a line are found once more. A thread has a map of its
own.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_math import EPS, ONE, ZERO, f32, loop, where
from segloss.core.native_parts import share_maps
from segloss.core.opaque import as_operator

TILE = 2048
"""Voxels at a time, as many as stay in a near cache."""


@loop
def _weigh(out, y, weight):
    for i in range(len(out)):
        out[i] = weight * y[i]


@loop
def _add_beside(out, before, after, weight):
    for i in range(len(out)):
        out[i] += weight * (before[i] + after[i])


@loop
def _slide(y, out, n, step, weights):
    """The weighted means along an axis of lines of n steps, by the weights from the middle of the window on."""
    reach = len(weights) - 1
    for i in range(0, len(y), TILE):
        j = min(i + TILE, len(y))
        _weigh(out[i:j], y[i:j], weights[0])
        for k in range(1, reach + 1):
            first, last = max(i, k * step), min(j, len(y) - k * step)
            if first < last:
                before, after = y[first - k * step : last - k * step], y[first + k * step : last + k * step]
                _add_beside(out[first:last], before, after, weights[k])
    for line in range(0, len(y), n * step):
        for at in range(n):
            if reach <= at < n - reach:
                continue
            for i in range(line + at * step, line + (at + 1) * step):
                total = weights[0] * y[i]
                for k in range(1, reach + 1):
                    total += weights[k] * (y[i - k * step] if k <= at else ZERO)
                    total += weights[k] * (y[i + k * step] if at + k < n else ZERO)
                out[i] = total


@loop
def _means(y, room, axes, weights, out):
    """The weighted means in windows."""
    former = y
    for k, (n, step) in enumerate(axes):
        found = out if k == len(axes) - 1 else room[k % 2]
        _slide(former, found, n, step, weights)
        former = found


@loop
def _times_rest(out, y):
    for i in range(len(out)):
        out[i] = y[i] * (ONE - y[i])


@loop
def _deviate(mean, deviation):
    """The deviations, from the means and from those of what values lack of being zeros and ones."""
    for i in range(len(mean)):
        variance = mean[i] * (ONE - mean[i]) - deviation[i]
        deviation[i] = where(variance > f32(8) * EPS * mean[i], np.sqrt(where(variance > ZERO, variance, ZERO)), ZERO)


@loop
def _moments(y, room, axes, weights, mean, deviation):
    _means(y, room, axes, weights, mean)
    _times_rest(room[2], y)
    _means(room[2], room, axes, weights, deviation)
    _deviate(mean, deviation)


@loop
def _structure(out, y, mean, deviation, smooth):
    for i in range(len(out)):
        out[i] = (y[i] - mean[i] + smooth) / (deviation[i] + smooth)


@loop
def _as_number(out, g):
    for i in range(len(out)):
        out[i] = f32(g[i])


@loop
def _distance(out, one, other):
    for i in range(len(out)):
        out[i] = abs(one[i] - other[i])


@loop
def difference(part, parts, p, g, axes, weights, smooth, out):
    """How far the structures of some maps are apart."""
    work = np.empty((7, p.shape[1]), p.dtype)
    room, mean, deviation, y, of_g = work[:3], work[3], work[4], work[5], work[6]
    for at in range(part, len(p), parts):
        _as_number(y, g[at])
        _moments(y, room, axes, weights, mean, deviation)
        _structure(of_g, y, mean, deviation, smooth)
        _moments(p[at], room, axes, weights, mean, deviation)
        _structure(y, p[at], mean, deviation, smooth)
        _distance(out[at], y, of_g)


@loop
def _price(y, mean, deviation, of_g, price, smooth, direct, of_mean, of_squares):
    """The prices of a value and of its window: of the mean, and of the squares that the deviation is the root of."""
    for i in range(len(y)):
        size, above = deviation[i] + smooth, y[i] - mean[i] + smooth
        apart = above / size - of_g[i]
        slope = where(apart > ZERO, price[i], where(apart < ZERO, -price[i], ZERO)) / size
        of_squares[i] = where(deviation[i] > ZERO, -slope * above / (size * deviation[i]), ZERO)
        of_mean[i] = -slope - of_squares[i] * mean[i]
        direct[i] = slope


@loop
def _gather(out, direct, of_mean, of_squares, y):
    for i in range(len(out)):
        out[i] = direct[i] + of_mean[i] + of_squares[i] * y[i]


@loop
def difference_back(part, parts, p, g, price, axes, weights, smooth, out):
    """The gradient of some maps p from that of how far they are apart."""
    work = np.empty((9, p.shape[1]), p.dtype)
    room, mean, deviation, y, of_g, of_mean, of_squares = work[:3], work[3], work[4], work[5], work[6], work[7], work[8]
    for at in range(part, len(p), parts):
        _as_number(y, g[at])
        _moments(y, room, axes, weights, mean, deviation)
        _structure(of_g, y, mean, deviation, smooth)
        _moments(p[at], room, axes, weights, mean, deviation)
        _price(p[at], mean, deviation, of_g, price[at], smooth, out[at], of_mean, of_squares)
        _means(of_mean, room, axes, weights, mean)
        _means(of_squares, room, axes, weights, deviation)
        _gather(out[at], out[at], mean, deviation, p[at])


def structural_difference(p: Tensor, g: Tensor, weights: Sequence[float], smooth: float) -> Tensor:
    """How far the structures of maps (B, C, *S) are apart."""
    return _run(difference, weights, smooth, p, g)


def structural_difference_slope(price: Tensor, p: Tensor, g: Tensor, weights: Sequence[float], smooth: float) -> Tensor:
    """The gradient of p from that of the difference."""
    return _run(difference_back, weights, smooth, p, g, price)


def _like(p: Tensor, *_: object) -> Tensor:
    return p.new_empty(p.shape)


as_operator("structural_difference", structural_difference, structural_difference_slope, _like)


def _run(do: Any, weights: Sequence[float], smooth: float, p: Tensor, g: Tensor, *others: Tensor) -> Tensor:
    """Let the threads share the maps."""
    shape, found, number = p.shape, empty(p.shape, p.dtype), math.prod(p.shape[:2])
    flat = [y.detach().contiguous().view(number, -1).numpy() for y in (p, g.view(torch.uint8), *others, found)]
    axes = np.array([(shape[axis], math.prod(shape[axis + 1 :])) for axis in range(2, p.ndim)])
    how = np.array(weights[len(weights) // 2 :], f32)
    share_maps(number, do, *flat[:-1], axes, how, f32(smooth), flat[-1])
    return found


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    p, g = torch.ones(1, 1, 2), torch.ones(1, 1, 2, dtype=torch.bool)
    weights = [0.2, 0.6, 0.2]
    structural_difference_slope(structural_difference(p, g, weights, 1.0), p, g, weights, 1.0)
