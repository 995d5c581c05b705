"""Loops over classes of which some are true together, where labels are partial: see `truth.How`."""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np

from segloss.core.native import (
    add_by_class,
    exponentials,
    look_at_labels,
    loss_slopes,
    losses_of,
    lower,
    of_errors,
    of_true,
    slopes_of_errors,
    take_logits,
    tile_of,
    voxels_of,
    write,
)
from segloss.core.native_fetch import fetch_next
from segloss.core.native_half import as_f32
from segloss.core.native_math import INFINITE, ONE, TINY, ZERO, exp, f32, log, log1p_of_any, loop, where
from segloss.core.native_parts import span


@loop
def _look(logits, image, first, n, labels, valid, of, p, true, keep, top, total, right, q, ce, score, with_ce):
    """Of some voxels: the label, whether they count, p, and q and the cross-entropy of what is true.

    A class is true where the label is what it is `of`. `score` becomes the logarithm of the sum of the exponentials of
    what is true if logits are far from 0, which is what this gives, and else 1 over its probability.
    """
    look_at_labels(labels[image, 0, first : first + n], voxels_of(valid, image, first, first + n), true, keep, n)
    total[:], right[:], score[:], ce[:] = ZERO, ZERO, ZERO, ZERO
    far = not exponentials(p, logits, image, first, n, valid, ONE)
    if far:
        take_logits(p, logits, image, first, n, valid, ONE)
        lower(p, top, n)
        if with_ce:
            score[:] = -INFINITE
            for c in range(len(p)):
                row, k = p[c], of[c]
                for i in range(n):
                    score[i] = where((true[i] == k) & (row[i] > score[i]), row[i], score[i])
            for c in range(len(p)):
                row, k = p[c], of[c]
                for i in range(n):
                    ce[i] += where(true[i] == k, exp(row[i] - score[i]), ZERO)
            for i in range(n):
                score[i] += log(ce[i])
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                row[i] = exp(row[i])
    for c in range(len(p)):
        row, k = p[c], of[c]
        for i in range(n):
            e = where(true[i] == k, row[i], ZERO)
            right[i] += e
            total[i] += row[i] - e
    for i in range(n):
        q[i] = total[i] / (total[i] + right[i])
    if with_ce:
        for i in range(n):
            ce[i] = log1p_of_any(total[i] / right[i])
        if far:
            for i in range(n):
                ce[i] = where(right[i] > TINY, ce[i], log(total[i]) - score[i])
            for i in range(n):
                score[i] += top[i]
        else:
            for i in range(n):
                score[i] = (total[i] + right[i]) / right[i]
    for i in range(n):
        total[i] = ONE / (total[i] + right[i])
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] *= total[i]
    return far


