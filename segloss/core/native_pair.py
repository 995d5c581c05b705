"""Loops over choices between two: two classes that exclude each other, or the yes and no of each channel."""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np
from jaxtyping import UInt8
from torch import Tensor

from segloss.core.native import (
    FEW,
    LOG_OF_REST,
    TILE,
    loss_slopes,
    losses_of,
    of_errors,
    slopes_of_errors,
    slopes_read_ce,
    voxels_of,
    write,
)
from segloss.core.native_fetch import fetch_ahead, fetch_next
from segloss.core.native_half import as_f32
from segloss.core.native_math import HALF, ONE, TWO, ZERO, exp, f32, log1p, loop, where
from segloss.core.native_parts import share, span

ROW = TILE + 64
"""Labels of a channel, whose rows would keep each other out of a cache if their length were a power of two."""


@loop
def _look_at_pair(x, other, joint, labels, yes, valid, scale, margins, keep, g, q, ce, with_ce):
    """Of some voxels: whether they count, the truth, and the probability and cross-entropy of the error."""
    n, (low_no, low_yes) = len(x), margins
    if len(valid):
        for i in range(n):
            keep[i] = where(valid[i] != 0, ONE, ZERO)
    else:
        keep[:] = ONE
    if joint:
        for i in range(n):
            g[i] = where(labels[i] == yes, ONE, ZERO)
            right, left = as_f32(x[i]), as_f32(other[i])
            infinite = ZERO * where(right > left, right, left)  # is not a number, as it is of more classes
            ce[i] = (ONE - TWO * g[i]) * (right - left + infinite)
    else:
        for i in range(n):
            g[i] = where(labels[i] == yes, ONE, ZERO)
            ce[i] = (ONE - TWO * g[i]) * as_f32(x[i])
    if scale != ONE or low_no != ZERO or low_yes != ZERO:
        for i in range(n):
            ce[i] = scale * ce[i] + where(g[i] > HALF, low_yes, low_no)
    if len(valid):
        for i in range(n):
            ce[i] = where(valid[i] != 0, ce[i], ZERO)
    if with_ce:
        for i in range(n):
            error = ce[i]
            u = exp(-abs(error))
            large = ONE / (ONE + u)
            q[i] = where(error >= ZERO, large, u * large)
            ce[i] = where(error > ZERO, error, ZERO) + log1p(u)
    else:
        for i in range(n):
            q[i] = ONE / (ONE + exp(-ce[i]))


@loop
def _look_at_errors(errors, keep, g, q, ce, with_ce):
    """The same of errors that a pass has left."""
    n = len(errors)
    keep[:] = ONE
    for i in range(n):
        error = as_f32(errors[i])
        g[i] = where(error < ZERO, ONE, ZERO)
        q[i] = abs(error)
    if with_ce:
        of_errors(ce, q, LOG_OF_REST, ONE, n)
        for i in range(n):
            ce[i] = -ce[i]


@loop
def take_labels(out, labels, by_voxel, image, first, n):
    """The labels of some voxels, channel after channel, in the order in which they lie in memory."""
    if not by_voxel:
        for k in range(len(out)):
            row, given = out[k], labels[image, k, first : first + n]
            for i in range(n):
                row[i] = given[i]
    elif len(out) > FEW:
        for i in range(n):
            for k in range(len(out)):
                out[k, i] = labels[image, first + i, k]
    else:
        for k in range(len(out)):
            row, given = out[k], labels[image, first : first + n, k]
            for i in range(n):
                row[i] = given[i]


@loop
def _move_labels(part, parts, labels, found):
    """Write the labels of some voxels channel after channel."""
    images, channels, voxels = found.shape
    given = np.empty((channels, ROW), labels.dtype)  # of which more rows lie in a cache than of `found`
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, TILE):
            n = min(TILE, end - first)
            take_labels(given, labels, True, image, first, n)
            for k in range(channels):
                found[image, k, first : first + n] = given[k, :n]


