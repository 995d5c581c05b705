"""What numba compiles for the CPU: the functions of numbers that its loops are made of.

A loop over an array that begins at 0 becomes vector instructions, exponential and logarithm included, which a call of
the C library would not. So these are polynomials here, as exact as float32 is.
"""

# pyright: reportCallIssue=false

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

loop = njit(cache=True, nogil=True, error_model="numpy", fastmath={"nsz", "arcp", "contract", "reassoc"})
"""Compiles a function: sums in any order, but what is infinite or not a number stays so."""
inline = njit(inline="always")
"""Writes a function into the loops that call it, which takes as long to compile as they."""
ORDERED: Any = {"forceinline": True, "error_model": "numpy", "fastmath": {"nsz", "contract"}}
scalar = njit(cache=True, **ORDERED)
"""Compiles a function of numbers, whose operations keep their order."""

f32, i32 = np.float32, np.int32
ZERO, ONE, HALF, TWO = f32(0), f32(1), f32(0.5), f32(2)
PER_LOG2, LOG2_HIGH, LOG2_LOW = f32(1.442695041), f32(0.693359375), f32(-2.12194440e-4)
LEAST, MOST, INFINITE, EPS, TINY = f32(-87.3), f32(88.3), f32(np.inf), np.finfo(f32).eps, f32(1e-30)
ROUND = f32(3 << 22)
"""Beside it float32 holds integers alone, the last bits of which are theirs."""
C2, C3, C4, C5, C6 = f32(0.5), f32(0.16666577), f32(0.041666465), f32(0.0083631756), f32(0.0013933644)
S1, S2, S3, S4, S5, S6 = f32(1 / 3), f32(1 / 5), f32(1 / 7), f32(1 / 9), f32(1 / 11), f32(1 / 13)


def _bits(kind: Any, other: Any, of: Any) -> Any:
    """The same bits as a number of another type."""

    @intrinsic
    def same(context: Any, x: Any) -> Any:
        return kind(other), lambda _, builder, __, args: builder.bitcast(args[0], of)

    return same


of_bits = _bits(types.float32, types.int32, ir.FloatType())
bits_of = _bits(types.int32, types.float32, ir.IntType(32))


@intrinsic
def where(_: Any, condition: Any, x: Any, y: Any) -> Any:
    """x or y, of one type, without a branch."""
    return x(types.boolean, x, x), lambda _, builder, __, args: builder.select(*args)


@scalar
def exp_of_near(x):
    """The exponential of what is so near to 0 that float32 holds it."""
    y = x * PER_LOG2 + ROUND  # the last bits are those of the nearest integer
    k = y - ROUND
    r = x - k * LOG2_HIGH - k * LOG2_LOW
    e = (((C6 * r + C5) * r + C4) * r + C3) * r + C2
    return (e * r * r + r + ONE) * of_bits((bits_of(y) << i32(23)) + i32(127 << 23))


@scalar
def exp(x):
    """The exponential, 0 below what float32 holds."""
    return where(x < LEAST, ZERO, exp_of_near(where(x > MOST, MOST, x)))


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
    return where(x == x, y, x)


@scalar
def log1p_of_any(u):
    """log(1 + u), for u from 0."""
    x = ONE + u
    return log(x) + (u - (x - ONE)) / x