@loop
def together_pass(part, parts, logits, labels, valid, weights, known, powers, bounds, terms, sums, losses, log_p):
    """What some voxels add to the sums: of wrong p, missed p, and true, and of terms."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    with_ce = log_p.size + losses.size > 0
    p, true, of = np.empty((classes, tile), f32), np.empty(tile, np.int32), np.empty(classes, np.int32)
    room = np.empty((7, tile), f32)
    keep, top, total, right, q, ce, score = room[0], room[1], room[2], room[3], room[4], room[5], room[6]
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for c in range(classes):
            of[c] = c if known[image, c] else 0
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look(logits, image, first, n, labels, valid, of, p, true, keep, top, total, right, q, ce, score, with_ce)
            if log_p.size:
                out = log_p[image, 0, first : first + n]
                for i in range(n):
                    out[i] = where(keep[i] > ZERO, -ce[i], ZERO)
            given = voxels_of(weights, image, first, first + n)
            for c in range(classes if sums.size else 0):
                row, k, wrong, missed, size = p[c], of[c], ZERO, ZERO, ZERO
                for i in range(n):
                    hit = where(true[i] == k, keep[i], ZERO)
                    size += hit
                    missed += hit * (ONE - row[i])
                    wrong += (keep[i] - hit) * row[i]
                sums[image, part, 0, c] += wrong
                sums[image, part, 1, c] += missed
                sums[image, part, 2, c] += size
            if len(weights):
                for i in range(n):
                    keep[i] *= given[i]
            if terms is not None:
                for t in range(len(terms)):
                    for c in range(classes):
                        row, k = p[c], of[c]
                        for side in range(2):
                            for i in range(n):
                                top[i] = ONE - row[i] if side else row[i]
                            of_errors(total, top, terms[t, 0, side], terms[t, 1, side], n)
                            found = ZERO
                            for i in range(n):
                                found += where((true[i] == k) == (side == 1), total[i] * keep[i], ZERO)
                            sums[image, part, 3 + t, c] += found
            if losses.size:
                for j in range(len(powers)):
                    losses_of(total, right, q, ce, powers[j], bounds, n)
                    add_by_class(losses[image, part, j], total, keep, true, n)
        for c in range(classes if losses.size else 0):
            if of[c] != c:
                for j in range(len(powers)):
                    losses[image, part, j, c] = losses[image, part, j, 0]


@loop
def together_gradient(
    part, parts, logits, labels, valid, weights, known, powers, bounds, terms, price, of_losses, rise, add, gradient
):
    """The gradient p (s - s·p) + (share - p) r, by the slope s by p and r by the logarithm of what is true."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    with_ce = rise.size + of_losses.size > 0
    p, true, of = np.empty((classes, tile), f32), np.empty(tile, np.int32), np.empty(classes, np.int32)
    s, merged = np.empty((classes, tile), f32), np.empty((len(powers), classes), f32)
    room = np.empty((10, tile), f32)
    keep, top, total, right, q = room[0], room[1], room[2], room[3], room[4]
    ce, score, r, w, fall = room[5], room[6], room[7], room[8], room[9]
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        merged[:] = ZERO
        for c in range(classes):
            of[c] = c if known[image, c] else 0
            if of_losses.size:
                merged[:, of[c]] += of_losses[image, :, c]
        for first in range(start, end, tile):
            n = min(tile, end - first)
            far = _look(
                logits, image, first, n, labels, valid, of, p, true, keep, top, total, right, q, ce, score, with_ce
            )
            given = voxels_of(weights, image, first, first + n)
            w[:], r[:], fall[:] = ONE, ZERO, ZERO
            if len(weights):
                for i in range(n):
                    w[i] = given[i]
            if rise.size:
                of_log_p = rise[image, 0, first : first + n]
                for i in range(n):
                    r[i] += of_log_p[i]
            for j in range(len(of_losses[0]) if of_losses.size else 0):
                of_true(top, merged[j], true, n)
                loss_slopes(total, right, q, ce, powers[j], bounds, n)
                for i in range(n):
                    r[i] -= w[i] * top[i] * total[i]
            for c in range(classes if price.size else 0):
                row, slope, k, of_wrong, of_hit = p[c], s[c], of[c], price[image, 0, c], price[image, 1, c]
                for i in range(n):
                    slope[i] = where(true[i] == k, of_hit, of_wrong)
                if terms is not None:
                    for t in range(len(terms)):
                        of_term = price[image, 2 + t, c]
                        for side in range(2):
                            for i in range(n):
                                top[i] = ONE - row[i] if side else row[i]
                            slopes_of_errors(total, top, terms[t, 0, side], terms[t, 1, side], n)
                            rises = -of_term if side else of_term
                            for i in range(n):
                                slope[i] += where((true[i] == k) == (side == 1), rises * w[i] * total[i], ZERO)
                for i in range(n):
                    fall[i] += slope[i] * row[i]
            for c in range(classes):
                fetch_next(gradient, image, c, first, n)
                row, slope, k = p[c], s[c], of[c]
                for i in range(n):
                    top[i] = -r[i] * row[i]
                if price.size:
                    for i in range(n):
                        top[i] += row[i] * (slope[i] - fall[i])
                if far and with_ce:
                    x = logits[image, c, first : first + n]
                    for i in range(n):
                        top[i] += where(true[i] == k, r[i] * exp(as_f32(x[i]) - score[i]), ZERO)
                elif with_ce:
                    for i in range(n):
                        top[i] += where(true[i] == k, r[i] * score[i] * row[i], ZERO)
                for i in range(n):
                    top[i] = where(keep[i] > ZERO, top[i], ZERO)
                write(gradient[image, c, first : first + n], top, add, n)
