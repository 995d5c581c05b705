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
    out[:] = ONE
    for k in range(2):
        if powers[k] != ZERO:
            _powers(work, q if k == 0 else ce, powers[k], EPS if powers[k] < ONE else ZERO, n)
            for i in range(n):
                out[i] *= work[i]


@inline
def loss_slopes(out, work, q, ce, powers, bounds, n):
    """Its derivative with respect to the cross-entropy."""
    of_q, of_ce = powers
    for i in range(n):
        rise = of_ce * q[i] + of_q * (ONE - q[i]) * ce[i]
        rise = of_ce if of_q == ZERO else rise
        out[i] = of_q * (ONE - q[i]) if of_ce == ZERO else rise
    for k in range(2):
        if powers[k] != ZERO and powers[k] != ONE:
            _powers(work, q if k == 0 else ce, powers[k] - ONE, EPS if powers[k] < ONE else ZERO, n)
            for i in range(n):
                out[i] *= work[i]
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
def look_at_labels(labels, valid, true, keep, n):
    """The class of some voxels, 0 where ignored, and whether they count."""
    keep[:] = ONE
    for i in range(n):
        true[i] = labels[i]
    if len(valid):
        for i in range(n):
            keep[i] = ONE if valid[i] else ZERO
        for i in range(n):
            label = labels[i]
            true[i] = label if valid[i] else 0


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
