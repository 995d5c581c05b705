"""Loops over classes that exclude each other."""

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
    put_true,
    slopes_of_errors,
    slopes_read_ce,
    take_logits,
    take_true,
    tile_of,
    voxels_of,
    write,
)
from segloss.core.native_fetch import fetch_next
from segloss.core.native_math import ONE, TINY, ZERO, exp, f32, i32, log, log1p_of_any, loop, where
from segloss.core.native_parts import span


@loop
def _look_at_classes(
    logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, score, total, q, ce, with_ce
):
    """Of some voxels: the class, whether they count, p of the others, and q and the cross-entropy of the true one.

    p is to be multiplied by `total`.
    """
    look_at_labels(labels[image, 0, first : first + n], voxels_of(valid, image, first, first + n), true, keep, n)
    far = False
    if len(lowered) or not exponentials(p, logits, image, first, n, valid, scale):
        take_logits(p, logits, image, first, n, valid, scale)
        if len(lowered):
            for i in range(n):
                p[true[i], i] -= lowered[true[i]]
        far = lower(p, top, n)
        if far:
            for i in range(n):
                score[i] = p[true[i], i]
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                row[i] = exp(row[i])
    take_true(ce, p, true, n)
    total[:] = ZERO
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            total[i] += row[i]
    if with_ce:
        for i in range(n):
            top[i] = log1p_of_any(total[i] / ce[i])
        if far:
            for i in range(n):
                top[i] = where(ce[i] > TINY, top[i], log(total[i]) - score[i])
    for i in range(n):
        q[i] = total[i] / (total[i] + ce[i])
    for i in range(n):
        total[i] = keep[i] / (total[i] + ce[i])
    for i in range(n):
        ce[i] = top[i]


@loop
def _normalise(p, total, n):
    """Turn what is p up to a factor into it."""
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] *= total[i]


@loop
def _total(w, x, y, n):
    """The sum of w x y."""
    total = ZERO
    for i in range(n):
        total += w[i] * x[i] * y[i]
    return total


@loop
def class_pass(
    part, parts, logits, labels, valid, weights, lowered, cost, scale, powers, bounds, squares, terms,
    sums, losses, log_p,
):  # fmt: skip
    """What some voxels add to the sums: of wrong p, missed p, and true; weighted, and squares, and of the cost.

    p is left at 0 where it is that of the true class, so that errors are what is added up.
    """
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p, true = np.empty((classes, tile), f32), np.empty(tile, np.int32)
    room = np.empty((6, tile), f32)
    keep, top, score, total, q, ce = room[0], room[1], room[2], room[3], room[4], room[5]
    one = np.ones(tile, f32)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            with_ce = losses.size + log_p.size > 0
            _look_at_classes(
                logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, score, total, q, ce, with_ce
            )
            if log_p.size:
                out = log_p[image, 0, first : first + n]
                for i in range(n):
                    out[i] = where(keep[i] > ZERO, -ce[i], ZERO)
            if sums.size:
                of = sums[image, part]
                for c in range(classes):
                    of[0, c] += _total(total, one, p[c], n)
                add_by_class(of[1], q, keep, true, n)
                add_by_class(of[2], one, keep, true, n)
                if squares or len(cost) or terms is not None:
                    _normalise(p, total, n)
                if len(cost):
                    for i in range(n):
                        total[i] = ZERO
                    for c in range(classes):
                        row, of_c = p[c], cost[c]
                        for i in range(n):
                            total[i] += of_c[true[i]] * where(true[i] == i32(c), ONE - q[i], row[i])
                    add_by_class(of[-1], total, keep, true, n)
            if len(weights):
                w = weights[image, first : first + n]
                for i in range(n):
                    keep[i] *= w[i]
            if squares:
                of = sums[image, part, 3:]
                if len(weights):
                    for c in range(classes):
                        of[0, c] += _total(keep, one, p[c], n)
                    add_by_class(of[1], q, keep, true, n)
                    add_by_class(of[2], one, keep, true, n)
                    of = of[3:]
                for c in range(classes):
                    of[0, c] += _total(keep, p[c], p[c], n)
                for i in range(n):
                    total[i] = q[i] * q[i]
                add_by_class(of[1], total, keep, true, n)
            if terms is not None:
                for t in range(len(terms)):
                    of = sums[image, part, 3 + (5 if len(weights) else 2) * squares + t]
                    for c in range(classes + 1):
                        row, side = (p[c], 0) if c < classes else (q, 1)
                        of_errors(total, row, terms[t, 0, side], terms[t, 1, side], n)
                        if c < classes:
                            wrong = ZERO
                            for i in range(n):
                                wrong += keep[i] * where(true[i] == i32(c), ZERO, total[i])
                            of[c] += wrong
                        else:
                            add_by_class(of, total, keep, true, n)
            if losses.size:
                for j in range(len(powers)):
                    losses_of(total, score, q, ce, powers[j], bounds, n)
                    add_by_class(losses[image, part, j], total, keep, true, n)


