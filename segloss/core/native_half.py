"""Numbers of half precision in loops, which compute in float32: read from their bits, and rounded to them.

numba has no such types for the CPU. The bits of a bfloat16 are an unsigned integer to a loop, those of a float16 a
signed one.
"""

# pyright: reportCallIssue=false

from typing import Any

import numpy as np
import torch
from numba import types
from numba.extending import overload
from torch import Tensor

from segloss.core.native_math import HALF, ORDERED, bits_of, f32, i32, of_bits, where

BITS = {torch.bfloat16: np.uint16, torch.float16: np.int16}
MAGNITUDE, SIGN, EXPONENT = i32(0x7FFF), i32(0x8000), i32(0x7F800000)
"""Bits of a number of half precision, and of float32."""
FACTOR, ABOVE, TOP, NORMAL = f32(2.0**112), f32(2.0**16), f32(65520), f32(2.0**-14)
"""Of float16: what its bits as those of a float32 are too small by, and bounds of what is rounded to it."""


def array_of(x: Tensor) -> np.ndarray:
    """A map as loops read and write it, which is not copied."""
    x = x.detach()
    return x.view(torch.int16).numpy().view(BITS[x.dtype]) if x.dtype in BITS else x.numpy()


def as_f32(x: Any) -> Any:
    """A number that a loop has read, as float32; a loop calls what `_as_f32` chooses."""
    raise NotImplementedError("only in a loop that numba compiles")


def as_in(x: Any, out: Any) -> Any:
    """A float32 as it is to be written to an array; a loop calls what `_as_in` chooses."""
    raise NotImplementedError("only in a loop that numba compiles")


@overload(as_f32, jit_options=ORDERED)
def _as_f32(x):
    if x == types.uint16:
        return lambda x: of_bits(i32(x) << i32(16))
    if x == types.int16:
        return _of_float16
    return lambda x: x


@overload(as_in, jit_options=ORDERED)
def _as_in(x, out):
    if out.dtype == types.uint16:
        return _to_bfloat16
    if out.dtype == types.int16:
        return _to_float16
    return lambda x, out: x


def _of_float16(x):
    size = of_bits((i32(x) & MAGNITUDE) << i32(13)) * FACTOR
    bits = bits_of(size) | where(size >= ABOVE, EXPONENT, i32(0))
    return of_bits(bits | ((i32(x) & SIGN) << i32(16)))


def _to_bfloat16(x, out):
    bits = bits_of(x)
    rounded = (bits + MAGNITUDE + ((bits >> i32(16)) & i32(1))) >> i32(16)
    return np.uint16(where(x == x, i32(rounded), i32(0x7FC0)))


def _to_float16(x, out):
    size = abs(x)
    bits = bits_of(size)
    rounded = (bits - i32(112 << 23) + i32(0xFFF) + ((bits >> i32(13)) & i32(1))) >> i32(13)
    rounded = where(size < NORMAL, i32(bits_of(size + HALF) - bits_of(HALF)), i32(rounded))
    rounded = where(size < TOP, rounded, i32(0x7C00))
    rounded = where(size == size, rounded, i32(0x7E00))
    return np.int16(rounded | ((bits_of(x) >> i32(16)) & SIGN))
