"""Loops for sums over the voxels of what has a price there, and for the way back from them."""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block
from segloss.core.native import tile_of
from segloss.core.native_fetch import fetch_ahead, fetch_next
from segloss.core.native_half import array_of, as_in
from segloss.core.native_math import ONE, TWO, ZERO, f32, loop, where
from segloss.core.native_pair import ROW, take_labels
from segloss.core.native_parts import parts_of, span
from segloss.core.native_probability import look, run_over


@loop
def _take_prices(of, g, price, true, of_labels, image, c, first, n):
    """What the errors of a class cost at some voxels, and where it is true: by maps, or by labels that have a price."""
    if of_labels:
        of[:] = ZERO
        for k in range(price.shape[1]):
            label, here = true[k], price[image, k, first : first + n]
            for i in range(n):
                of[i] += where(label[i] == c, here[i], ZERO)
        label = true[0]
        for i in range(n):
            g[i] = where(label[i] == c, ONE, ZERO)
        return
    fetch_ahead(price, image, c, first, n)
    here = price[image, c, first : first + n]
    for i in range(n):
        of[i] = here[i]
    if len(true):
        marked = true[c]
        for i in range(n):
            g[i] = f32(marked[i])


@loop
def _priced(part, parts, logits, valid, joint, price, true, by_voxel, of_labels, rim, sums):
    """What some voxels add to the sums of `priced`."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p = np.empty((classes, tile), f32)
    top, share, of, g = np.empty(tile, f32), np.empty(tile, f32), np.empty(tile, f32), np.empty(tile, f32)
    given = np.empty((true.shape[2 if by_voxel else 1], ROW), true.dtype)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            look(logits, image, first, n, valid, joint, p, top, share)
            if len(true):
                take_labels(given, true, by_voxel, image, first, n)
            for i in range(n):
                share[i] = ONE / share[i]
            for c in range(classes):
                _take_prices(of, g, price, given, of_labels, image, c, first, n)
                row, total = p[c], ZERO
                if len(true):
                    of_p, right, number = ZERO, ZERO, ZERO
                    for i in range(n):
                        q, yes = row[i] * share[i], g[i]
                        of_p += q
                        right += q * yes
                        number += yes
                        total += of[i] * (q - yes) * (q - yes)
                    sums[image, part, 0, c] += of_p
                    sums[image, part, 1, c] += right
                    sums[image, part, 2, c] += number
                else:
                    for i in range(n):
                        total += (of[i] + where(of[i] < ZERO, rim, ZERO)) * row[i] * share[i]
                sums[image, part, -1, c] += total


@loop
def _priced_gradient(part, parts, logits, valid, joint, price, true, by_voxel, of_labels, rim, of_sums, gradient):
    """The gradient at some voxels, of these sums times their own price."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p, slope = np.empty((classes, tile), f32), np.empty((classes, tile), f32)
    top, share, fall = np.empty(tile, f32), np.empty(tile, f32), np.empty(tile, f32)
    of, g = np.empty(tile, f32), np.empty(tile, f32)
    given = np.empty((true.shape[2 if by_voxel else 1], ROW), true.dtype)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            look(logits, image, first, n, valid, joint, p, top, share)
            if len(true):
                take_labels(given, true, by_voxel, image, first, n)
            for i in range(n):
                share[i] = ONE / share[i]
            fall[:] = ZERO
            for c in range(classes):
                _take_prices(of, g, price, given, of_labels, image, c, first, n)
                row, s, of_c = p[c], slope[c], of_sums[image, -1, c]
                for i in range(n):
                    row[i] *= share[i]
                if len(true):
                    of_p, of_right = of_sums[image, 0, c], of_sums[image, 1, c]
                    for i in range(n):
                        s[i] = TWO * of_c * of[i] * (row[i] - g[i]) + of_right * g[i] + of_p
                else:
                    for i in range(n):
                        s[i] = of_c * (of[i] + where(of[i] < ZERO, rim, ZERO))
                for i in range(n):
                    fall[i] += s[i] * row[i]
            for c in range(classes):
                fetch_next(gradient, image, c, first, n)
                row, s, out = p[c], slope[c], gradient[image, c, first : first + n]
                if joint:
                    for i in range(n):
                        out[i] = as_in(row[i] * (s[i] - fall[i]), out)
                else:
                    for i in range(n):
                        out[i] = as_in(row[i] * (ONE - row[i]) * s[i], out)


def priced_pass(
    logits: Block, valid: Tensor | None, joint: bool, price: Block, true: Block | None, rim: float
) -> Float[Tensor, "B K C"]:
    """The sums of `priced`, under softmax or, where classes are not `joint`, sigmoid."""
    parts = parts_of(logits, torch.get_num_threads())
    sums = np.zeros((logits.shape[0], parts, 1 if true is None else 4, logits.shape[1]))
    run_over(_priced, logits, valid, joint, *_arrays(price, true), f32(rim), sums)
    return torch.from_numpy(sums.sum(1))


def priced_gradient(
    logits: Block,
    valid: Tensor | None,
    joint: bool,
    price: Block,
    true: Block | None,
    rim: float,
    of_sums: Tensor,
    gradient: Block,
) -> None:
    """The gradient of these sums times their own price, in an array that may be that of the prices."""
    prices = *_arrays(price, true), f32(rim), of_sums.float().contiguous().numpy()
    run_over(_priced_gradient, logits, valid, joint, *prices, array_of(gradient))


def _arrays(price: Block, true: Block | None) -> tuple[np.ndarray, np.ndarray, bool, bool]:
    """Prices, the truth that they come with, whether it lies voxel after voxel, and whether it is labels."""
    if true is None:
        return price.contiguous().numpy(), np.empty((0, 0, 0), np.uint8), False, False
    marked = true.view(torch.uint8) if true.dtype == torch.bool else true
    by_voxel = marked.stride(1) < marked.stride(2)
    in_order = (marked.transpose(1, 2) if by_voxel else marked).contiguous()
    return price.contiguous().numpy(), in_order.numpy(), by_voxel, true.dtype != torch.bool


def try_out() -> None:
    """Run what is short, which fails where loops cannot be compiled."""
    x = torch.zeros(1, 1, 1)
    priced_pass(x, None, False, x, None, 0.0)
