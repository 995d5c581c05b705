"""The least of some numbers up to 0, on the CPU: counted by their first bits, and only those at the border sorted."""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.native import TILE
from segloss.core.native_math import ZERO, bits_of, f32, i32, loop, where
from segloss.core.native_parts import parts_of, share
from segloss.core.threads import in_threads

REST = 19
"""Bits of a number that do not count for its size."""
SIZES, INFINITE = 2 ** (31 - REST), 0x7F800000 >> REST


@loop
def sizes(part, parts, x, found):
    """Count, of some numbers, those of each size: the first bits without the sign."""
    some, row = x[part * len(x) // parts : (part + 1) * len(x) // parts], found[part]
    for i in range(len(some)):
        row[np.uint32((bits_of(some[i]) & i32(0x7FFFFFFF)) >> i32(REST))] += 1


@loop
def larger(part, parts, x, size, starts, found, totals):
    """Add up, of some numbers, those of a larger size, and gather those of this size."""
    some, at, total = x[part * len(x) // parts : (part + 1) * len(x) // parts], starts[part], 0.0
    for first in range(0, len(some), TILE):
        tile = some[first : first + TILE]
        for i in range(len(tile)):
            other = (bits_of(tile[i]) & i32(0x7FFFFFFF)) >> i32(REST)
            total += where(other > size, tile[i], ZERO)
        for i in range(len(tile)):
            if (bits_of(tile[i]) & i32(0x7FFFFFFF)) >> i32(REST) == size:
                found[at] = tile[i]
                at += 1
    totals[part] = total


def least(x: Float[Tensor, " n"], number: int) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the least, the greatest of these, and the share of those that tie with it that they have."""
    given, threads = x.detach().numpy(), torch.get_num_threads()
    parts = parts_of(x, threads)
    counts = np.zeros((parts, SIZES), np.int64)
    in_threads(threads, parts, sizes, given, counts)
    behind = counts.sum(0)[::-1].cumsum()
    place = int(np.searchsorted(behind, number))
    size, before = SIZES - 1 - place, int(behind[place - 1]) if place else 0
    ends = counts[:, size].cumsum()
    found, totals = np.empty(ends[-1], f32), np.empty(parts)
    in_threads(threads, parts, larger, given, np.int32(size), ends - counts[:, size], found, totals)
    found = np.partition(found, number - before - 1)
    some = found[: number - before]
    total = totals.sum() + some.sum(dtype=np.float64)
    if size >= INFINITE and np.isnan(found).any():
        total = np.nan
    share = np.count_nonzero(some == some[-1]) / max(1, np.count_nonzero(found == some[-1]))
    return torch.tensor(total), torch.tensor(some[-1]), torch.tensor(share, dtype=x.dtype)


@loop
def _priced(part, parts, x, border, price, at_border, found):
    """The price of some numbers up to one, and that of those that tie with it; 0 for others."""
    start, end = part * len(x) // parts, (part + 1) * len(x) // parts
    some, out = x[start:end], found[start:end]
    for i in range(len(some)):
        out[i] = where(some[i] < border, price, where(some[i] == border, at_border, ZERO))


def priced_least(
    x: Float[Tensor, "B K N"], border: Float[Tensor, ""], price: float, at_border: float, out: Float[Tensor, "B K N"]
) -> None:
    """Write a price for what is below the border, another for what ties with it, 0 for the others; even over `x`."""
    given = x.detach().flatten().numpy(), f32(border), f32(price), f32(at_border), out.view(-1).numpy()
    share(x, _priced, *given)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    least(torch.zeros(1), 1)
