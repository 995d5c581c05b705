"""What numba compiles for the CPU: the functions that its loops are made of, and the threads that share them.

A loop over an array that begins at 0 becomes vector instructions, exponential and logarithm included, which a call of
the C library would not. So these are polynomials here, as exact as float32 is.
"""

import ctypes
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from segloss.core.truth import OfError

loop = njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "reassoc"})
"""Compiles a function: sums in any order, but what is infinite or not a number stays so."""
inline = njit(inline="always")
"""Writes a function into the loops that call it; one that only they have would keep them from becoming vectors."""
scalar = njit(cache=True, forceinline=True, error_model="numpy", fastmath={"nsz", "contract"})
"""Compiles a function of numbers, whose operations keep their order."""

TILE, VALUES = 512, 2**14
"""Voxels at a time, and values of theirs, as many as stay in a near cache."""
FEW = 8
"""Up to so many classes it is faster to compare with each than to look one up."""

f32, i32 = np.float32, np.int32
POWER, LOG, LOG_OF_REST = f32(OfError.POWER), f32(OfError.LOG), f32(OfError.LOG_OF_REST)
ZERO, ONE, HALF, TWO = f32(0), f32(1), f32(0.5), f32(2)
PER_LOG2, LOG2_HIGH, LOG2_LOW = f32(1.442695041), f32(0.693359375), f32(-2.12194440e-4)
LEAST, MOST, INFINITE, EPS = f32(-87.3), f32(88.3), f32(np.inf), np.finfo(f32).eps
C2, C3, C4, C5, C6 = f32(0.5), f32(0.16666577), f32(0.041666465), f32(0.0083631756), f32(0.0013933644)
S1, S2, S3, S4, S5, S6 = f32(1 / 3), f32(1 / 5), f32(1 / 7), f32(1 / 9), f32(1 / 11), f32(1 / 13)


def in_threads(threads: int, parts: int, run: Callable[..., Any], *given: Any) -> None:
    """`run(part, parts, *given)` for each part, by whichever thread is free.

    The threads are those of torch: one that has nothing to do waits at full speed for a while, and would slow one of
    ours that shares its core.
    """
    todo, failed = deque(range(parts)), list[BaseException]()

    def work(_: Any = None) -> None:
        try:
            while True:
                try:
                    part = todo.popleft()
                except IndexError:
                    return
                run(part, parts, *given)
        except BaseException as error:
            failed.append(error)

    threads = min(threads, parts)
    start = None if threads == 1 else _starts_team(os.getpid())
    if start is not None:
        start(_WORK(work), None, threads, 0)
    else:
        others = [_pool(os.getpid(), threads).submit(work) for _ in range(threads - 1)]
        work()
        wait(others)
    if failed:
        raise failed[0]


_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PROCESS = os.getpid()


