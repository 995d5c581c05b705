"""The operations of soft morphology: extremes of neighbours, from shifted slices, one axis at a time.

Their gradient is that of pooling, also among equal values: the first voxel of a window has it, and axes that tie in an
erosion share it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any, ClassVar, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.scratch import Map, Work

Valid = Bool[Tensor, "B 1 *S"] | None
Loops = tuple[Callable[..., Map], Callable[..., Map]]
"""What finds a value, and what finds a gradient."""


class Operation(Protocol):
    """An operation on a part of the rows; its number is the width of a window, or how often it is repeated."""

    looks_back: ClassVar[bool]
    """Whether the gradient needs the value."""

    @property
    def number(self) -> int: ...

    def value(self, y: Map, valid: Valid, work: Work) -> Map:
        """What becomes of a map, step by step."""
        ...

    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: Work) -> Map:
        """The gradient from that of the value, which is used up."""
        ...

    def plain(self, y: Map, valid: Valid) -> Map:
        """The definition, for compilers and for second derivatives."""
        ...

    def loops(self, y: Map) -> Loops | None:
        """Loops that find the value and the gradient of all rows, where there are any for a map."""
        ...


@dataclass(frozen=True)
class Erosion:
    """The least value of each voxel and its neighbours along the axes."""

    looks_back: ClassVar[bool] = False
    number: int = 3

    def value(self, y: Map, valid: Valid, work: Work) -> Map:
        return _eroded(y, valid, work.map(y.shape), work)

    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: Work) -> Map:
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
class Dilation:
    """The largest value in a box of voxels."""

    looks_back: ClassVar[bool] = False
    number: int = 3

    def value(self, y: Map, valid: Valid, work: Work) -> Map:
        y, free = _with(y, valid, _lowest(y)), [work.map(y.shape), work.map(y.shape)]
        for axis in self.order(y):
            y, free = _extremes(y, axis, torch.maximum, free[0], work), free[::-1]
        return y

    def slope(self, y: Map, valid: Valid, value: Map | None, of_value: Map, work: Work) -> Map:
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

    def along(self, y: Map, valid: Valid, work: Work) -> list[Map]:
        """The map, its maxima along the first axis in order, theirs along the next, and so on."""
        maxima = [_with(y, valid, _lowest(y))]
        for axis in self.order(y):
            maxima.append(_extremes(maxima[-1], axis, torch.maximum, work.map(y.shape), work))
        return maxima

    def routed(self, of_value: Map, along: list[Map], work: Work) -> Map:
        """The gradient of the map from that of the last of its maxima, which is used up."""
        for axis, (y, maxima) in reversed([*zip(self.order(of_value), pairwise(along), strict=True)]):
            of_value = _routed(of_value, y, maxima, axis, work)
        return of_value


@dataclass(frozen=True)
class Remainder:
    """What no opening takes away, ∏ (1 - Δₖ)."""

    looks_back: ClassVar[bool] = True
    number: int

    def value(self, y: Map, valid: Valid, work: Work) -> Map:
        rest, eroded, free = work.map(y.shape).fill_(1), y, [work.map(y.shape), work.map(y.shape)]
        for _ in range(self.number + 1):
            further = _eroded(eroded, valid, free[0], work)
            with work.frame():
                opened = Dilation().value(further, valid, work)
                lost = _lost(eroded, opened, valid, out=opened)
                rest *= torch.sub(1, lost, out=lost)
            eroded, free = further, free[::-1]
        return rest

    def slope(self, y: Map, valid: Valid, value: Any, of_value: Map, work: Work) -> Map:
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
                        along = Dilation().along(further, valid, work)
                        lost = _lost(eroded, along[-1], valid, out=work.map(y.shape))
                        torch.sub(1, lost, out=of_lost)
                        torch.div(value, of_lost, out=of_lost).nan_to_num_(1.0)  # 0 / 0: all is lost here, none before
                        of_lost.mul_(of_value).mul_(torch.gt(lost, 0, out=lost))
                        slope += Dilation().routed(lost.copy_(of_lost), along, work)
                    with work.frame():
                        torch.sub(Erosion().slope(eroded, valid, None, slope, work), of_lost, out=slope)
        return slope

    def plain(self, y: Map, valid: Valid) -> Map:
        rest = torch.ones_like(y)
        for _ in range(self.number + 1):
            further = Erosion().plain(y, valid)
            opened = Dilation().plain(further, valid)
            rest = rest * (1 - F.relu(_with(y, valid, 0) - _with(opened, valid, 0)))
            y = further
        return rest

    def loops(self, y: Map) -> Loops | None:
        if not (native := loops_for(y, "native_morphology", torch.float32, torch.uint8)):
            return None

        def slope(y: Map, valid: Valid, value: Any, of_value: Map) -> Map:
            return native.remainder_slope(y, valid, self.number, value, of_value)

        return lambda y, valid: native.remainder(y, valid, self.number), slope


KINDS = {kind.__name__: kind for kind in (Erosion, Dilation, Remainder)}


def _eroded(y: Map, valid: Valid, out: Map, work: Work) -> Map:
    y = _with(y, valid, _highest(y))
    first, *others = _axes(y)
    _extremes(y, first, torch.minimum, out, work)
    for axis in others:
        (former, later, _), (out_former, out_later, _) = work.cut(y, axis), work.cut(out, axis)
        torch.minimum(out_former, later, out=out_former)
        torch.minimum(out_later, former, out=out_later)
    return out


def _erosions(y: Map, valid: Valid, number: int, work: Work) -> list[Map]:
    """The map, and what is left of it after each erosion."""
    found = [y]
    for _ in range(number):
        found.append(_eroded(found[-1], valid, work.map(y.shape), work))
    return found


def _lost(y: Map, opened: Map, valid: Valid, *, out: Map) -> Map:
    """By how much a map exceeds its opening."""
    lost = torch.sub(y, torch.minimum(y, opened, out=out), out=out)
    return lost if valid is None else lost.masked_fill_(~valid, 0)


def _extremes(y: Map, axis: int, pick: Callable[..., Tensor], out: Map, work: Work) -> Map:
    """The extremes of each voxel and its neighbours along an axis."""
    (former, later, last), (out_former, out_later, out_last) = work.cut(y, axis), work.cut(out, axis)
    pick(former, later, out=out_former)
    out_last.copy_(last)
    pick(out_later, former, out=out_later)
    return out


def _routed(price: Map, y: Map, extremes: Map, axis: int, work: Work) -> Map:
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
