"""Soft morphology: erosion, dilation, opening and skeleton of values.

A window reaches neither beyond the image nor to voxels that are not valid; values there are left undefined. Dilations
and soft skeletons are found by loops on the CPU, all else by the steps of `extremes.py`, some rows at a time.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from segloss.core.blocks import SIZE
from segloss.core.extremes import KINDS, Dilation, Erosion, Operation, Remainder, Valid
from segloss.core.function import Function
from segloss.core.opaque import by_operator
from segloss.core.scratch import Map, Work


def erosion(y: Map, valid: Valid = None) -> Map:
    """The least value of each voxel and its neighbours along the axes."""
    return _run(Erosion(), y, valid)


def dilation(y: Map, valid: Valid = None, *, width: int = 3) -> Map:
    """The largest value in a box of `width` voxels, an odd number, around each."""
    return _run(Dilation(width), y, valid)


def opening(y: Map, valid: Valid = None) -> Map:
    """The dilation of the erosion."""
    return dilation(erosion(y, valid), valid)


def soft_skeleton(y: Map, iterations: int, valid: Valid = None) -> Map:
    """What openings take away from a map and from each of its erosions, joined; for values from 0 to 1.

    With I₀ = y, Iₖ₊₁ = erosion(Iₖ) and Δₖ = max(Iₖ - opening(Iₖ), 0) it is 1 - ∏ (1 - Δₖ) over k = 0, …, iterations.
    """
    return 1 - _run(Remainder(iterations), y, valid)


def _run(operation: Operation, y: Map, valid: Valid) -> Map:
    if by_operator(y):
        return _operator(y, valid, type(operation).__name__, operation.number)
    if not torch.compiler.is_compiling():
        return _Rows.apply(y, valid, operation)  # pyright: ignore[reportReturnType]
    values = y if y.is_floating_point() else y.float()
    return operation.plain(values, valid).to(y.dtype)


def _value(operation: Operation, y: Map, valid: Valid) -> Map:
    """An operation, on a few images or channels at a time."""
    if loops := operation.loops(y):
        return loops[0](y, valid)
    out, work = torch.empty_like(y), Work(y)
    for at in _rows(y):
        with work.frame():
            out[at] = operation.value(y[at], None if valid is None else valid[at[0]], work)
    return out


def _slope(operation: Operation, y: Map, valid: Valid, value: Map | None, price: Map) -> Map:
    """Its gradient, which computes what lies in between again."""
    if loops := operation.loops(y):
        return loops[1](y, valid, value, price)
    gradient, work = torch.empty_like(y), Work(y)
    for at in _rows(y):
        here, there = (None if valid is None else valid[at[0]]), (None if value is None else value[at])
        with work.frame():
            gradient[at] = operation.slope(y[at], here, there, price[at].clone(), work)
    return gradient


class _Rows(Function):
    @staticmethod
    def forward(y: Map, valid: Valid, operation: Operation) -> Map:
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
    return _value(KINDS[kind](number), y.contiguous(), valid)


@_operator.register_fake
def _(y: Tensor, valid: Tensor | None, kind: str, number: int) -> Tensor:
    return y.new_empty(y.shape)


@torch.library.custom_op("segloss::slope_of_morphology", mutates_args=())
def _operator_slope(
    y: Tensor, valid: Tensor | None, value: Tensor | None, price: Tensor, kind: str, number: int
) -> Tensor:
    return _slope(KINDS[kind](number), y.contiguous(), valid, value, price.contiguous())


@_operator_slope.register_fake
def _(y: Tensor, *_: Any) -> Tensor:
    return y.new_empty(y.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    y, valid, *ctx.told = inputs
    ctx.save_for_backward(y, valid, output if KINDS[ctx.told[0]].looks_back else None)


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
