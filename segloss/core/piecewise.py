"""Functions that are linear in the probabilities between kinks, with the slope found beside the value."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, kept, part, predicted
from segloss.core.compiled import FULL_OR_HALF, loops_for
from segloss.core.function import Function
from segloss.core.inputs import Inputs, ResolvedActivation
from segloss.core.memory import empty_like

Rule = Callable[[Block], Tensor]


def piecewise_linear(x: Inputs, rule: Rule) -> Tensor:
    """The values of `rule`, one an image and class, or one a class of the whole batch.

    `rule` is given the probabilities, in at least float32 and zero where ignored, and turns them in place into the
    slope of its values.
    """
    if torch.compiler.is_compiling():
        return _plain(x.logits, x.valid, x.activation, rule)
    return _Piecewise.apply(x.logits, x.valid, x.activation, rule)[0]  # pyright: ignore[reportOptionalSubscript]


def _plain(logits: Block, valid: Tensor | None, activation: ResolvedActivation, rule: Rule) -> Tensor:
    """The same in plain operations, for compilers and for second derivatives."""
    p = predicted(logits, valid, activation)
    slope = p.detach().clone()
    value = rule(slope)
    tangent = (slope * (p - p.detach())).sum(2)
    return value + (tangent if value.shape[0] == p.shape[0] else tangent.sum(0, keepdim=True))


class _Piecewise(Function):
    """Between the passes the slope is kept, where the gradient then is; no other tensor of the size of the logits is.

    Whoever goes back twice has the slope found again.
    """

    @staticmethod
    def forward(
        logits: Block, valid: Tensor | None, activation: ResolvedActivation, rule: Rule
    ) -> tuple[Tensor, Tensor]:
        if loops := _loops(logits, activation):
            slope = loops.softmax(logits, valid)
        else:
            p = predicted(logits, valid, activation)
            slope = empty_like(p).copy_(p) if p is logits else p.contiguous()
        return rule(slope), slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        logits, valid, ctx.activation, ctx.rule = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)  # or the slope would have one, of zeros
        ctx.save_for_backward(logits, valid)
        ctx.slope = output[1]

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        price, (logits, valid), again = prices[0], ctx.saved_tensors, torch.is_grad_enabled()
        slope, ctx.slope = ctx.slope, None
        if again or slope is None:
            with torch.enable_grad():
                leaf = logits if again else logits.detach().requires_grad_()
                value = _plain(leaf, valid, ctx.activation, ctx.rule)
                return *torch.autograd.grad(value, leaf, price, create_graph=again), None, None, None

        price = price.to(slope.dtype)
        if loops := _loops(logits, ctx.activation):
            loops.softmax_gradient(logits, valid, price, slope)
            return slope.to(logits.dtype), None, None, None
        price = price.unsqueeze(-1).expand(len(logits), -1, 1)
        if ctx.activation == "none" and slope.dtype == logits.dtype:
            return kept(slope.mul_(price), valid, in_place=True), None, None, None
        gradient = slope if slope.dtype == logits.dtype else torch.empty_like(logits)
        for at, work in blocks(logits):
            here = part(valid, at)
            p = predicted(at.of(logits), here, ctx.activation, work)
            chain(at.of(gradient), torch.mul(at.of(slope), at.each(price), out=work[1]), p, here, ctx.activation)
        return gradient, None, None, None


def _loops(logits: Block, activation: ResolvedActivation) -> ModuleType | None:
    return loops_for(logits, "native_probability", *FULL_OR_HALF) if activation == "softmax" else None
