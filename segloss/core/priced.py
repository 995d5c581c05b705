"""Sums over the voxels of what has a price there: the probability, or the square of its error.

As in `sums`, the pass goes block by block and its gradient recomputes each block; the arithmetic stays in two arrays of
the size of a block.
"""

from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, part, predicted, put
from segloss.core.compiled import FULL_OR_HALF, loops_for
from segloss.core.distance import DistanceMap, Spacing, check_spacing, flat_distance, mask_distance
from segloss.core.function import Function
from segloss.core.inputs import Inputs, ResolvedActivation, sum_dtype
from segloss.core.masks import predicted_mask, true_mask
from segloss.core.memory import empty_like


def priced_p(x: Inputs, price: Float[Tensor, "B C N"], rim: float = 0.0) -> Float[Tensor, "B C"]:
    """The sums over the voxels of the price times p; `rim` is added to a price that is negative."""
    return _sums(x, price, None, rim)


def priced_errors(x: Inputs, price: Float[Tensor, "B C N"], true: Bool[Tensor, "B C N"]) -> Float[Tensor, "B C"]:
    """The sums over the voxels of the price times the square of p, or of 1 - p where it is `true`."""
    return _sums(x, price, true, 0.0)


def errors_by_distance(
    x: Inputs, distance: DistanceMap | None, spacing: Spacing | None, *, one_sided: bool, **how: Any
) -> Float[Tensor, "B C"]:
    """The sums of squared errors priced by distances from the true and the predicted contour; see `mask_distance`."""
    true, predicted = true_mask(x), None if one_sided else predicted_mask(x)
    if distance is None:
        price = mask_distance(true, x, spacing, **how)
    else:
        check_spacing(spacing, len(x.shape) - 2)
        signed = flat_distance(distance, x)
        price = (signed.abs() if how["side"] == "both" else signed.neg().clamp_(min=0)).pow_(how["power"])
    if predicted is not None:
        mask_distance(predicted, x, spacing, **how, total=price)
    return priced_errors(x, price, true)


def _sums(x: Inputs, *priced: Any) -> Float[Tensor, "B C"]:
    run = _plain if torch.compiler.is_compiling() else _Sums.apply
    return run(x.logits, x.valid, x.activation, *priced)  # pyright: ignore[reportReturnType]


def _plain(
    logits: Block, valid: Tensor | None, activation: ResolvedActivation, price: Block, true: Block | None, rim: float
) -> Float[Tensor, "B C"]:
    """The sums in one block, for compilers and for second derivatives."""
    p = predicted(logits, valid, activation)
    value = (price + rim * (price < 0)) * p if true is None else price * (p - put(true, p.dtype, None)).square()
    return value.sum(2, dtype=sum_dtype(p.device))


class _Sums(Function):
    @staticmethod
    def forward(
        logits: Block,
        valid: Tensor | None,
        activation: ResolvedActivation,
        price: Block,
        true: Block | None,
        rim: float,
    ) -> Tensor:
        if loops := _loops(logits, activation):
            return loops.priced_pass(logits, valid, activation == "softmax", price, true, rim)
        sums = logits.new_zeros(logits.shape[:2], dtype=sum_dtype(logits.device))
        for at, work in blocks(logits):
            value, given = predicted(at.of(logits), part(valid, at), activation, work), at.of(price)
            if true is None:
                value.mul_(_with_rim(given, rim, work[1]))
            else:
                value.sub_(put(at.of(true), value.dtype, work[1])).square_().mul_(given)
            at.add(sums, value.sum(2))
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, valid, ctx.activation, price, true, ctx.rim = inputs
        ctx.save_for_backward(logits, valid, price, true)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (of_sums,), (logits, valid, price, true), nothing = prices, ctx.saved_tensors, (None,) * 5
        if torch.is_grad_enabled():
            sums = _plain(logits, valid, ctx.activation, price, true, ctx.rim)
            return *torch.autograd.grad(sums, logits, of_sums, create_graph=True), *nothing
        if loops := _loops(logits, ctx.activation):
            joint = ctx.activation == "softmax"
            return loops.priced_gradient(logits, valid, joint, price, true, ctx.rim, of_sums), *nothing
        gradient = empty_like(logits)
        for at, work in blocks(logits):
            here, given = part(valid, at), at.of(price)
            p = predicted(at.of(logits), here, ctx.activation, work)
            if true is None:
                slope = _with_rim(given, ctx.rim, work[1])
            else:
                slope = put(at.of(true), p.dtype, work[1]).sub_(p).mul_(given).mul_(-2)
            slope.mul_(at.each(of_sums).to(slope.dtype).unsqueeze(-1))
            chain(at.of(gradient), slope, p, here, ctx.activation)
        return gradient, *nothing


def _with_rim(price: Block, rim: float, out: Block) -> Block:
    return torch.lt(price, 0, out=out).mul_(rim).add_(price)


def _loops(logits: Block, activation: ResolvedActivation) -> ModuleType | None:
    return None if activation == "none" else loops_for(logits, "native_probability", *FULL_OR_HALF)
