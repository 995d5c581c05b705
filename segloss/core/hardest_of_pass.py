"""The sum of the log-probabilities of the hardest voxels, beside the class sums of the pass that finds them."""

from collections.abc import Callable
from typing import Any, cast

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.blocks import Block
from segloss.core.function import Function
from segloss.core.hardest import found_hardest, hardest_sum, part_of_hardest, slope_of_hardest
from segloss.core.inputs import Inputs, can_look_at, spatial_sum
from segloss.core.likelihood import LogP
from segloss.core.one_pass import bare_gradient, bare_pass, full_precision, graph_of, kernels_for, plain_pass
from segloss.core.sharing import is_sharing
from segloss.core.sums import class_sums, how_of, log_likelihood
from segloss.core.truth import How

HowMany = Callable[[LogP], Integer[Tensor, ""]]
"""How many voxels to take, of their log-probabilities."""


def sums_of_hardest(
    x: Inputs, number: HowMany, *, sums: bool = True
) -> tuple[Any, Float[Tensor, ""], Integer[Tensor, ""]]:
    """The class sums, (B, K, C), if asked for, the sum of log p at the hardest voxels, and how many of them there are.

    The gradient needs one map of the log-probabilities, and is written over it where it has as many values.
    """
    if not (torch.compiler.is_compiling() or is_sharing()):
        return _Sums.apply(x.logits, x.labels, x.valid, how_of(x, sums=sums, likelihood=True), number)[:3]  # pyright: ignore[reportOptionalSubscript]
    of_classes, log_p = cast(Any, class_sums(x, likelihood=True)[:2] if sums else (None, log_likelihood(x)))
    many = number(log_p.detach())
    return of_classes, hardest_sum(log_p, many), many


def _found(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> tuple[Any, LogP]:
    with torch.no_grad(), full_precision(logits):
        return cast(Any, bare_pass(logits, labels, valid, how)[:2])


class _Sums(Function):
    @staticmethod
    def forward(logits: Block, labels: Tensor, valid: Tensor | None, how: How, number: HowMany) -> tuple[Any, ...]:
        sums, log_p = _found(logits, labels, valid, how)
        many = number(log_p)
        total, *which = found_hardest(log_p, many)
        return sums, total, many, log_p, *which

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        *given, ctx.how, _ = inputs
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*given, *output[3:])
        ctx.is_used_up = False

    @staticmethod
    def backward(ctx: Any, *prices: Tensor | None) -> tuple[Tensor | None, ...]:
        (of_sums, of_total, *_), how, nothing = prices, ctx.how, (None,) * 4
        logits, labels, valid, log_p, border, share = ctx.saved_tensors
        if of_sums is None and of_total is None:
            return None, *nothing
        if ctx.is_used_up:
            _, log_p = _found(logits, labels, valid, how)
        if torch.is_grad_enabled():
            sums, likely = cast(Any, plain_pass(logits, labels, valid, how)[:2])
            total = spatial_sum(likely * part_of_hardest(log_p, border, share)).sum()
            return graph_of(logits, (sums, total), (of_sums, of_total)), *nothing
        ctx.is_used_up = True  # whoever goes back twice has it found again
        over = of_total is not None and log_p.shape == logits.shape and log_p.dtype == logits.dtype
        if over and can_look_at(log_p) and (loops := kernels_for(logits, labels, how)):
            rise, step = log_p.data, (border, of_total, of_total * share)
            return loops.fused_gradient(logits, labels, valid, how, rise, of_sums, rise, None, step=step), *nothing
        rise = None if of_total is None else slope_of_hardest(log_p, border, share, of_total, log_p.data)
        return bare_gradient(logits, labels, valid, how, None, of_sums, rise, None), *nothing
