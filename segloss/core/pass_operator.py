"""The pass over the logits as an operator of a compiled graph, whose compiler sees no more of it.

What a compiler would write of plain operations takes longer than the loops and kernels do, and more memory.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from segloss.core.blocks import Block, cores_for
from segloss.core.inputs import compute_dtype, sum_dtype
from segloss.core.named import of_errors, powered, together
from segloss.core.one_pass import Found, bare_gradient, bare_pass
from segloss.core.truth import How, OfError


def is_told(how: How, labels: Tensor) -> bool:
    """Whether numbers say what a pass is to give, and no function does."""
    hard = not (how.dense and labels.is_floating_point())
    return all(hard and term.errors for term in how.terms) and (how.voxel is None or len(how.voxel.powers) > 0)


def operator(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> Found:
    """The pass, with a gradient but no second one."""
    found = _pass(logits, labels, valid, how.weights, how.cost, how.lowered, how.known, *_told(how))
    asked = how.sums, how.likelihood, how.voxel is not None
    sums, log_p, losses = (it if here else None for it, here in zip(found, asked, strict=True))
    return sums, log_p, losses


def _told(how: How) -> tuple[Any, ...]:
    """What is asked for, besides maps."""
    named = [one for term in how.terms for one in term.errors or ()]
    terms = [float(x) for of, number in named for x in (of.value, number)]
    powers, clamp = ([], 0.0) if how.voxel is None else (list(sum(how.voxel.powers, ())), how.voxel.clamp)
    wanted = how.activation, how.dense, how.joint, how.squares, how.sums, how.likelihood
    return *wanted, terms, powers, clamp, how.scale


GIVEN = (
    "Tensor logits, Tensor labels, Tensor? valid, Tensor? weights, Tensor? cost, Tensor? lowered, Tensor? known, "
    "str activation, bool dense, bool joint, bool squares, bool sums, bool likelihood, "
    "float[] terms, float[] powers, float clamp, float scale"
)
"""What both operators take."""


def _how(given: Sequence[Any]) -> How:
    """What a pass is asked for, from all that an operator takes."""
    logits, _, _, weights, cost, lowered, known, *wanted, terms, powers, clamp, scale = given
    activation, dense, joint, squares, sums, likelihood = wanted
    each = [powered(*pair, clamp) for pair in _pairs(powers)]
    named = _pairs([(OfError(int(of)), number) for of, number in _pairs(terms)])
    return How(
        activation=activation,
        dense=dense,
        joint=joint,
        squares=squares,
        terms=tuple(of_errors(*pair) for pair in named),
        cost=cost,
        sums=sums,
        likelihood=likelihood,
        voxel=together(*each) if len(each) > 1 else each[0] if each else None,
        weights=weights,
        scale=scale,
        lowered=lowered,
        known=known,
        cores=cores_for(logits),
    )


def _pairs(x: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(x[::2], x[1::2], strict=True))


@torch.library.custom_op("segloss::sums_of_pass", mutates_args=(), schema=f"({GIVEN}) -> (Tensor, Tensor, Tensor)")
def _pass(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    logits, labels, valid, *_ = given
    found = bare_pass(logits, labels, valid, _how(given))
    of_sums, log_p, losses = (logits.new_empty(0) if it is None else it.contiguous() for it in found)
    return of_sums, log_p, losses


@_pass.register_fake
def _(*given: Any) -> tuple[Tensor, Tensor, Tensor]:
    logits, how = given[0], _how(given)
    (images, classes, voxels), dtype = logits.shape, sum_dtype(logits.device)
    channels, losses = (1, 0 if how.voxel is None else how.voxel.losses) if how.joint else (classes, 2)
    sums = (images, sum(how.kinds), classes) if how.sums else (0,)
    log_p = (images, channels, voxels) if how.likelihood else (0,)
    by_truth = (images, losses, classes) if how.voxel is not None else (0,)
    return (
        logits.new_empty(sums, dtype=dtype if how.sums else None),
        logits.new_empty(log_p, dtype=compute_dtype(logits.dtype) if how.likelihood else None),
        logits.new_empty(by_truth, dtype=dtype if how.voxel is not None else None),
    )


PRICES = "Tensor? of_sums, Tensor? of_log_p, Tensor? of_losses"


@torch.library.custom_op("segloss::slope_of_pass", mutates_args=(), schema=f"({PRICES}, {GIVEN}) -> Tensor")
def _gradient(*priced: Any) -> Tensor:
    of_sums, of_log_p, of_losses, *given = priced
    logits, labels, valid, *_ = given
    return bare_gradient(logits, labels, valid, _how(given), None, of_sums, of_log_p, of_losses)


@_gradient.register_fake
def _(*priced: Any) -> Tensor:
    return torch.empty_like(priced[3])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.numbers = inputs[7:]
    ctx.asked = ctx.numbers[4], ctx.numbers[5], bool(ctx.numbers[7])
    ctx.save_for_backward(*inputs[:7])


def _back(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
    asked = (it if here else None for it, here in zip(prices, ctx.asked, strict=True))
    return _gradient(*asked, *ctx.saved_tensors, *ctx.numbers), *(None,) * 16


_pass.register_autograd(_back, setup_context=_keep)