def by_channel(labels: UInt8[Tensor, "B C N"]) -> UInt8[np.ndarray, "B C N"]:
    """Labels of channels, copied if they do not lie channel after channel."""
    if labels.stride(1) >= labels.stride(2):
        return labels.contiguous().numpy()
    found = np.empty(tuple(labels.shape), np.uint8)
    share(labels, _move_labels, labels.transpose(1, 2).numpy(), found)
    return found


@loop
def _add_pair(total, x, w, g, n):
    """Add up w x, of those that are not true and of those that are."""
    every, yes = ZERO, ZERO
    for i in range(n):
        every += w[i] * x[i]
        yes += w[i] * x[i] * g[i]
    total[0] += every - yes
    total[1] += yes


@loop
def pair_pass(
    part, parts, logits, labels, by_voxel, valid, weights, lowered, joint, scale, powers, bounds, squares, terms,
    totals, losses, log_p, errors,
):  # fmt: skip
    """What some voxels of every choice add to the sums, those of 1, q and, if asked for, w q**2, w q and w.

    The gradient is found from the errors q, if they are asked for: negative where the truth is yes, 0 where ignored.
    """
    images, channels, voxels = logits.shape
    room = np.empty((6, TILE), f32)
    keep, g, q, ce, work, more = room[0], room[1], room[2], room[3], room[4], room[5]
    one = np.ones(TILE, f32)
    given = np.empty((labels.shape[2 if by_voxel else 1], ROW), labels.dtype)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            n, here = last - first, voxels_of(valid, image, first, last)
            take_labels(given, labels, by_voxel, image, first, n)
            for k in range(1 if joint else channels):
                fetch_ahead(logits, image, 1 if joint else k, first, n)
                if joint:
                    fetch_ahead(logits, image, 0, first, n)
                yes, margins = 1 if joint or len(given) > 1 or channels == 1 else k, lowered[k]
                x, other = logits[image, 1 if joint else k, first:last], logits[image, 0, first:last]
                label, with_ce = given[k % len(given)], losses.size + log_p.size > 0
                _look_at_pair(x, other, joint, label, yes, here, scale, margins, keep, g, q, ce, with_ce)
                if totals.size:
                    every, true, wrong, missed = ZERO, ZERO, ZERO, ZERO
                    for i in range(n):
                        hit, error = keep[i] * g[i], keep[i] * q[i]
                        every += keep[i]
                        true += hit
                        wrong += error
                        missed += hit * q[i]
                    of = totals[image, part, :, k]
                    of[0, 0] += every - true
                    of[0, 1] += true
                    of[1, 0] += wrong - missed
                    of[1, 1] += missed
                if errors.size:
                    fetch_next(errors, image, k, first, n)
                    out = errors[image, 1 if joint else k, first:last]
                    for i in range(n):
                        out[i] = keep[i] * (ONE - TWO * g[i]) * q[i]
                if log_p.size:
                    out = log_p[image, k, first:last]
                    for i in range(n):
                        out[i] = where(keep[i] > ZERO, -ce[i], ZERO)
                if len(weights):
                    w = weights[image, first:last]
                    for i in range(n):
                        keep[i] *= w[i]
                if squares:
                    for i in range(n):
                        work[i] = q[i] * q[i]
                    _add_pair(totals[image, part, 2, k], work, keep, g, n)
                    if len(weights):
                        _add_pair(totals[image, part, 3, k], q, keep, g, n)
                        _add_pair(totals[image, part, 4, k], one, keep, g, n)
                if terms is not None:
                    for t in range(len(terms)):
                        of = totals[image, part, totals.shape[2] - len(terms) + t, k]
                        for side in range(2):
                            of_errors(work, q, terms[t, 0, side], terms[t, 1, side], n)
                            _add_pair(of if side else of[::-1], work, keep, g, n)
                if losses.size:
                    for j in range(len(powers)):
                        losses_of(work, more, q, ce, powers[j], bounds, n)
                        _add_pair(losses[image, part, j, k], work, keep, g, n)


