"""Sums over the voxels of what has a price there: the probability, or the square of its error, beside those of overlap.

As in `sums`, the pass goes block by block and its gradient recomputes each block; the arithmetic stays in three arrays
of the size of a block.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from types import ModuleType
from typing import Any, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, part, predicted, put
from segloss.core.compiled import FULL_OR_HALF, compiled, loops_for
from segloss.core.distance import (
    DistanceMap,
    Spacing,
    check_spacing,
    flat_distance,
    label_depth,
    mask_distance,
)
from segloss.core.distance_transform import backend_of
from segloss.core.function import Function
from segloss.core.inputs import Inputs, ResolvedActivation, can_look_at, compute_dtype, sum_dtype
from segloss.core.masks import predicted_label, predicted_mask, true_mask
from segloss.core.memory import empty_like, zeros_like
from segloss.core.opaque import as_operator, asked_once, by_operator

PIECES, FEW, LARGE = 4, 8, 2**20
"""Pieces of the masks of a batch, unless it has more images, and their masks and voxels, at least."""


def priced_p(x: Inputs, price: Float[Tensor, "B C N"], rim: float = 0.0) -> Float[Tensor, "B C"]:
    """The sums over the voxels of the price times p; `rim` is added to a price that is negative."""
    return _sums(x, price, None, rim).squeeze(1)


def errors_by_distance(
    x: Inputs, distance: DistanceMap | None, spacing: Spacing | None, *, one_sided: bool, **how: Any
) -> Float[Tensor, "B 4 C"]:
    """The sums over the voxels of p, p g, g, and of (p - g)² times the distances from the true and predicted contour.

    Those from the true one may be given; the others are found by `mask_distance`, `how` it is said.
    """
    if distance is None and how["side"] == "inside" and (found := _by_label(x, spacing, how["power"], one_sided)):
        return _sums(x, *found, 0.0)
    true = x.labels if x.labels.dtype == torch.bool and x.valid is None else true_mask(x)
    again = partial(_price, shape=x.shape, spacing=spacing, one_sided=one_sided, **how)
    return _sums(x, again(x.logits, x.valid, x.activation, true, distance), true, 0.0, distance, again)


def _price(
    logits: Block,
    valid: Tensor | None,
    activation: ResolvedActivation,
    true: Block,
    distance: DistanceMap | None,
    *,
    shape: torch.Size,
    spacing: Spacing | None,
    one_sided: bool,
    **how: Any,
) -> Block:
    """The distances from the true contour and, unless they are `one_sided`, the predicted one.

    The masks of all channels, which may lie voxel after voxel, would take half as much space as the distances.
    """
    x = Inputs(logits, true, valid, activation, True, shape)
    if distance is None:
        found = zeros_like(logits, compute_dtype(logits.dtype))
    else:
        check_spacing(spacing, len(shape) - 2)
        signed = flat_distance(distance, x)
        found = (signed.abs() if how["side"] == "both" else signed.neg().clamp_(min=0)).pow_(how["power"])
    for images, channels in _pieces(x):
        rows = valid if valid is None or len(valid) == 1 else valid[images]
        here = replace(x, logits=logits[images, channels], labels=true[images, channels], valid=rows)
        of = {**how, "background": how["background"] or channels.start > 0, "total": found[images, channels]}
        if distance is None:
            copied = not here.labels.is_contiguous()
            mask_distance(true_mask(here) if copied else here.labels, here, spacing, **of)
        if not one_sided:
            mask_distance(predicted_mask(here), here, spacing, **of)
    return found


def _pieces(x: Inputs) -> Iterator[tuple[slice, slice]]:
    """Images and channels of a few pieces, if masks are large and a channel knows nothing of the others."""
    images, classes, voxels = x.logits.shape
    size = -(-classes * images // PIECES)
    if size < FEW or size * voxels < LARGE or x.activation != "sigmoid" or not can_look_at(x.logits):
        yield slice(None), slice(0, classes)
        return
    for image in range(images):
        yield from ((slice(image, image + 1), slice(first, first + size)) for first in range(0, classes, size))


def _by_label(
    x: Inputs, spacing: Spacing | None, power: float, one_sided: bool
) -> tuple[Float[Tensor, "B K N"], Integer[Tensor, "B K N"]] | None:
    """Where no voxel is of two classes: the labels of the truth and the prediction, and the distances inside of each.

    So these are found once instead of for every class. None where there are no loops that do.
    """
    traced = torch.compiler.is_compiling()
    exclusive = x.activation == "softmax" and not x.dense
    exclusive = exclusive and (x.valid is None or (not traced and bool(x.valid.all())))
    can = by_operator(x.logits) and x.logits.dtype in FULL_OR_HALF if traced else _loops(x.logits, x.activation)
    if not exclusive or not can or not _by_numba():
        return None
    images, classes, voxels = x.logits.shape
    labels = torch.empty(images, 1 if one_sided else 2, voxels, dtype=torch.uint8 if classes < 255 else torch.int32)
    labels[:, 0] = x.labels[:, 0]
    if not one_sided:
        labels[:, 1] = predicted_label(x, labels.dtype)
    return label_depth(labels, x, spacing, power, classes + 1), labels


@asked_once
def _by_numba() -> bool:
    return backend_of(torch.device("cpu")) == "numba" and compiled("native_priced") is not None


def _sums(
    x: Inputs,
    price: Block,
    true: Block | None,
    rim: float,
    distance: DistanceMap | None = None,
    again: Callable[..., Block] | None = None,
) -> Float[Tensor, "B K C"]:
    """The sums; where the price can be found `again`, as `_price` does, the gradient may be written over it."""
    given = x.logits, x.valid, x.activation, price, true, rim
    if not torch.compiler.is_compiling():
        return _Sums.apply(*given, distance, again)  # pyright: ignore[reportReturnType]
    return _operator(*given) if by_operator(x.logits) and x.activation != "none" else _plain(*given)


def _plain(
    logits: Block, valid: Tensor | None, activation: ResolvedActivation, price: Block, true: Block | None, rim: float
) -> Float[Tensor, "B K C"]:
    """The sums in one block, for compilers and for second derivatives."""
    p = predicted(logits, valid, activation)
    if true is not None and true.dtype != torch.bool:
        is_of = true.unsqueeze(2) == torch.arange(logits.shape[1]).view(-1, 1)
        price, true = (is_of * price.unsqueeze(2)).sum(1), is_of[:, 0]
    if true is None:
        values = [(price + rim * (price < 0)) * p]
    else:
        g = put(true, p.dtype, None)
        values = [p, p * g, g, price * (p - g).square()]
    return torch.stack([value.sum(2, dtype=sum_dtype(p.device)) for value in values], 1)


def _value(
    logits: Tensor, valid: Tensor | None, activation: str, price: Tensor, true: Tensor | None, rim: float
) -> Tensor:
    if loops := _loops(logits, activation):
        return loops.priced_pass(logits, valid, activation == "softmax", price, true, rim)
    kind, (images, classes, _) = cast(ResolvedActivation, activation), logits.shape
    sums = logits.new_zeros(images, 1 if true is None else 4, classes, dtype=sum_dtype(logits.device))
    for at, work in blocks(logits, arrays=3):
        p, given = predicted(at.of(logits), part(valid, at), kind, work), at.of(price)
        if true is None:
            value = p.mul_(_with_rim(given, rim, work[1]))
        else:
            g = put(at.of(true), p.dtype, work[1])
            for k, overlap in enumerate((p, torch.mul(p, g, out=work[2]), g)):
                at.add(sums[:, k], overlap.sum(2))
            value = p.sub_(g).square_().mul_(given)
        at.add(sums[:, -1], value.sum(2))
    return sums


def _slope(
    of_sums: Tensor,
    logits: Tensor,
    valid: Tensor | None,
    activation: str,
    price: Tensor,
    true: Tensor | None,
    rim: float,
) -> Tensor:
    return _write_slope(empty_like(logits), of_sums, logits, valid, activation, price, true, rim)


def _write_slope(
    gradient: Tensor,
    of_sums: Tensor,
    logits: Tensor,
    valid: Tensor | None,
    activation: str,
    price: Tensor,
    true: Tensor | None,
    rim: float,
) -> Tensor:
    """The gradient, in an array that may be the price's."""
    if loops := _loops(logits, activation):
        loops.priced_gradient(logits, valid, activation == "softmax", price, true, rim, of_sums, gradient)
        return gradient
    kind = cast(ResolvedActivation, activation)
    for at, work in blocks(logits, arrays=3):
        here, given = part(valid, at), at.of(price)
        p = predicted(at.of(logits), here, kind, work)
        *of_overlap, of_value = at.each(of_sums).to(p.dtype).unsqueeze(-1).unbind(1)
        if true is None:
            slope = _with_rim(given, rim, work[1]).mul_(of_value)
        else:
            slope, (of_p, of_right, _) = put(at.of(true), p.dtype, work[1]), of_overlap
            error = torch.sub(p, slope, out=work[2]).mul_(given).mul_(2 * of_value)
            slope.mul_(of_right).add_(of_p).add_(error)
        chain(at.of(gradient), slope, p, here, kind)
    return gradient


