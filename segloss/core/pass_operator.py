"""The pass over the logits as an operator of a compiled graph, whose compiler sees no more of it.

What a compiler would write of plain operations takes longer than the loops and kernels do, and more memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segloss.core.blocks import Block, cores_for
from segloss.core.inputs import compute_dtype, sum_dtype
from segloss.core.one_pass import Found, bare_gradient, bare_pass
from segloss.core.truth import CROSS_ENTROPY, How, focused, together


def is_told(how: How) -> bool:
    """Whether numbers say what a pass is to give, and no function does."""
    return len(how.terms) == 0 and (how.voxel is None or _exponents(how) is not None)


def operator(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> Found:
    """The pass, with a gradient but no second one."""
    maps = logits, labels, valid, how.weights, how.cost, how.lowered, how.known
    wanted = how.activation, how.dense, how.joint, how.squares, how.sums, how.likelihood
    clamp = 0.0 if how.voxel is None else how.voxel.clamp
    found = _pass(*maps, *wanted, _exponents(how) or [], clamp, how.scale)
    asked = how.sums, how.likelihood, how.voxel is not None
    sums, log_p, losses = (it if here else None for it, here in zip(found, asked, strict=True))
    return sums, log_p, losses


def _exponents(how: How) -> list[float] | None:
    """The powers of q that losses multiply the cross-entropy with, where they are no more than that."""
    powers = () if how.voxel is None else how.voxel.powers
    return [of_q for of_q, _ in powers] if len(powers) > 0 and all(of_ce == 1 for _, of_ce in powers) else None


def _how(
    logits: Block,
    weights: Tensor | None,
    cost: Tensor | None,
    lowered: Tensor | None,
    known: Tensor | None,
    activation: Any,
    dense: bool,
    joint: bool,
    squares: bool,
    sums: bool,
    likelihood: bool,
    exponents: Sequence[float],
    clamp: float,
    scale: float,
) -> How:
    each = [focused(number, clamp) if number or clamp else CROSS_ENTROPY for number in exponents]
    voxel = together(*each) if len(each) > 1 else each[0] if each else None
    return How(
        activation=activation,
        dense=dense,
        joint=joint,
        squares=squares,
        cost=cost,
        sums=sums,
        likelihood=likelihood,
        voxel=voxel,
        weights=weights,
        scale=scale,
        lowered=lowered,
        known=known,
        cores=cores_for(logits),
    )


@torch.library.custom_op("segloss::pass_over", mutates_args=())
def _pass(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    weights: Tensor | None,
    cost: Tensor | None,
    lowered: Tensor | None,
    known: Tensor | None,
    activation: str,
    dense: bool,
    joint: bool,
    squares: bool,
    sums: bool,
    likelihood: bool,
    exponents: Sequence[float],
    clamp: float,
    scale: float,
) -> tuple[Tensor, Tensor, Tensor]:
    numbers = activation, dense, joint, squares, sums, likelihood, exponents, clamp, scale
    found = bare_pass(logits, labels, valid, _how(logits, weights, cost, lowered, known, *numbers))
    of_sums, log_p, losses = (logits.new_empty(0) if it is None else it.contiguous() for it in found)
    return of_sums, log_p, losses


@_pass.register_fake
def _(logits: Tensor, labels: Tensor, valid: Tensor | None, *given: Any) -> tuple[Tensor, Tensor, Tensor]:
    how = _how(logits, *given)
    (images, classes, voxels), dtype = logits.shape, sum_dtype(logits.device)
    channels, losses = (1, 0 if how.voxel is None else how.voxel.losses) if how.joint else (classes, 2)
    return (
        logits.new_empty(images, sum(how.kinds), classes, dtype=dtype) if how.sums else logits.new_empty(0),
        logits.new_empty(images, channels, voxels, dtype=compute_dtype(logits.dtype))
        if how.likelihood
        else logits.new_empty(0),
        logits.new_empty(images, losses, classes, dtype=dtype) if how.voxel is not None else logits.new_empty(0),
    )


@torch.library.custom_op("segloss::gradient_of_pass", mutates_args=())
def _gradient(
    of_sums: Tensor | None,
    of_log_p: Tensor | None,
    of_losses: Tensor | None,
    logits: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    weights: Tensor | None,
    cost: Tensor | None,
    lowered: Tensor | None,
    known: Tensor | None,
    activation: str,
    dense: bool,
    joint: bool,
    squares: bool,
    sums: bool,
    likelihood: bool,
    exponents: Sequence[float],
    clamp: float,
    scale: float,
) -> Tensor:
    numbers = activation, dense, joint, squares, sums, likelihood, exponents, clamp, scale
    how = _how(logits, weights, cost, lowered, known, *numbers)
    return bare_gradient(logits, labels, valid, how, None, of_sums, of_log_p, of_losses)


@_gradient.register_fake
def _(of_sums: Tensor | None, of_log_p: Tensor | None, of_losses: Tensor | None, logits: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(logits)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    *maps, ctx.numbers = *inputs[:7], inputs[7:]
    ctx.asked = ctx.numbers[4], ctx.numbers[5], bool(ctx.numbers[6])
    ctx.save_for_backward(*maps)


def _back(ctx: Any, *prices: Tensor | None) -> tuple[Tensor | None, ...]:
    prices = tuple(it if asked else None for it, asked in zip(prices, ctx.asked, strict=True))
    return _gradient(*prices, *ctx.saved_tensors, *ctx.numbers), *(None,) * 15


torch.library.register_autograd("segloss::pass_over", _back, setup_context=_keep)
