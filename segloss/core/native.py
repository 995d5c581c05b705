"""The functions of some voxels that the loops over logits are made of.

What is chosen by a condition and stored where one of the two was read becomes a store with a mask, which costs as much
as an exponential: a loop adds what is chosen, instead.

A loop may call others, on some voxels at a time, and each is compiled once for all that call it. It becomes vectors
there only if its arrays are known to lie without gaps, as a row that is taken by its index is, and one that an array
is unpacked into is not.
"""

# pyright: reportCallIssue=false

import numpy as np

from segloss.core.native_fetch import LINE, fetch_ahead
from segloss.core.native_half import as_f32, as_in
from segloss.core.native_math import (
    EPS,
    HALF,
    INFINITE,
    ONE,
    TWO,
    ZERO,
    bits_of,
    exp,
    exp_of_near,
    f32,
    i32,
    inline,
    log,
    log1p,
    loop,
    scalar,
    where,
)
from segloss.core.truth import OfError

TILE = 512
"""Voxels at a time of a channel, as many as stay in a near cache."""
FEW = 8
"""Up to so many classes it is faster to compare with each than to look one up."""
FAR = f32(40)
"""Exponentials of logits up to this size can be added up as they are."""
POWER, LOG, LOG_OF_REST = f32(OfError.POWER), f32(OfError.LOG), f32(OfError.LOG_OF_REST)


@loop
def _powers(out, q, exponent, edge, n):
    """Powers of probabilities, 0 up to the edge; see `pointwise.power`."""
    if exponent == ZERO:
        out[:] = ONE
    elif exponent == ONE:
        for i in range(n):
            out[i] = q[i]
    elif exponent == TWO:
        for i in range(n):
            out[i] = q[i] * q[i]
    elif exponent == ONE + HALF:
        for i in range(n):
            out[i] = q[i] * np.sqrt(q[i])
    else:
        for i in range(n):
            raised, top = exp(exponent * log(q[i])), INFINITE if exponent > ZERO else -ONE
            raised = where(q[i] == top, q[i], raised)
            out[i] = where(q[i] <= edge, ZERO, raised)


@loop
def losses_of(out, work, q, ce, powers, bounds, n):
    """A power of q times one of the cross-entropy; q and it are brought within their bounds."""
    if bounds[0] > ZERO:
        low, high, clamp = bounds
        for i in range(n):
            ce[i] = min(max(ce[i], low), high)
            q[i] = min(max(q[i], clamp), ONE - clamp)
    of_q, of_ce = powers
    _powers(out, ce, of_ce, EPS if of_ce < ONE else ZERO, n)
    if of_q != ZERO:
        _powers(work, q, of_q, EPS if of_q < ONE else ZERO, n)
        for i in range(n):
            out[i] *= work[i]


@loop
def slopes_read_ce(powers, bounds):
    """Whether slopes of losses depend on the cross-entropy, or on whether it is within bounds."""
    found = bounds[0] > ZERO
    for j in range(len(powers)):
        of_q, of_ce = powers[j]
        found |= (of_q != ZERO) | ((of_ce != ZERO) & (of_ce != ONE))
    return found


@loop
def loss_slopes(out, work, q, ce, powers, bounds, n):
    """Its derivative with respect to the cross-entropy."""
    of_q, of_ce = powers
    for i in range(n):
        rise = of_ce * q[i] + of_q * (ONE - q[i]) * ce[i]
        rise = where(of_q == ZERO, of_ce, rise)
        out[i] = where(of_ce == ZERO, of_q * (ONE - q[i]), rise)
    for k in range(2):
        if powers[k] != ZERO and powers[k] != ONE:
            _powers(work, q if k == 0 else ce, powers[k] - ONE, EPS if powers[k] < ONE else ZERO, n)
            for i in range(n):
                out[i] *= work[i]
    if bounds[0] > ZERO:
        low, high, _ = bounds
        for i in range(n):
            out[i] *= where((ce[i] >= low) & (ce[i] <= high), ONE, ZERO)


@loop
def of_errors(out, e, of, number, n):
    """A function of errors that `OfError` names."""
    if of == POWER:
        _powers(out, e, number, ZERO, n)
    elif of == LOG and number == ONE:
        for i in range(n):
            out[i] = log1p(e[i])
    elif of == LOG:
        for i in range(n):
            out[i] = log(e[i] + number)
    elif of == LOG_OF_REST:
        most = i32(0)
        for i in range(n):
            most = max(most, bits_of(e[i]))
        if most <= bits_of(HALF):
            for i in range(n):
                out[i] = log1p(-e[i])
        else:
            for i in range(n):
                error = min(e[i], ONE - EPS)
                out[i] = where(error < HALF, log1p(-error), log(ONE - error))
    else:
        out[:] = ZERO