@loop
def pair_gradient(
    part, parts, logits, labels, by_voxel, valid, weights, lowered, joint, scale, powers, bounds, squares, terms,
    of_q, of_squares, of_terms, of_losses, rise, step, are_errors, add, gradient,
):  # fmt: skip
    """The gradient at some voxels, of priced sums of q, of w q**2 and w q, of losses, and of the log-probability.

    Its array may hold the errors, which the pass has left there. With a `step` the prices of the log-probabilities are
    found from these: up to which, the price below, and that of those that tie.
    """
    images, channels, voxels = logits.shape
    room = np.empty((8, TILE), f32)
    keep, g, q, ce, slope, more, work, spare = room[0], room[1], room[2], room[3], room[4], room[5], room[6], room[7]
    with_ce = of_losses.size > 0 and slopes_read_ce(powers, bounds)
    given = np.empty((labels.shape[2 if by_voxel else 1], ROW), labels.dtype)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            n, here = last - first, voxels_of(valid, image, first, last)
            if not are_errors:
                take_labels(given, labels, by_voxel, image, first, n)
            for k in range(1 if joint else channels):
                out, of_other = gradient[image, 1 if joint else k, first:last], gradient[image, 0, first:last]
                if are_errors:
                    fetch_ahead(gradient, image, 1 if joint else k, first, n)
                    _look_at_errors(out, keep, g, q, ce, with_ce)
                else:
                    fetch_ahead(logits, image, 1 if joint else k, first, n)
                    if joint:
                        fetch_ahead(logits, image, 0, first, n)
                    yes, margins = 1 if joint or len(given) > 1 or channels == 1 else k, lowered[k]
                    x, other = logits[image, 1 if joint else k, first:last], logits[image, 0, first:last]
                    label = given[k % len(given)]
                    _look_at_pair(x, other, joint, label, yes, here, scale, margins, keep, g, q, ce, with_ce)
                more[:] = ZERO
                if of_q.size:
                    no, yes_more = of_q[image, k, 0], of_q[image, k, 1] - of_q[image, k, 0]
                    for i in range(n):
                        slope[i] = (no + yes_more * g[i]) * (ONE - q[i])
                else:
                    slope[:] = ZERO
                if rise.size:
                    of_log_p = rise[image, k, first:last]
                    if step.size:
                        border, below, at_border = step
                        for i in range(n):
                            tie = where(of_log_p[i] == border, at_border, ZERO)
                            slope[i] -= where(of_log_p[i] < border, below, tie)
                    else:
                        for i in range(n):
                            slope[i] -= of_log_p[i]
                if squares and of_q.size:
                    no, yes_more = of_squares[0, image, k, 0], of_squares[0, image, k, 1] - of_squares[0, image, k, 0]
                    linear_no = of_squares[1, image, k, 0]
                    linear_yes_more = of_squares[1, image, k, 1] - linear_no
                    for i in range(n):
                        rises = (no + yes_more * g[i]) * q[i] + linear_no + linear_yes_more * g[i]
                        more[i] = rises * (ONE - q[i])
                if terms is not None:
                    for t in range(len(of_terms)):
                        of_no, of_yes = of_terms[t, image, k]
                        for side in range(2):
                            slopes_of_errors(work, q, terms[t, 0, side], terms[t, 1, side], n)
                            first_no, first_yes = (of_no, of_yes) if side else (of_yes, of_no)
                            for i in range(n):
                                price = first_no + (first_yes - first_no) * g[i]
                                more[i] += price * work[i] * (ONE - q[i])
                if of_losses.size:
                    for j in range(len(powers)):
                        of = of_losses[image, j, k]
                        no, yes_more = of[0], of[1] - of[0]
                        loss_slopes(work, spare, q, ce, powers[j], bounds, n)
                        for i in range(n):
                            more[i] += (no + yes_more * g[i]) * work[i]
                if len(weights):
                    w = weights[image, first:last]
                    for i in range(n):
                        more[i] *= w[i]
                for i in range(n):
                    work[i] = keep[i] * (ONE - TWO * g[i]) * q[i] * (slope[i] + more[i])
                write(out, work, add, n)
                if joint:
                    for i in range(n):
                        work[i] = -work[i]
                    write(of_other, work, add, n)
