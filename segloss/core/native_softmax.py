"""Loops for probabilities of classes that exclude each other, and for the way back from what is linear in them."""

# pyright: reportIndexIssue=false, reportCallIssue=false

from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss.core.blocks import Block
from segloss.core.native import (
    ONE,
    PART,
    TILE,
    VALUES,
    ZERO,
    exp,
    f32,
    inline,
    loop,
    lower,
    take_logits,
    voxels_of,
    where,
)
from segloss.core.threads import in_threads


@inline
def _look(logits, image, first, n, valid, p, top, share):
    """Of some voxels: p up to a factor, and the factor, which is 0 where they do not count."""
    take_logits(p, logits, image, first, n, valid, ONE)
    lower(p, top, n)
    share[:] = ZERO
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] = exp(row[i])
        for i in range(n):
            share[i] += row[i]
    for i in range(n):
        share[i] = ONE / share[i]
    if len(valid):
        here = voxels_of(valid, image, first, first + n)
        for i in range(n):
            top[i] = where(here[i] != 0, ONE, ZERO)
        for i in range(n):
            share[i] *= top[i]


@loop
def _softmax(part, parts, logits, valid, found):
    """The probabilities of some voxels."""
    images, classes, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    p, (top, share) = np.empty((classes, tile), f32), np.empty((2, tile), f32)
    for image in range(images):
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look(logits, image, first, n, valid, p, top, share)
            for c in range(classes):
                row, out = p[c], found[image, c, first : first + n]
                for i in range(n):
                    out[i] = row[i] * share[i]


@loop
def _softmax_gradient(part, parts, logits, valid, price, gradient):
    """Turn the slopes of some voxels by p, times the price of their class, into the gradient: p (s - s·p)."""
    images, classes, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    p, (top, share, fall) = np.empty((classes, tile), f32), np.empty((3, tile), f32)
    for image in range(images):
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look(logits, image, first, n, valid, p, top, share)
            fall[:] = ZERO
            for c in range(classes):
                row, s, of_c = p[c], gradient[image, c, first : first + n], price[image, c]
                for i in range(n):
                    fall[i] += of_c * s[i] * row[i]
            for i in range(n):
                fall[i] *= share[i]
            for c in range(classes):
                row, s, of_c = p[c], gradient[image, c, first : first + n], price[image, c]
                for i in range(n):
                    top[i] = share[i] * (of_c * s[i] - fall[i])
                for i in range(n):
                    s[i] = row[i] * top[i]


def softmax(logits: Block, valid: Tensor | None) -> Block:
    """The probabilities, 0 where ignored."""
    found = torch.empty_like(logits, memory_format=torch.contiguous_format)
    _run(_softmax, logits, valid, found.numpy())
    return found


def softmax_gradient(logits: Block, valid: Tensor | None, price: Tensor, slope: Block) -> None:
    """Turn slopes by the probabilities, which are times the price of each image and class, into the gradient."""
    _run(_softmax_gradient, logits, valid, price.expand(logits.shape[:2]).contiguous().numpy(), slope.numpy())


def _run(run: Any, logits: Block, valid: Tensor | None, *others: np.ndarray) -> None:
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.expand(len(logits), 1, -1)[:, 0]
    parts = 1 + logits.numel() // PART
    given = logits.detach().numpy(), counted.contiguous().view(torch.uint8).numpy()
    in_threads(torch.get_num_threads(), parts, run, *given, *others)


def try_out() -> None:
    """Run what is short, which fails where loops cannot be compiled."""
    softmax(torch.zeros(1, 1, 1), None)