def _like(
    logits: Tensor, valid: Tensor | None, activation: str, price: Tensor, true: Tensor | None, _: float
) -> Tensor:
    sums = logits.shape[0], 1 if true is None else 4, logits.shape[1]
    return logits.new_empty(sums, dtype=sum_dtype(logits.device))


_operator = as_operator("priced_sums", _value, _slope, _like)


class _Sums(Function):
    @staticmethod
    def forward(logits: Block, *given: Any) -> Tensor:
        return _value(logits, *given[:-2])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, valid, ctx.activation, price, true, ctx.rim, distance, ctx.again = inputs
        ctx.save_for_backward(logits, valid, price, true, distance)
        ctx.is_used_up = False

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (of_sums,), (logits, valid, price, true, distance), nothing = prices, ctx.saved_tensors, (None,) * 7
        if ctx.is_used_up:
            price = ctx.again(logits, valid, ctx.activation, true, distance)
        given = logits, valid, ctx.activation, price, true, ctx.rim
        if torch.is_grad_enabled():
            if not ctx.is_used_up:
                ctx.again = None  # the graph of this gradient keeps the price, too
            return *torch.autograd.grad(_plain(*given), logits, of_sums, create_graph=True), *nothing
        if ctx.again and price.shape == logits.shape and price.dtype == logits.dtype:
            ctx.is_used_up = True  # whoever goes back twice has it found again
            return _write_slope(price.data, of_sums, *given), *nothing
        return _slope(of_sums, *given), *nothing


def _with_rim(price: Block, rim: float, out: Block) -> Block:
    return torch.lt(price, 0, out=out).mul_(rim).add_(price)


def _loops(logits: Block, activation: str) -> ModuleType | None:
    return None if activation == "none" else loops_for(logits, "native_priced", *FULL_OR_HALF)
