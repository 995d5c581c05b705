"""Loops over classes of which some are true together, where labels are partial: see `truth.How`."""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np

from segloss.core.native import (
    HALF,
    INFINITE,
    ONE,
    TILE,
    VALUES,
    ZERO,
    add_by_class,
    exp,
    f32,
    inline,
    log,
    log1p,
    look_at_labels,
    loop,
    loss_slopes,
    losses_of,
    of_errors,
    of_true,
    slopes_of_errors,
    voxels_of,
)


@inline
def _look(logits, image, first, n, labels, valid, of, alone, p, true, keep, top, total, right, q, ce, score):
    """Of some voxels: the label, whether they count, p, and q and the cross-entropy of what is true.

    A class is true where the label is what it is `of`. Without the sums `alone` the score of what is true is found,
    too, the logarithm of the sum of its exponentials.
    """
    look_at_labels(labels[image, 0, first : first + n], voxels_of(valid, image, first, first + n), true, keep, n)
    top[:], total[:], right[:], score[:], ce[:] = -INFINITE, ZERO, ZERO, -INFINITE, ZERO
    for c in range(len(p)):
        x, row = logits[image, c, first : first + n], p[c]
        for i in range(n):
            z = x[i]
            row[i] = z if keep[i] > ZERO else ZERO
        for i in range(n):
            z, highest = row[i], top[i]
            top[i] = z if z > highest else highest
        if not alone:
            k = of[c]
            for i in range(n):
                z, highest = row[i], score[i]
                score[i] = z if (true[i] == k) & (z > highest) else highest
    if not alone:
        for c in range(len(p)):
            row, k = p[c], of[c]
            for i in range(n):
                e = exp(row[i] - score[i])
                ce[i] += e if true[i] == k else ZERO
        for i in range(n):
            score[i] += log(ce[i])
    for c in range(len(p)):
        row, k = p[c], of[c]
        for i in range(n):
            row[i] = exp(row[i] - top[i])
        for i in range(n):
            e = row[i]
            right[i] += e if true[i] == k else ZERO
            total[i] += ZERO if true[i] == k else e
    for i in range(n):
        q[i] = total[i] / (total[i] + right[i])
    if not alone:
        for i in range(n):
            near, far = -log1p(-q[i]), log(total[i] + right[i]) + top[i] - score[i]
            ce[i] = near if q[i] < HALF else far
    for i in range(n):
        total[i] = ONE / (total[i] + right[i])
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] *= total[i]


@loop
def together_pass(part, parts, logits, labels, valid, weights, known, powers, bounds, terms, sums, losses, log_p):
    """What some voxels add to the sums: of wrong p, missed p, and true, and of terms."""
    images, classes, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    alone = log_p.size + losses.size == 0
    p, true, of = np.empty((classes, tile), f32), np.empty(tile, np.int32), np.empty(classes, np.int32)
    keep, top, total, right, q, ce, score = np.empty((7, tile), f32)
    for image in range(images):
        for c in range(classes):
            of[c] = c if known[image, c] else 0
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look(logits, image, first, n, labels, valid, of, alone, p, true, keep, top, total, right, q, ce, score)
            if log_p.size:
                out = log_p[image, 0, first : first + n]
                for i in range(n):
                    likely = -ce[i]
                    out[i] = likely if keep[i] > ZERO else ZERO
            given = voxels_of(weights, image, first, first + n)
            for c in range(classes if sums.size else 0):
                row, k, wrong, missed, size = p[c], of[c], ZERO, ZERO, ZERO
                for i in range(n):
                    hit = keep[i] if true[i] == k else ZERO
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
                                p_of_c = row[i]
                                top[i] = ONE - p_of_c if side else p_of_c
                            of_errors(total, top, terms[t, 0, side], terms[t, 1, side], n)
                            found = ZERO
                            for i in range(n):
                                here = total[i] * keep[i]
                                found += here if (true[i] == k) == (side == 1) else ZERO
                            sums[image, part, 3 + t, c] += found
            if losses.size:
                for j in range(len(powers)):
                    losses_of(total, right, q, ce, powers[j], bounds, n)
                    add_by_class(losses[image, part, j], total, keep, true, n)
        for c in range(classes if losses.size else 0):
            if of[c] != c:
                losses[image, part, :, c] = losses[image, part, :, 0]


@loop
def together_gradient(
    part, parts, logits, labels, valid, weights, known, powers, bounds, terms, price, of_losses, rise, gradient
):
    """The gradient p (s - s·p) + (share - p) r, by the slope s by p and r by the logarithm of what is true."""
    images, classes, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    alone = rise.size + of_losses.size == 0
    p, true, of = np.empty((classes, tile), f32), np.empty(tile, np.int32), np.empty(classes, np.int32)
    s, merged = np.empty((classes, tile), f32), np.empty((len(powers), classes), f32)
    keep, top, total, right, q, ce, score, r, w, fall = np.empty((10, tile), f32)
    for image in range(images):
        merged[:] = ZERO
        for c in range(classes):
            of[c] = c if known[image, c] else 0
            if of_losses.size:
                merged[:, of[c]] += of_losses[image, :, c]
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look(logits, image, first, n, labels, valid, of, alone, p, true, keep, top, total, right, q, ce, score)
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
                    slope[i] = of_hit if true[i] == k else of_wrong
                if terms is not None:
                    for t in range(len(terms)):
                        of_term = price[image, 2 + t, c]
                        for side in range(2):
                            for i in range(n):
                                p_of_c = row[i]
                                top[i] = ONE - p_of_c if side else p_of_c
                            slopes_of_errors(total, top, terms[t, 0, side], terms[t, 1, side], n)
                            rises = -of_term if side else of_term
                            for i in range(n):
                                rise_here = rises * w[i] * total[i]
                                slope[i] += rise_here if (true[i] == k) == (side == 1) else ZERO
                for i in range(n):
                    fall[i] += slope[i] * row[i]
            for c in range(classes):
                row, slope, k, out = p[c], s[c], of[c], gradient[image, c, first : first + n]
                for i in range(n):
                    out[i] = -r[i] * row[i]
                if price.size:
                    for i in range(n):
                        out[i] += row[i] * (slope[i] - fall[i])
                if not alone:
                    x = logits[image, c, first : first + n]
                    for i in range(n):
                        share = exp(x[i] - score[i])
                        out[i] += r[i] * (share if true[i] == k else ZERO)
                for i in range(n):
                    rises = out[i]
                    out[i] = rises if keep[i] > ZERO else ZERO