@cache
def _starts_team(process: int) -> Callable[..., None] | None:
    """What OpenMP starts its threads with, if torch has it; a child has none of its parent's threads."""
    if process != _PROCESS:
        return None
    try:
        start = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    start.argtypes, start.restype = (_WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of a process, where those of torch cannot be had."""
    return ThreadPoolExecutor(threads, "segloss")


def _bits(kind: Any, other: Any, of: Any) -> Any:
    """The same bits as a number of another type."""

    @intrinsic
    def same(context: Any, x: Any) -> Any:
        return kind(other), lambda _, builder, __, args: builder.bitcast(args[0], of)

    return same


of_bits = _bits(types.float32, types.int32, ir.FloatType())
bits_of = _bits(types.int32, types.float32, ir.IntType(32))


@scalar
def exp(x):
    """The exponential, 0 below what float32 holds."""
    y = MOST if x > MOST else x
    k = np.floor(y * PER_LOG2 + HALF)
    r = y - k * LOG2_HIGH - k * LOG2_LOW
    e = (((C6 * r + C5) * r + C4) * r + C3) * r + C2
    e = (e * r * r + r + ONE) * of_bits((i32(k) + i32(127)) << i32(23))
    return ZERO if x < LEAST else e


@scalar
def log1p(u):
    """log(1 + u), for u from -1/2 to 1."""
    s = u / (TWO + u)
    t = s * s
    return TWO * s * ((((((S6 * t + S5) * t + S4) * t + S3) * t + S2) * t + S1) * t + ONE)


@scalar
def log(x):
    """The logarithm of a positive number, without those below the least normal one."""
    bits = bits_of(x)
    k = (bits - i32(0x3F3504F3)) >> i32(23)
    y = of_bits(bits - (k << i32(23)))
    s = (y - ONE) / (y + ONE)
    t = s * s
    z = f32(k)
    y = z * LOG2_HIGH + (z * LOG2_LOW + TWO * s * ((((S4 * t + S3) * t + S2) * t + S1) * t + ONE))
    return y if x == x else x


@inline
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
            raised = q[i] if q[i] == top else raised
            out[i] = ZERO if q[i] <= edge else raised


@inline
def losses_of(out, work, q, ce, powers, bounds, n):
    """A power of q times one of the cross-entropy; q and it are brought within their bounds."""
    if bounds[0] > ZERO:
        low, high, clamp = bounds
        for i in range(n):
            ce[i] = min(max(ce[i], low), high)
            q[i] = min(max(q[i], clamp), ONE - clamp)
    of_q, of_ce = powers
    _powers(out, q, of_q, EPS if of_q < ONE else ZERO, n)
    if of_ce == ONE:
        for i in range(n):
            out[i] *= ce[i]
    elif of_ce != ZERO:
        _powers(work, ce, of_ce, EPS if of_ce < ONE else ZERO, n)
        for i in range(n):
            out[i] *= work[i]


@inline
def loss_slopes(out, work, q, ce, powers, bounds, n):
    """Its derivative with respect to the cross-entropy."""
    of_q, of_ce = powers
    out[:] = ONE
    if of_q != ZERO:
        _powers(out, q, of_q - ONE, EPS if of_q < ONE else ZERO, n)
    if of_ce != ZERO and of_ce != ONE:
        _powers(work, ce, of_ce - ONE, EPS if of_ce < ONE else ZERO, n)
        for i in range(n):
            out[i] *= work[i]
    if of_q == ZERO:
        for i in range(n):
            out[i] *= of_ce
    elif of_ce == ZERO:
        for i in range(n):
            out[i] *= of_q * (ONE - q[i])
    else:
        for i in range(n):
            out[i] *= of_ce * q[i] + of_q * (ONE - q[i]) * ce[i]
    if bounds[0] > ZERO:
        low, high, _ = bounds
        for i in range(n):
            rise = out[i]
            out[i] = rise if (ce[i] >= low) & (ce[i] <= high) else ZERO


@inline
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
        for i in range(n):
            error = min(e[i], ONE - EPS)
            near, far = log1p(-error), log(ONE - error)
            out[i] = near if error < HALF else far
    else:
        out[:] = ZERO


@inline
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
            out[i] = -ONE / right if right > EPS * TWO / f32(3) else ZERO
    else:
        out[:] = ZERO


@inline
def voxels_of(given, image, first, last):
    """Some voxels of an image, of what may not be there."""
    return given[image, first:last] if len(given) else given.reshape(-1)[:0]


@inline
def _look_at_pair(x, other, joint, labels, yes, valid, scale, low_no, low_yes, keep, g, q, ce):
    """Of some voxels: whether they count, the truth, and the probability and cross-entropy of the error."""
    keep[:] = ONE
    for i in range(len(x)):
        g[i] = ONE if labels[i] == yes else ZERO
    for i in range(len(x)):
        ce[i] = x[i]
    if joint:
        for i in range(len(x)):
            ce[i] = x[i] - other[i]
    if len(valid):
        for i in range(len(x)):
            margin = ce[i]
            keep[i] = ONE if valid[i] else ZERO
            ce[i] = margin if valid[i] else ZERO
    for i in range(len(x)):
        error = scale * (ONE - TWO * g[i]) * ce[i] + (low_yes if g[i] > HALF else low_no)
        u = exp(-abs(error))
        large = ONE / (ONE + u)
        q[i] = large if error >= ZERO else u * large
        ce[i] = (error if error > ZERO else ZERO) + log1p(u)


@inline
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
    part, parts, logits, labels, valid, weights, lowered, joint, scale, powers, bounds, squares, terms,
    totals, losses, log_p,
):  # fmt: skip
    """What some voxels of every choice add to the sums, those of 1, q and, if asked for, w q**2, w q and w."""
    images, channels, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    keep, g, q, ce, work, more = np.empty((6, TILE), f32)
    one = np.ones(TILE, f32)
    for image in range(images):
        for k in range(1 if joint else channels):
            yes = 1 if joint or labels.shape[1] > 1 or channels == 1 else k
            low_no, low_yes = lowered[k]
            for first in range(start, end, TILE):
                last = min(first + TILE, end)
                n = last - first
                x, other = logits[image, 1 if joint else k, first:last], logits[image, 0, first:last]
                label, here = labels[image, k % labels.shape[1], first:last], voxels_of(valid, image, first, last)
                _look_at_pair(x, other, joint, label, yes, here, scale, low_no, low_yes, keep, g, q, ce)
                if totals.size:
                    _add_pair(totals[image, part, 0, k], one, keep, g, n)
                    _add_pair(totals[image, part, 1, k], q, keep, g, n)
                if log_p.size:
                    out = log_p[image, k, first:last]
                    for i in range(n):
                        likely = -ce[i]
                        out[i] = likely if keep[i] > ZERO else ZERO
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
                for t in range(len(terms)):
                    (of_wrong, of_missed), (wrong_number, missed_number) = terms[t]
                    of = totals[image, part, totals.shape[2] - len(terms) + t, k]
                    of_errors(work, q, of_missed, missed_number, n)
                    _add_pair(of, work, keep, g, n)
                    of_errors(work, q, of_wrong, wrong_number, n)
                    _add_pair(of[::-1], work, keep, g, n)
                if losses.size:
                    for j in range(len(powers)):
                        losses_of(work, more, q, ce, powers[j], bounds, n)
                        _add_pair(losses[image, part, j, k], work, keep, g, n)


@loop
def pair_gradient(
    part, parts, logits, labels, valid, weights, lowered, joint, scale, powers, bounds, squares, terms,
    of_q, of_squares, of_terms, of_losses, rise, gradient,
):  # fmt: skip
    """The gradient at some voxels, of priced sums of q, of w q**2 and w q, of losses, and of the log-probability."""
    images, channels, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    keep, g, q, ce, slope, more, work, spare = np.empty((8, TILE), f32)
    for image in range(images):
        for k in range(1 if joint else channels):
            yes = 1 if joint or labels.shape[1] > 1 or channels == 1 else k
            low_no, low_yes = lowered[k]
            for first in range(start, end, TILE):
                last = min(first + TILE, end)
                n = last - first
                x, other = logits[image, 1 if joint else k, first:last], logits[image, 0, first:last]
                label, here = labels[image, k % labels.shape[1], first:last], voxels_of(valid, image, first, last)
                _look_at_pair(x, other, joint, label, yes, here, scale, low_no, low_yes, keep, g, q, ce)
                slope[:], more[:] = ZERO, ZERO
                if of_q.size:
                    no, yes_more = of_q[image, k, 0], of_q[image, k, 1] - of_q[image, k, 0]
                    for i in range(n):
                        slope[i] = (no + yes_more * g[i]) * (ONE - q[i])
                if rise.size:
                    of_log_p = rise[image, k, first:last]
                    for i in range(n):
                        slope[i] -= of_log_p[i]
                if squares and of_q.size:
                    no, yes_more = of_squares[0, image, k, 0], of_squares[0, image, k, 1] - of_squares[0, image, k, 0]
                    linear_no = of_squares[1, image, k, 0]
                    linear_yes_more = of_squares[1, image, k, 1] - linear_no
                    for i in range(n):
                        rises = (no + yes_more * g[i]) * q[i] + linear_no + linear_yes_more * g[i]
                        more[i] = rises * (ONE - q[i])
                for t in range(len(of_terms)):
                    (of_wrong, of_missed), (wrong_number, missed_number) = terms[t]
                    of_no, of_yes = of_terms[t, image, k]
                    slopes_of_errors(work, q, of_missed, missed_number, n)
                    slopes_of_errors(spare, q, of_wrong, wrong_number, n)
                    for i in range(n):
                        same, inverse = of_no + (of_yes - of_no) * g[i], of_yes + (of_no - of_yes) * g[i]
                        more[i] += (same * work[i] + inverse * spare[i]) * (ONE - q[i])
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
                    slope[i] = keep[i] * (ONE - TWO * g[i]) * q[i] * (slope[i] + more[i])
                out, of_other = gradient[image, 1 if joint else k, first:last], gradient[image, 0, first:last]
                for i in range(n):
                    out[i] = slope[i]
                if joint:
                    for i in range(n):
                        of_other[i] = -slope[i]


@inline
def _look_at_classes(logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, score, total, q, ce):
    """Of some voxels: the class, whether they count, p of the others, and q and the cross-entropy of the true one."""
    label, here = labels[image, 0, first : first + n], voxels_of(valid, image, first, first + n)
    keep[:], top[:], total[:] = ONE, -INFINITE, ZERO
    for i in range(n):
        true[i] = label[i]
    if len(valid):
        for i in range(n):
            keep[i] = ONE if here[i] else ZERO
        for i in range(n):
            k = label[i]
            true[i] = k if here[i] else 0
    for c in range(len(p)):
        x, row, low = logits[image, c, first : first + n], p[c], lowered[c]
        for i in range(n):
            z = scale * x[i] - (low if true[i] == i32(c) else ZERO)
            row[i] = z if keep[i] > ZERO else ZERO
        for i in range(n):
            z, highest, at_truth = row[i], top[i], score[i]
            top[i] = z if z > highest else highest
            score[i] = z if true[i] == i32(c) else at_truth
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            e, at_truth = exp(row[i] - top[i]), ce[i]
            ce[i] = e if true[i] == i32(c) else at_truth
            row[i] = ZERO if true[i] == i32(c) else e
        for i in range(n):
            total[i] += row[i]
    for i in range(n):
        q[i] = total[i] / (total[i] + ce[i])
    for i in range(n):
        score[i] = log(total[i] + ce[i]) + top[i] - score[i]
    for i in range(n):
        total[i] = keep[i] / (total[i] + ce[i])
    for i in range(n):
        near, far = -log1p(-q[i]), score[i]
        ce[i] = near if q[i] < HALF else far
    for c in range(len(p)):
        row = p[c]
        for i in range(n):
            row[i] *= total[i]


@inline
def add_by_class(sums, x, w, true, n):
    """Add up w x by the true class."""
    if len(sums) > FEW:
        for i in range(n):
            sums[true[i]] += w[i] * x[i]
    else:
        for c in range(len(sums)):
            total = ZERO
            for i in range(n):
                y = w[i] * x[i]
                total += y if true[i] == i32(c) else ZERO
            sums[c] += total


@inline
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
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    p, true = np.empty((classes, tile), f32), np.empty(tile, np.int32)
    keep, top, score, total, q, ce = np.empty((6, tile), f32)
    one = np.ones(tile, f32)
    for image in range(images):
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look_at_classes(
                logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, score, total, q, ce
            )
            if log_p.size:
                out = log_p[image, 0, first : first + n]
                for i in range(n):
                    likely = -ce[i]
                    out[i] = likely if keep[i] > ZERO else ZERO
            if sums.size:
                of = sums[image, part]
                for c in range(classes):
                    of[0, c] += _total(one, one, p[c], n)
                add_by_class(of[1], q, keep, true, n)
                add_by_class(of[2], one, keep, true, n)
                if len(cost):
                    for i in range(n):
                        total[i] = ZERO
                    for c in range(classes):
                        row, of_c = p[c], cost[c]
                        for i in range(n):
                            right, elsewhere = ONE - q[i], row[i]
                            total[i] += of_c[true[i]] * (right if true[i] == i32(c) else elsewhere)
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
            for t in range(len(terms)):
                (of_wrong, of_missed), (wrong_number, missed_number) = terms[t]
                of = sums[image, part, 3 + (5 if len(weights) else 2) * squares + t]
                for c in range(classes):
                    of_errors(total, p[c], of_wrong, wrong_number, n)
                    for i in range(n):
                        elsewhere = total[i]
                        total[i] = ZERO if true[i] == i32(c) else elsewhere
                    of[c] += _total(keep, one, total, n)
                of_errors(total, q, of_missed, missed_number, n)
                add_by_class(of, total, keep, true, n)
            if losses.size:
                for j in range(len(powers)):
                    losses_of(total, score, q, ce, powers[j], bounds, n)
                    add_by_class(losses[image, part, j], total, keep, true, n)


@inline
def _slope(s, work, p, c, price, w, cost, of_cost, squares, terms, true, n):
    """The slope of the priced sums with respect to p of a class, where it is not the true one."""
    of_wrong = price[0, c]
    for i in range(n):
        s[i] = of_wrong
    if squares:
        rise, linear = price[2, c], price[4, c]
        for i in range(n):
            s[i] += w[i] * (linear + rise * p[i])
    for t in range(len(terms)):
        of_wrong = price[2 + 4 * squares + t, c]
        slopes_of_errors(work, p, terms[t, 0, 0], terms[t, 1, 0], n)
        for i in range(n):
            s[i] += of_wrong * w[i] * work[i]
    if len(cost):
        of_c = cost[c]
        for i in range(n):
            s[i] += of_cost[i] * of_c[true[i]]


@inline
def of_true(out, prices, true, n):
    """What is priced for the true class."""
    if len(prices) > FEW:
        for i in range(n):
            out[i] = prices[true[i]]
    else:
        for c in range(len(prices)):
            price = prices[c]
            for i in range(n):
                before = out[i]
                out[i] = price if true[i] == i32(c) else before


@loop
def class_gradient(
    part, parts, logits, labels, valid, weights, lowered, cost, scale, powers, bounds, squares, terms,
    price, of_losses, rise, gradient,
):  # fmt: skip
    """The gradient p (s - s·p - r), and of the true class r more; s is the slope by p, r that by log p of the true."""
    images, classes, voxels = logits.shape
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    tile = min(TILE, max(64, VALUES // classes // 16 * 16))
    p, true = np.empty((classes, tile), f32), np.empty(tile, np.int32)
    keep, top, r, fall, q, ce, s, w, of_cost, found, work = np.empty((11, tile), f32)
    for image in range(images):
        for first in range(start, end, tile):
            n = min(tile, end - first)
            _look_at_classes(logits, image, first, n, labels, valid, scale, lowered, p, true, keep, top, r, fall, q, ce)
            given = voxels_of(weights, image, first, first + n)
            w[:], r[:], fall[:], s[:] = ONE, ZERO, ZERO, ZERO
            if len(weights):
                for i in range(n):
                    w[i] = given[i]
            if of_losses.size:
                for j in range(len(powers)):
                    of_true(found, of_losses[image, j], true, n)
                    loss_slopes(s, work, q, ce, powers[j], bounds, n)
                    for i in range(n):
                        r[i] -= w[i] * found[i] * s[i]
                s[:] = ZERO
            if rise.size:
                of_log_p = rise[image, 0, first : first + n]
                for i in range(n):
                    r[i] += of_log_p[i]
            if price.size:
                of_true(of_cost, price[image, -1], true, n)
                for c in range(classes):
                    row = p[c]
                    _slope(s, work, row, c, price[image], w, cost, of_cost, squares, terms, true, n)
                    for i in range(n):
                        fall[i] += s[i] * row[i]
                of_true(s, price[image, 1], true, n)
                if squares:
                    of_true(found, price[image, 3], true, n)
                    for i in range(n):
                        s[i] += w[i] * found[i] * q[i]
                    of_true(found, price[image, 5], true, n)
                    for i in range(n):
                        s[i] += w[i] * found[i]
                for t in range(len(terms)):
                    of_true(found, price[image, 2 + 4 * squares + t], true, n)
                    slopes_of_errors(work, q, terms[t, 0, 1], terms[t, 1, 1], n)
                    for i in range(n):
                        s[i] -= w[i] * found[i] * work[i]
                if len(cost):
                    for i in range(n):
                        s[i] += of_cost[i] * cost[true[i], true[i]]
                for i in range(n):
                    found[i] = keep[i] * ((ONE - q[i]) * (s[i] * q[i] - fall[i]) + r[i] * q[i])
                for i in range(n):
                    r[i] += fall[i] + s[i] * (ONE - q[i])
            else:
                for i in range(n):
                    found[i] = keep[i] * r[i] * q[i]
            for c in range(classes):
                row, out = p[c], gradient[image, c, first : first + n]
                if price.size:
                    _slope(s, work, row, c, price[image], w, cost, of_cost, squares, terms, true, n)
                for i in range(n):
                    at_truth, elsewhere = found[i], row[i] * (s[i] - r[i])
                    out[i] = at_truth if true[i] == i32(c) else elsewhere
