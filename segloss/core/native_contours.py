"""Lengths of contours by loops that numba compiles for the CPU: erode, dilate and go back, one map in each thread."""

# pyright: reportIndexIssue=false, reportCallIssue=false, reportArgumentType=false

import math

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from segloss.core.memory import empty
from segloss.core.native_dilation import maxima, route
from segloss.core.native_math import INFINITE, ONE, ZERO, f32, loop, where
from segloss.core.native_parts import share_maps

TILE = 2048
"""Voxels that are added up before the sum goes to a longer type."""


@loop
def _turned(y, here, fill, out):
    """Values with their signs turned, so that the least are the largest; `fill` is for those that are not valid."""
    for i in range(len(out)):
        out[i] = -f32(y[i])
    for i in range(len(here)):
        out[i] = where(here[i] != 0, out[i], fill)


@loop
def _ring(dilated, eroded, here, ring):
    """By how much a dilation exceeds what was dilated, and the sum of it."""
    total = 0.0
    for i in range(len(ring)):
        ring[i] = dilated[i] - eroded[i]
    for i in range(len(here)):
        ring[i] = where(here[i] != 0, ring[i], ZERO)
    for first in range(0, len(ring), TILE):
        part = ZERO
        for i in range(first, min(first + TILE, len(ring))):
            part += ring[i]
        total += part
    return total


@loop
def _lengths(part, parts, y, valid, axes, lengths, slope):
    """The lengths of some maps and, where there is room for it, their slope."""
    room = np.empty((5 + len(axes), y.shape[1]), f32)
    turned, eroded, work, found = room[0], room[1], room[2:5], room[5:]
    for at in range(part, len(y), parts):
        here = valid[at * len(valid) // len(y)] if len(valid) else valid.reshape(-1)
        _turned(y[at], here, -INFINITE, turned)
        maxima(turned, found, axes)
        _turned(found[-1], here, ZERO, eroded)
        maxima(eroded, found, axes)
        lengths[at] = _ring(found[-1], eroded, here, work[2])
        if len(slope):
            for i in range(len(eroded)):
                work[2, i] = where(work[2, i] > ZERO, ONE, ZERO)
                turned[i] = work[2, i]
            route(work[2], eroded, found, axes, work[:2], work[0])
            for i in range(len(eroded)):
                work[0, i] -= turned[i]
            _turned(y[at], here, -INFINITE, turned)
            maxima(turned, found, axes)
            route(work[0], turned, found, axes, work[1:], slope[at])


def lengths(
    y: Shaped[Tensor, "B C *S"], valid: Bool[Tensor, "B 1 *S"] | None, *, with_slope: bool
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C *S"]]:
    """The length of the contour of each map, and its slope where that is asked for."""
    number = math.prod(y.shape[:2])
    slope = empty(y.shape, torch.float32) if with_slope else y.new_empty(0)
    room = slope.float().view(-1, y[0, 0].numel()).numpy()
    found = np.empty(number)
    axes = np.array([(y.shape[axis], math.prod(y.shape[axis + 1 :])) for axis in reversed(range(2, y.ndim))])
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.flatten(1).contiguous()
    given = y.detach().contiguous().view(number, -1).numpy(), counted.view(torch.uint8).numpy()
    share_maps(number, _lengths, *given, axes, found, room)
    return torch.from_numpy(found).view(y.shape[:2]), slope


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    lengths(torch.zeros(1, 1, 2), None, with_slope=True)
