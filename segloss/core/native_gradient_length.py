"""Lengths of gradients by loops that numba compiles for the CPU: row after row, one map in each thread."""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_distance import three
from segloss.core.native_math import ONE, ZERO, f32, loop, where
from segloss.core.native_parts import share_maps
from segloss.core.opaque import as_operator


@loop
def _count(valid, first, ends, counted):
    """How many voxels of a row count with both ends of each of their differences; those are 1, the others 0."""
    counted[:] = ONE
    n = len(counted)
    if len(valid):
        here = valid[first : first + n]
        for i in range(n):
            counted[i] = f32(here[i])
        for start, end in ends:
            one, other = valid[first + start : first + start + n], valid[first + end : first + end + n]
            for i in range(n):
                counted[i] *= f32(one[i]) * f32(other[i])
    total = ZERO
    for i in range(n):
        total += counted[i]
    return total


@loop
def _measure(y, first, ends, smooth, lengths):
    """The lengths of the gradient at the voxels of a row."""
    lengths[:] = smooth
    n = len(lengths)
    for start, end in ends:
        one, other = y[first + start : first + start + n], y[first + end : first + end + n]
        for i in range(n):
            d = other[i] - one[i]
            lengths[i] += d * d
    for i in range(n):
        lengths[i] = np.sqrt(lengths[i])


@loop
def _price(y, first, ends, price, lengths, counted, slope):
    """Add to a slope what the lengths of a row have of a price."""
    n = len(lengths)
    for i in range(n):
        lengths[i] = where(counted[i] > ZERO, price / lengths[i], ZERO)
    for start, end in ends:
        one, other = y[first + start : first + start + n], y[first + end : first + end + n]
        of_one, of_other = slope[first + start : first + start + n], slope[first + end : first + end + n]
        for i in range(n):
            of_one[i] -= lengths[i] * (other[i] - one[i])
        for i in range(n):
            of_other[i] += lengths[i] * (other[i] - one[i])


@loop
def _run(part, parts, y, valid, sizes, box, ends, smooth, found, price, slope):
    """The mean lengths of some maps and, if there is room for it, their slope times the price of each."""
    work = np.empty((2, box[2]), f32)
    lengths, counted = work[0], work[1]
    for at in range(part, len(y), parts):
        here = valid[at * len(valid) // len(y)] if len(valid) else valid.reshape(-1)
        total, n = 0.0, 0.0
        for line in range(box[0] * box[1]):
            first = (line // box[1] * sizes[1] + line % box[1]) * sizes[2]
            n += _count(here, first, ends, counted)
            _measure(y[at], first, ends, smooth, lengths)
            of_row = ZERO
            for i in range(len(lengths)):
                of_row += where(counted[i] > ZERO, lengths[i], ZERO)
            total += of_row
        found[at] = total / max(n, 1.0)
        if len(slope):
            slope[at] = ZERO
            each = f32(price[at] / max(n, 1.0))
            for line in range(box[0] * box[1]):
                first = (line // box[1] * sizes[1] + line % box[1]) * sizes[2]
                _count(here, first, ends, counted)
                _measure(y[at], first, ends, smooth, lengths)
                _price(y[at], first, ends, each, lengths, counted, slope[at])


def _given(y: Tensor, valid: Tensor | None, smooth: float, aligned: bool) -> tuple[Any, ...]:
    """What a loop is given of maps (B, C, *S): a row each, which voxels count, and where differences begin and end."""
    margin, shape = 1 if aligned else 2, y.shape[2:]
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.flatten(1).contiguous()
    box = np.array(three([max(0, size - margin) for size in shape]))
    steps = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
    ends = np.array([((margin - 1) * step, margin * step) for step in steps])
    rows = y.detach().contiguous().view(-1, math.prod(shape)).numpy()
    return rows, counted.view(torch.uint8).numpy(), np.array(three(shape)), box, ends, f32(smooth)


def gradient_length(y: Tensor, valid: Tensor | None, smooth: float, aligned: bool) -> Tensor:
    """The mean lengths of the gradients of maps (B, C, *S)."""
    found = torch.empty(y.shape[:2], dtype=torch.float64)
    nothing = np.empty(0), np.empty((0, 0), f32)
    share_maps(found.numel(), _run, *_given(y, valid, smooth, aligned), found.view(-1).numpy(), *nothing)
    return found


def gradient_length_slope(price: Tensor, y: Tensor, valid: Tensor | None, smooth: float, aligned: bool) -> Tensor:
    """Their derivatives, times the price (B, C) of each."""
    slope, number = empty(y.shape, y.dtype), price.numel()
    each = price.double().contiguous().view(-1).numpy()
    outputs = np.empty(number), each, slope.view(number, -1).numpy()
    share_maps(number, _run, *_given(y, valid, smooth, aligned), *outputs)
    return slope


def _like(y: Tensor, *_: object) -> Tensor:
    return y.new_empty(y.shape[:2], dtype=torch.float64)


as_operator("gradient_length", gradient_length, gradient_length_slope, _like)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    y = torch.ones(1, 1, 2)
    gradient_length_slope(gradient_length(y, None, 1.0, True), y, None, 1.0, True)