@loop
def class_gradient(
    part, parts, logits, labels, valid, weights, lowered, cost, scale, powers, bounds, squares, terms,
    price, of_losses, rise, add, gradient,
):  # fmt: skip
    """The gradient p (s - s·p - r), and of the true class r more; s is the slope by p, r that by log p of the true."""
    images, classes, voxels = logits.shape
    tile = tile_of(classes)
    p, true, slopes = np.empty((classes, tile), f32), np.empty(tile, np.int32), np.zeros((classes + 1, tile), f32)
    room = np.empty((11, tile), f32)
    keep, top, r, fall, total, q = room[0], room[1], room[2], room[3], room[4], room[5]
    ce, w, of_cost, found, work = room[6], room[7], room[8], room[9], room[10]
    with_ce = of_losses.size > 0 and slopes_read_ce(powers, bounds)
    mapped = price.size > 0 and (len(cost) > 0 or terms is not None)
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look_at_classes(
                logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, r, total, q, ce, with_ce
            )
            given = voxels_of(weights, image, first, first + n)
            w[:], r[:], fall[:] = ONE, ZERO, ZERO
            if len(weights):
                for i in range(n):
                    w[i] = given[i]
            if of_losses.size:
                for j in range(len(powers)):
                    of_true(found, of_losses[image, j], true, n)
                    loss_slopes(of_cost, work, q, ce, powers[j], bounds, n)
                    for i in range(n):
                        r[i] -= w[i] * found[i] * of_cost[i]
            if rise.size:
                of_log_p = rise[image, 0, first : first + n]
                for i in range(n):
                    r[i] += of_log_p[i]
            s = slopes[classes]
            if price.size:
                of_true(s, price[image, 1], true, n)
            if price.size and squares:
                of_true(found, price[image, 3], true, n)
                of_true(work, price[image, 5], true, n)
                for i in range(n):
                    s[i] += w[i] * (found[i] * q[i] + work[i])
            if price.size and terms is not None:
                for t in range(len(terms)):
                    of_true(found, price[image, 2 + 4 * squares + t], true, n)
                    slopes_of_errors(work, q, terms[t, 0, 1], terms[t, 1, 1], n)
                    for i in range(n):
                        s[i] -= w[i] * found[i] * work[i]
            if price.size and len(cost):
                of_true(of_cost, price[image, -1], true, n)
                for i in range(n):
                    s[i] += of_cost[i] * cost[true[i], true[i]]
            if mapped:
                _normalise(p, total, n)
                total[:] = ONE
            for c in range(classes if price.size else 0):
                row, of_p = p[c], price[image, 0, c]
                of_p2, of_w = (price[image, 2, c], price[image, 4, c]) if squares else (ZERO, ZERO)
                if mapped:
                    of_c = slopes[c]
                    for i in range(n):
                        of_c[i] = of_p + w[i] * (of_p2 * row[i] + of_w)
                    if terms is not None:
                        for t in range(len(terms)):
                            of_term = price[image, 2 + 4 * squares + t, c]
                            slopes_of_errors(work, row, terms[t, 0, 0], terms[t, 1, 0], n)
                            for i in range(n):
                                of_c[i] += of_term * w[i] * work[i]
                    if len(cost):
                        costs = cost[c]
                        for i in range(n):
                            of_c[i] += of_cost[i] * costs[true[i]]
                    for i in range(n):
                        fall[i] += of_c[i] * row[i]
                elif squares:
                    for i in range(n):
                        here = row[i] * total[i]
                        fall[i] += (of_p + w[i] * (of_p2 * here + of_w)) * here
                else:
                    for i in range(n):
                        fall[i] += of_p * row[i]
            if not squares:
                for i in range(n):
                    fall[i] *= total[i]
            for i in range(n):
                found[i] = keep[i] * ((ONE - q[i]) * (s[i] * q[i] - fall[i]) + r[i] * q[i])
            for i in range(n):
                r[i] += fall[i] + s[i] * (ONE - q[i])
            for c in range(classes):
                row, of_c = p[c], slopes[c]
                of_p = price[image, 0, c] if price.size else ZERO
                of_p2, of_w = (price[image, 2, c], price[image, 4, c]) if price.size and squares else (ZERO, ZERO)
                if mapped:
                    for i in range(n):
                        row[i] *= of_c[i] - r[i]
                elif squares:
                    for i in range(n):
                        here = row[i] * total[i]
                        row[i] = here * (of_p + w[i] * (of_p2 * here + of_w) - r[i])
                else:
                    for i in range(n):
                        row[i] *= total[i] * (of_p - r[i])
            put_true(p, found, true, n)
            for c in range(classes):
                fetch_next(gradient, image, c, first, n)
                write(gradient[image, c, first : first + n], p[c], add, n)