@loop
def slopes_of_errors(out, e, of, number, n):
    """Its derivative."""
    if of == POWER and number == ONE + HALF:
        for i in range(n):
            out[i] = number * np.sqrt(e[i])
    elif of == POWER:
        _powers(out, e, number - ONE, ZERO, n)
        for i in range(n):
            out[i] *= number
    elif of == LOG:
        for i in range(n):
            out[i] = ONE / (e[i] + number)
    elif of == LOG_OF_REST:
        for i in range(n):
            right = ONE - e[i]
            out[i] = where(right > EPS * TWO / f32(3), -ONE / right, ZERO)
    else:
        out[:] = ZERO


@scalar
def tile_of(classes):
    """Voxels at a time of all classes."""
    return min(256, max(64, 2**15 // classes // LINE * LINE))


@inline
def voxels_of(given, image, first, last):
    """Some voxels of an image, of what may not be there."""
    return given[image, first:last] if len(given) else given.reshape(-1)[:0]


@loop
def look_at_labels(labels, valid, true, keep, n):
    """The class of some voxels, 0 where ignored, and whether they count."""
    keep[:] = ONE
    for i in range(n):
        true[i] = labels[i]
    if len(valid):
        for i in range(n):
            keep[i] = where(valid[i] != 0, ONE, ZERO)
        for i in range(n):
            true[i] = where(valid[i] != 0, i32(labels[i]), i32(0))


@loop
def take_logits(p, logits, image, first, n, valid, scale):
    """Some voxels of an image, times a factor, 0 where ignored."""
    here = voxels_of(valid, image, first, first + n)
    for c in range(len(p)):
        fetch_ahead(logits, image, c, first, n)
        x, row = logits[image, c, first : first + n], p[c]
        if len(valid):
            for i in range(n):
                row[i] = where(here[i] != 0, scale * as_f32(x[i]), ZERO)
        else:
            for i in range(n):
                row[i] = scale * as_f32(x[i])


@loop
def exponentials(p, logits, image, first, n, valid, scale):
    """Those of some voxels of an image, times a factor, 1 where ignored; give whether all are near enough to 0."""
    most, here = i32(0), voxels_of(valid, image, first, first + n)
    for c in range(len(p)):
        fetch_ahead(logits, image, c, first, n)
        x, row = logits[image, c, first : first + n], p[c]
        if len(valid):
            for i in range(n):
                y = where(here[i] != 0, scale * as_f32(x[i]), ZERO)
                most = max(most, bits_of(abs(y)))
                row[i] = exp_of_near(y)
        else:
            for i in range(n):
                y = scale * as_f32(x[i])
                most = max(most, bits_of(abs(y)))
                row[i] = exp_of_near(y)
    return most <= bits_of(FAR)


@loop
def lower(p, top, n):
    """Lower logits by the largest of each voxel, `top`, if some are so far from 0 that they need it; give whether."""
    most = i32(0)
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            most = max(most, bits_of(abs(row[i])))
    if most <= bits_of(FAR):
        return False
    top[:] = -INFINITE
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            top[i] = where(row[i] > top[i], row[i], top[i])
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] -= top[i]
    return True


@loop
def add_by_class(sums, x, w, true, n):
    """Add up w x by the true class."""
    if len(sums) > FEW:
        for i in range(n):
            sums[true[i]] += w[i] * x[i]
    else:
        for c in range(len(sums)):
            total = ZERO
            for i in range(n):
                total += where(true[i] == i32(c), w[i] * x[i], ZERO)
            sums[c] += total


@loop
def of_true(out, prices, true, n):
    """What is priced for the true class."""
    if len(prices) > FEW:
        for i in range(n):
            out[i] = prices[true[i]]
    else:
        out[:] = ZERO
        for c in range(len(prices)):
            price = prices[c]
            for i in range(n):
                out[i] += where(true[i] == i32(c), price, ZERO)


@loop
def take_true(out, p, true, n):
    """What is of the true class, which is left at 0."""
    if len(p) > FEW:
        for i in range(n):
            out[i] = p[true[i], i]
            p[true[i], i] = ZERO
    else:
        out[:] = ZERO
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                here = where(true[i] == i32(c), row[i], ZERO)
                out[i] += here
                row[i] -= here


@loop
def put_true(p, x, true, n):
    """Set what is of the true class, which is 0."""
    if len(p) > FEW:
        for i in range(n):
            p[true[i], i] = x[i]
    else:
        for c in range(len(p)):
            row = p[c]
            for i in range(n):
                row[i] += where(true[i] == i32(c), x[i], ZERO)


@loop
def write(out, x, add, n):
    """Write a gradient, or `add` it to the one that is there."""
    if add:
        for i in range(n):
            out[i] = as_in(as_f32(out[i]) + x[i], out)
    else:
        for i in range(n):
            out[i] = as_in(x[i], out)
