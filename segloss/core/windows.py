"""Windows of a few voxels that slide over a map."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import SIZE
from segloss.core.compiled import loops_for
from segloss.core.function import Function
from segloss.core.inputs import sum_dtype
from segloss.core.opaque import as_operator, by_operator

Map = Float[Tensor, "B C *S"]
Channels = Float[Tensor, "K *S"]
Windows = Float[Tensor, "K D N"]


def window_mean(x: Map, size: int) -> Map:
    """The mean over a window around each voxel, of odd size; what lies outside of the map is 0 and counts."""
    if by_operator(x):
        return _operator(x, size)
    return _mean(x, size) if torch.compiler.is_compiling() else _Mean.apply(x, size)  # pyright: ignore[reportReturnType]


def _mean(x: Map, size: int) -> Map:
    for axis in range(2, x.ndim):
        n, part = x.shape[axis], x / size
        x = part.clone()
        for step in range(1, min(size // 2, n - 1) + 1):
            x.narrow(axis, step, n - step).add_(part.narrow(axis, 0, n - step))
            x.narrow(axis, 0, n - step).add_(part.narrow(axis, step, n - step))
    return x


class _Mean(Function):
    """Its own gradient, since a voxel is in the window of another as the other is in its own."""

    @staticmethod
    def forward(x: Tensor, size: int) -> Tensor:
        return _mean(x, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        ctx.size = inputs[1]

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        return _Mean.apply(prices[0], ctx.size), None  # pyright: ignore[reportReturnType]


def _slid(x: Tensor, size: int) -> Tensor:
    return _mean(x.contiguous(), size)


def _slid_back(price: Tensor, x: Tensor, size: int) -> Tensor:
    return _slid(price, size)


_operator = as_operator("window_mean", _slid, _slid_back, lambda x, size: x.new_empty(x.shape))


def windows(x: Channels, size: int) -> Windows:
    """The windows that lie inside of a map: D places in a window, N windows. In the type of sums."""
    axes = x.ndim - 1
    for axis in range(1, axes + 1):
        x = x.unfold(axis, size, 1)
    x = x.permute(0, *range(axes + 1, 2 * axes + 1), *range(1, axes + 1)).to(sum_dtype(x.device))
    return x.reshape(x.shape[0], size**axes, -1)


def window_scatter(p: Map, g: Map, size: int) -> Float[Tensor, "B C D D"]:
    """The scatter matrix of all windows of each image and class, those of `p` above those of `g`; `g` is constant.

    The windows are laid out block by block, and again on the way back.
    """
    maps = p.flatten(0, 1), g.detach().flatten(0, 1)
    run: Any = _scatter if torch.compiler.is_compiling() else _Scatter.apply
    run = _scatter_operator if by_operator(p) else run
    return run(*maps, size).unflatten(0, p.shape[:2])


def _scatter(p: Tensor, g: Tensor, size: int) -> Float[Tensor, "K D D"]:
    """The definition, for compilers and for second derivatives."""
    x = torch.cat([windows(p, size), windows(g, size)], 1)
    x = x - x.mean(2, keepdim=True)
    return x @ x.mT


def _value(p: Tensor, g: Tensor, size: int) -> Tensor:
    if loops := loops_for(p, "native_windows"):
        moment = loops.window_scatter(p, g, size)
    else:
        width = 2 * size ** (p.ndim - 1)
        moment = p.new_zeros(len(p), width, width, dtype=sum_dtype(p.device))
        for at, _ in _slabs(p, size):
            x = torch.cat([windows(p[at], size), windows(g[at], size)], 1)
            moment[at[0]] += x @ x.mT
    total, number = _totals(p, g, size)
    return moment - total @ total.mT / number


def _slope(price: Tensor, p: Tensor, g: Tensor, size: int) -> Tensor:
    total, number = _totals(p, g, size)
    price = (price + price.mT)[:, : total.shape[1] // 2]
    offset = price @ total / number
    if loops := loops_for(p, "native_windows"):
        return loops.window_scatter_slope(p, g, size, price, offset[:, :, 0])
    gradient = p.new_zeros(p.shape)
    for at, inner in _slabs(p, size):
        x = torch.cat([windows(p[at], size), windows(g[at], size)], 1)
        slope = torch.baddbmm(offset[at[0]], price[at[0]], x, beta=-1).unflatten(2, inner)
        for part, of_place in zip(_shifts(gradient[at], inner, size), slope.unbind(1), strict=True):
            part += of_place
    return gradient


def _like(p: Tensor, g: Tensor, size: int) -> Tensor:
    width = 2 * size ** (p.ndim - 1)
    return p.new_empty(p.shape[0], width, width, dtype=sum_dtype(p.device))


_scatter_operator = as_operator("window_scatter", _value, _slope, _like)


class _Scatter(Function):
    @staticmethod
    def forward(p: Tensor, g: Tensor, size: int) -> Tensor:
        return _value(p, g, size)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        p, g, ctx.size = inputs
        ctx.save_for_backward(p, g)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        p, g = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *torch.autograd.grad(_scatter(p, g, ctx.size), p, prices[0], create_graph=True), None, None
        return _slope(prices[0], p, g, ctx.size), None, None


def _totals(p: Channels, g: Channels, size: int) -> tuple[Float[Tensor, "K D 1"], int]:
    """The sum of each place over all windows, and their number."""
    totals = []
    for x in (p, g):
        x = x.to(sum_dtype(x.device))
        for axis in range(x.ndim - 1, 0, -1):
            x = x.unfold(axis, x.shape[axis] - size + 1, 1).sum(-1)
        totals.append(x.reshape(len(x), -1, 1))
    return torch.cat(totals, 1), math.prod(n - size + 1 for n in p.shape[1:])


def _slabs(x: Channels, size: int) -> Iterator[tuple[tuple[slice, slice], torch.Size]]:
    """Some whole maps or some rows of one, as many as fit a cache with their windows, and the number of windows."""
    inner = torch.Size(n - size + 1 for n in x.shape[1:])
    width = 2 * size ** (x.ndim - 1)
    room = SIZE.get(x.device.type, SIZE["cuda"]) // width
    maps = max(1, room // inner.numel())
    rows = max(1, room // (maps * inner[1:].numel()))
    for first in range(0, len(x), maps):
        for row in range(0, inner[0], rows):
            here = min(rows, inner[0] - row)
            yield (slice(first, first + maps), slice(row, row + here + size - 1)), torch.Size((here, *inner[1:]))


def _shifts(x: Channels, inner: torch.Size, size: int) -> Iterator[Tensor]:
    """The voxels at each place of the windows, as views, in the order of `windows`."""
    for place in itertools.product(range(size), repeat=len(inner)):
        yield x[(slice(None), *(slice(at, at + n) for at, n in zip(place, inner, strict=True)))]
