"""Loops for probabilities and masks, and for the way back from what is a function of probabilities."""

# pyright: reportIndexIssue=false, reportCallIssue=false

from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from segloss.core.blocks import Block
from segloss.core.memory import empty
from segloss.core.native import TILE, exponentials, lower, take_logits, tile_of, voxels_of
from segloss.core.native_fetch import fetch_ahead, fetch_next
from segloss.core.native_half import array_of
from segloss.core.native_math import INFINITE, ONE, ZERO, exp, f32, i32, loop, where
from segloss.core.native_pair import by_channel
from segloss.core.native_parts import share, span


@loop
def look(logits, image, first, n, valid, joint, p, top, share):
    """Of some voxels: p up to a factor, and 1 over the factor, which is infinite where they do not count."""
    if joint:
        if not exponentials(p, logits, image, first, n, valid, ONE):
            take_logits(p, logits, image, first, n, valid, ONE)
            lower(p, top, n)
            for c in range(len(p)):
                row = p[c]
                for i in range(n):
                    row[i] = exp(row[i])
        share[:] = ZERO
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                share[i] += row[i]
    else:
        take_logits(p, logits, image, first, n, valid, ONE)
        share[:] = ONE
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                row[i] = ONE / (ONE + exp(-row[i]))
    if len(valid):
        here = voxels_of(valid, image, first, first + n)
        for i in range(n):
            top[i] = where(here[i] != 0, ZERO, INFINITE)
        for i in range(n):
            share[i] += top[i]


@loop
def _softmax(part, parts, logits, valid, found):
    """The probabilities of some voxels."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p = np.empty((classes, tile), f32)
    top, share = np.empty(tile, f32), np.empty(tile, f32)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            look(logits, image, first, n, valid, True, p, top, share)
            for i in range(n):
                share[i] = ONE / share[i]
            for c in range(classes):
                fetch_next(found, image, c, first, n)
                row, out = p[c], found[image, c, first : first + n]
                for i in range(n):
                    out[i] = row[i] * share[i]


@loop
def _masks(part, parts, logits, valid, joint, found):
    """Where a class has more than all others together, or where classes are not `joint`, more than a half."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p = np.empty((classes, tile), f32)
    top, share = np.empty(tile, f32), np.empty(tile, f32)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            if joint:
                look(logits, image, first, n, valid, True, p, top, share)
            else:
                take_logits(p, logits, image, first, n, valid, ONE)
                share[:] = ZERO
            for c in range(classes):
                row, out = p[c], found[image, c, first : first + n]
                for i in range(n):
                    out[i] = row[i] + row[i] > share[i]


@loop
def _choices(part, parts, logits, valid, found):
    """The class that has more than all others together, or the number of classes where there is none."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p = np.empty((classes, tile), f32)
    top, share, label = np.empty(tile, f32), np.empty(tile, f32), np.empty(tile, f32)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            look(logits, image, first, n, valid, True, p, top, share)
            label[:] = f32(classes)
            for c in range(classes):
                row, more = p[c], f32(c - classes)
                for i in range(n):
                    label[i] += where(row[i] + row[i] > share[i], more, ZERO)
            out = found[image, first : first + n]
            for i in range(n):
                out[i] = i32(label[i])


@loop
def _truths(part, parts, labels, valid, found):
    """Where some voxels are of each class; the only channel is that of label 1."""
    images, classes, voxels = found.shape
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            given, here = labels[image, 0, first:last], voxels_of(valid, image, first, last)
            for c in range(classes):
                out, yes = found[image, c, first:last], c if classes > 1 else 1
                for i in range(len(out)):
                    out[i] = given[i] == yes
                if len(here):
                    for i in range(len(out)):
                        out[i] &= here[i] != 0


@loop
def _softmax_gradient(part, parts, logits, valid, price, gradient):
    """Turn the slopes of some voxels by p, times the price of their class, into the gradient: p (s - s·p)."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p = np.empty((classes, tile), f32)
    top, share, fall = np.empty(tile, f32), np.empty(tile, f32), np.empty(tile, f32)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            look(logits, image, first, n, valid, True, p, top, share)
            for i in range(n):
                share[i] = ONE / share[i]
            fall[:] = ZERO
            for c in range(classes):
                fetch_ahead(gradient, image, c, first, n)
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
    found = empty(logits.shape, torch.float32)
    run_over(_softmax, logits, valid, found.numpy())
    return found


def masks(logits: Block, valid: Tensor | None, joint: bool) -> Bool[Tensor, "B C N"]:
    """Where the probability of a class is more than a half."""
    found = empty(logits.shape, torch.bool)
    run_over(_masks, logits, valid, joint, found.numpy())
    return found


def choices(logits: Block, dtype: torch.dtype) -> Integer[Tensor, "B N"]:
    """The class whose probability is more than a half, or the number of classes where there is none."""
    found = empty((len(logits), logits.shape[2]), dtype)
    run_over(_choices, logits, None, found.numpy())
    return found


def truths(labels: Tensor, valid: Tensor | None, logits: Block) -> Bool[Tensor, "B C N"]:
    """Where each class is, of class indices, or of the yes and no of each channel."""
    if labels.dtype == torch.bool:
        found = torch.from_numpy(by_channel(labels.view(torch.uint8))).view(torch.bool)
        return found if valid is None else found & valid
    found = empty(logits.shape, torch.bool)
    labels = labels if labels.dtype == torch.uint8 else labels.long()  # a loop is compiled for each type
    given = labels.contiguous().numpy(), _counted(logits, valid), found.numpy()
    share(logits, _truths, *given)
    return found


def softmax_gradient(logits: Block, valid: Tensor | None, price: Tensor, slope: Block) -> None:
    """Turn slopes by the probabilities, which are times the price of each image and class, into the gradient."""
    run_over(_softmax_gradient, logits, valid, price.expand(logits.shape[:2]).contiguous().numpy(), slope.numpy())


def run_over(run: Any, logits: Block, valid: Tensor | None, *others: Any) -> None:
    """Run a loop over all voxels, of logits, and of which of them count."""
    share(logits, run, array_of(logits), _counted(logits, valid), *others)


def _counted(logits: Block, valid: Tensor | None) -> np.ndarray:
    counted = torch.empty(0, 0, dtype=torch.bool) if valid is None else valid.expand(len(logits), 1, -1)[:, 0]
    return counted.contiguous().view(torch.uint8).numpy()


def try_out() -> None:
    """Run what is short, which fails where loops cannot be compiled."""
    softmax(torch.zeros(1, 1, 1), None)
