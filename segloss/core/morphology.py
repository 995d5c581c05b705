"""Soft morphology: erosion, dilation, opening and skeleton of values.

A window reaches neither beyond the image nor to voxels that are not valid; values there are left undefined. Extremes
come from shifted slices, one axis at a time, those of dilations and soft skeletons on the CPU from loops. Their
gradient is that of pooling, also among equal values: the first voxel of a window has it, and axes that tie in an
erosion share it.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped
from torch import Tensor

from segloss.core.blocks import SIZE
from segloss.core.compiled import loops_for
from segloss.core.function import Function
from segloss.core.opaque import by_operator

Map = Shaped[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"] | None
Loops = tuple[Callable[..., Map], Callable[..., Map]]
"""What finds a value, and what finds a gradient."""


def erosion(y: Map, valid: Valid = None) -> Map:
    """The least value of each voxel and its neighbours along the axes."""
    return _run(_Erosion(), y, valid)


def dilation(y: Map, valid: Valid = None, *, width: int = 3) -> Map:
    """The largest value in a box of `width` voxels, an odd number, around each."""
    return _run(_Dilation(width), y, valid)


def opening(y: Map, valid: Valid = None) -> Map:
    """The dilation of the erosion."""
    return dilation(erosion(y, valid), valid)


def soft_skeleton(y: Map, iterations: int, valid: Valid = None) -> Map:
    """What openings take away from a map and from each of its erosions, joined; for values from 0 to 1.

    With I₀ = y, Iₖ₊₁ = erosion(Iₖ) and Δₖ = max(Iₖ - opening(Iₖ), 0) it is 1 - ∏ (1 - Δₖ) over k = 0, …, iterations.
    """
    return 1 - _run(_Remainder(iterations), y, valid)


class _Work:
    """Memory for maps and their views, used again and again: fresh ones cost as much as the work in them."""

    def __init__(self, like: Tensor) -> None:
        self.like, self.used = like, 0
        self.arrays: list[tuple[Tensor, dict[tuple[int, ...], Map]]] = []
        self.cuts: dict[int, tuple[Map, dict[int, tuple[Map, Map, Map]]]] = {}

    def map(self, shape: Sequence[int]) -> Map:
        """An array that nobody uses."""
        shape, size = tuple(shape), math.prod(shape)
        if self.used == len(self.arrays):
            self.arrays.append((self.like.new_empty(size), {}))
        elif self.arrays[self.used][0].numel() < size:
            self.arrays[self.used] = self.like.new_empty(size), {}
        array, views = self.arrays[self.used]
        self.used += 1
        if shape not in views:
            view = views[shape] = array[:size].view(shape)
            self.cuts[id(view)] = view, {}
        return views[shape]

    def cut(self, y: Map, axis: int) -> tuple[Map, Map, Map]:
        """A map without its last slice along an axis, without its first, and its last."""
        cuts = self.cuts[id(y)][1] if id(y) in self.cuts else {}
        if axis not in cuts:
            n = y.shape[axis] - 1
            cuts[axis] = y.narrow(axis, 0, n), y.narrow(axis, 1, n), y.narrow(axis, n, 1)
        return cuts[axis]

    @contextmanager
    def frame(self) -> Iterator[None]:
        """What is handed out within is free afterwards."""
        used = self.used
        yield
        self.used = used


class _Operation(Protocol):
    """An operation on a part of the rows; its gradient from that of its value, which is used up; its definition.

    Where it has loops for a map, they find the value and the gradient of all rows. Its number is the width of a window,
    or how often it is repeated.
    """

    looks_back: ClassVar[bool]
    """Whether the gradient needs the value."""

    @property
    def number(self) -> int: ...

    def value(self, y: Map, valid: Valid, work: _Work) -> Map: ...
    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: _Work) -> Map: ...
    def plain(self, y: Map, valid: Valid) -> Map: ...
    def loops(self, y: Map) -> Loops | None: ...


def _run(operation: _Operation, y: Map, valid: Valid) -> Map:
    if by_operator(y):
        return _operator(y, valid, type(operation).__name__, operation.number)
    if not torch.compiler.is_compiling():
        return _Rows.apply(y, valid, operation)  # pyright: ignore[reportReturnType]
    values = y if y.is_floating_point() else y.float()
    return operation.plain(values, valid).to(y.dtype)


def _value(operation: _Operation, y: Map, valid: Valid) -> Map:
    """An operation, on a few images or channels at a time."""
    if loops := operation.loops(y):
        return loops[0](y, valid)
    out, work = torch.empty_like(y), _Work(y)
    for at in _rows(y):
        with work.frame():
            out[at] = operation.value(y[at], None if valid is None else valid[at[0]], work)
    return out


def _slope(operation: _Operation, y: Map, valid: Valid, value: Map | None, price: Map) -> Map:
    """Its gradient, which computes what lies in between again."""
    if loops := operation.loops(y):
        return loops[1](y, valid, value, price)
    gradient, work = torch.empty_like(y), _Work(y)
    for at in _rows(y):
        here, there = (None if valid is None else valid[at[0]]), (None if value is None else value[at])
        with work.frame():
            gradient[at] = operation.slope(y[at], here, there, price[at].clone(), work)
    return gradient


class _Rows(Function):
    @staticmethod
    def forward(y: Map, valid: Valid, operation: _Operation) -> Map:
        return _value(operation, y, valid)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Map) -> None:
        y, valid, ctx.operation = inputs
        ctx.save_for_backward(y, valid, output if ctx.operation.looks_back else None)

    @staticmethod
    def backward(ctx: Any, *prices: Map) -> tuple[Map | None, ...]:
        (price,), (y, valid, value) = prices, ctx.saved_tensors
        if torch.is_grad_enabled():
            again = ctx.operation.plain(y, valid)
            return *torch.autograd.grad(again, y, price, create_graph=True), None, None
        return _slope(ctx.operation, y, valid, value, price), None, None


@torch.library.custom_op("segloss::morphology", mutates_args=())
def _operator(y: Tensor, valid: Tensor | None, kind: str, number: int) -> Tensor:
    """An operation as one operator to a compiler, which would write a map for each step of it."""
    return _value(_KINDS[kind](number), y.contiguous(), valid)


@_operator.register_fake
def _(y: Tensor, valid: Tensor | None, kind: str, number: int) -> Tensor:
    return y.new_empty(y.shape)


@torch.library.custom_op("segloss::slope_of_morphology", mutates_args=())
def _operator_slope(
    y: Tensor, valid: Tensor | None, value: Tensor | None, price: Tensor, kind: str, number: int
) -> Tensor:
    return _slope(_KINDS[kind](number), y.contiguous(), valid, value, price.contiguous())


@_operator_slope.register_fake
def _(y: Tensor, *_: Any) -> Tensor:
    return y.new_empty(y.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, valid, *ctx.told = inputs
    ctx.save_for_backward(y, valid, output if _KINDS[ctx.told[0]].looks_back else None)


def _back(ctx: Any, price: Tensor) -> tuple[Tensor | None, ...]:
    return _operator_slope(*ctx.saved_tensors, price, *ctx.told), None, None, None


torch.library.register_autograd("segloss::morphology", _back, setup_context=_keep)


def _rows(y: Map) -> Iterator[tuple[slice, slice]]:
    """Parts that fit a cache: some whole images, or some channels of one."""
    images, classes, voxels = y.shape[0], y.shape[1], math.prod(y.shape[2:])
    size = 4 * SIZE.get(y.device.type, SIZE["cuda"]) // (voxels * y.element_size())
    channels = min(classes, max(1, size))
    rows = max(1, size // classes)
    for row in range(0, images, rows):
        for channel in range(0, classes, channels):
            yield slice(row, row + rows), slice(channel, channel + channels)


@dataclass(frozen=True)
class _Erosion:
    looks_back: ClassVar[bool] = False
    number: int = 3

    def value(self, y: Map, valid: Valid, work: _Work) -> Map:
        return _eroded(y, valid, work.map(y.shape), work)

    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: _Work) -> Map:
        y, price = _with(y, valid, _highest(y)), _with(of_value, valid, 0)
        gradient = work.map(y.shape).zero_()
        with work.frame():
            along = [_extremes(y, axis, torch.minimum, work.map(y.shape), work) for axis in _axes(y)]
            least = along[:1]
            for lowest in along[1:-1]:
                least.append(torch.minimum(least[-1], lowest, out=work.map(y.shape)))
            for axis, lowest in reversed([*enumerate(along, 2)][1:]):
                with work.frame():
                    twice, tie = work.map(y.shape), work.map(y.shape)
                    torch.lt(lowest, least[axis - 3], out=twice)
                    torch.le(lowest, least[axis - 3], out=tie)
                    twice.add_(tie).mul_(price)
                    price.sub_(twice, alpha=0.5)
                    gradient.add_(_routed(twice, y, lowest, axis, work), alpha=0.5)
            gradient += _routed(price, y, along[0], 2, work)
        return gradient

    def plain(self, y: Map, valid: Valid) -> Map:
        y = _with(y, valid, torch.inf)
        along = [-_pool(-y, [3 if axis == other else 1 for other in _axes(y)]) for axis in _axes(y)]
        return reduce(torch.minimum, along)

    def loops(self, y: Map) -> None:
        return None


@dataclass(frozen=True)
class _Dilation:
    looks_back: ClassVar[bool] = False
    number: int = 3

    def value(self, y: Map, valid: Valid, work: _Work) -> Map:
        y, free = _with(y, valid, _lowest(y)), [work.map(y.shape), work.map(y.shape)]
        for axis in self.order(y):
            y, free = _extremes(y, axis, torch.maximum, free[0], work), free[::-1]
        return y

    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: _Work) -> Map:
        return self.routed(_with(of_value, valid, 0), self.along(y, valid, work), work)

    def plain(self, y: Map, valid: Valid) -> Map:
        return _pool(_with(y, valid, -torch.inf), [self.number] * (y.ndim - 2))

    def loops(self, y: Map) -> Loops | None:
        if self.number == 1 or not (native := loops_for(y, "native_dilation")):
            return None

        def slope(y: Map, valid: Valid, value: Any, of_value: Map) -> Map:
            return native.dilation_slope(_with(y, valid, _lowest(y)), self.order(y), _with(of_value, valid, 0))

        return lambda y, valid: native.dilation(_with(y, valid, _lowest(y)), self.order(y)), slope

    def order(self, y: Map) -> list[int]:
        """The axes along which maxima of three are taken, one after the other."""
        return [axis for axis in reversed(_axes(y)) for _ in range(self.number // 2)]

    def along(self, y: Map, valid: Valid, work: _Work) -> list[Map]:
        """The map, its maxima along the first axis in order, theirs along the next, and so on."""
        maxima = [_with(y, valid, _lowest(y))]
        for axis in self.order(y):
            maxima.append(_extremes(maxima[-1], axis, torch.maximum, work.map(y.shape), work))
        return maxima

    def routed(self, of_value: Map, along: list[Map], work: _Work) -> Map:
        """The gradient of the map from that of the last of its maxima, which is used up."""
        for axis, (y, maxima) in reversed([*zip(self.order(of_value), pairwise(along), strict=True)]):
            of_value = _routed(of_value, y, maxima, axis, work)
        return of_value


@dataclass(frozen=True)
class _Remainder:
    """What no opening takes away, ∏ (1 - Δₖ)."""

    looks_back: ClassVar[bool] = True
    number: int

    def value(self, y: Map, valid: Valid, work: _Work) -> Map:
        rest, eroded, free = work.map(y.shape).fill_(1), y, [work.map(y.shape), work.map(y.shape)]
        for _ in range(self.number + 1):
            further = _eroded(eroded, valid, free[0], work)
            with work.frame():
                opened = _Dilation().value(further, valid, work)
                lost = _lost(eroded, opened, valid, out=opened)
                rest *= torch.sub(1, lost, out=lost)
            eroded, free = further, free[::-1]
        return rest

    def slope(self, y: Map, valid: Valid, value: Any, of_value: Map, work: _Work) -> Map:
        """From the last erosion to the first: a few are kept, and those between are computed again."""
        step, kept = max(math.isqrt(self.number) + 1, 5), [y]
        for _ in range(self.number // step):
            with work.frame():
                kept.append(_erosions(kept[-1], valid, step, work)[-1].clone())
        slope, of_lost = work.map(y.shape).zero_(), work.map(y.shape)
        for first in reversed(range(0, self.number + 1, step)):
            with work.frame():
                between = _erosions(kept.pop(), valid, min(step, self.number + 1 - first), work)
                for eroded, further in reversed([*pairwise(between)]):
                    with work.frame():
                        along = _Dilation().along(further, valid, work)
                        lost = _lost(eroded, along[-1], valid, out=work.map(y.shape))
                        torch.sub(1, lost, out=of_lost)
                        torch.div(value, of_lost, out=of_lost).nan_to_num_(1.0)  # 0 / 0: all is lost here, none before
                        of_lost.mul_(of_value).mul_(torch.gt(lost, 0, out=lost))
                        slope += _Dilation().routed(lost.copy_(of_lost), along, work)
                    with work.frame():
                        torch.sub(_Erosion().slope(eroded, valid, None, slope, work), of_lost, out=slope)
        return slope

    def plain(self, y: Map, valid: Valid) -> Map:
        rest = torch.ones_like(y)
        for _ in range(self.number + 1):
            further = _Erosion().plain(y, valid)
            opened = _Dilation().plain(further, valid)
            rest = rest * (1 - F.relu(_with(y, valid, 0) - _with(opened, valid, 0)))
            y = further
        return rest

    def loops(self, y: Map) -> Loops | None:
        if not (native := loops_for(y, "native_morphology", torch.float32, torch.uint8)):
            return None

        def slope(y: Map, valid: Valid, value: Any, of_value: Map) -> Map:
            return native.remainder_slope(y, valid, self.number, value, of_value)

        return lambda y, valid: native.remainder(y, valid, self.number), slope


_KINDS = {kind.__name__: kind for kind in (_Erosion, _Dilation, _Remainder)}


def _eroded(y: Map, valid: Valid, out: Map, work: _Work) -> Map:
    y = _with(y, valid, _highest(y))
    first, *others = _axes(y)
    _extremes(y, first, torch.minimum, out, work)
    for axis in others:
        (former, later, _), (out_former, out_later, _) = work.cut(y, axis), work.cut(out, axis)
        torch.minimum(out_former, later, out=out_former)
        torch.minimum(out_later, former, out=out_later)
    return out


def _erosions(y: Map, valid: Valid, number: int, work: _Work) -> list[Map]:
    """The map, and what is left of it after each erosion."""
    found = [y]
    for _ in range(number):
        found.append(_eroded(found[-1], valid, work.map(y.shape), work))
    return found


def _lost(y: Map, opened: Map, valid: Valid, *, out: Map) -> Map:
    """By how much a map exceeds its opening."""
    lost = torch.sub(y, torch.minimum(y, opened, out=out), out=out)
    return lost if valid is None else lost.masked_fill_(~valid, 0)


def _extremes(y: Map, axis: int, pick: Callable[..., Tensor], out: Map, work: _Work) -> Map:
    """The extremes of each voxel and its neighbours along an axis."""
    (former, later, last), (out_former, out_later, out_last) = work.cut(y, axis), work.cut(out, axis)
    pick(former, later, out=out_former)
    out_last.copy_(last)
    pick(out_later, former, out=out_later)
    return out


def _routed(price: Map, y: Map, extremes: Map, axis: int, work: _Work) -> Map:
    """The gradient of a map from that of its extremes, which is used up: the first of equal values has it."""
    slope = work.map(y.shape)
    (former, _, _), (_, later_extremes, _) = work.cut(y, axis), work.cut(extremes, axis)
    (price_former, price_later, _), (slope_former, slope_later, _) = work.cut(price, axis), work.cut(slope, axis)
    with work.frame():
        of_former = torch.eq(former, later_extremes, out=work.map(former.shape)).mul_(price_later)
        price_later -= of_former
        price -= torch.eq(y, extremes, out=slope).mul_(price)
        slope_former += of_former
        slope_later += price_former
    return slope


def _pool(y: Map, window: list[int]) -> Map:
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[y.ndim - 3]
    return pool(y, window, stride=1, padding=[size // 2 for size in window])


def _with(y: Map, valid: Valid, fill: float) -> Map:
    return y if valid is None else y.masked_fill(~valid, fill)


def _axes(y: Map) -> range:
    return range(2, y.ndim)


def _highest(y: Map) -> float:
    return torch.inf if y.is_floating_point() else torch.iinfo(y.dtype).max


def _lowest(y: Map) -> float:
    return -torch.inf if y.is_floating_point() else torch.iinfo(y.dtype).min
