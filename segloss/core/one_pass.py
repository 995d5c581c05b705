"""One pass over the logits, by what is compiled for the device or block by block, and the way back from it.

What the gradient needs is kept in the array of that gradient, or recomputed block by block, so that nothing else of the
size of the logits is needed, and class indices are never spread into a one-hot map of the image.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from segloss.core.blocks import Block, blocks, each, kept, part, predicted, put, weighted
from segloss.core.compiled import compiled
from segloss.core.function import Function
from segloss.core.gradient import gradient_of
from segloss.core.inputs import compute_dtype, sum_dtype
from segloss.core.likelihood import by_truth, log_p_alone, log_p_of, true_p
from segloss.core.margin import changed, scores_of
from segloss.core.pair import is_pair, pair_gradient, pair_pass
from segloss.core.totals import sums_in
from segloss.core.truth import How, truth

Found = tuple[Tensor | None, Tensor | None, Tensor | None]
"""The sums of a pass, its log-probabilities and its losses, as far as they are asked for."""


def pass_over(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> Found:
    """A pass with a gradient."""
    with full_precision(logits):
        return _Pass.apply(logits, labels, valid, how, _room(logits, labels, how))


def passes_over(logits: Block, labels: Tensor, valid: Tensor | None, *hows: How) -> list[Found]:
    """Several passes, whose gradients are added up in one array."""
    with full_precision(logits):
        found = _Passes.apply(logits, labels, valid, *hows)
    return [found[3 * i : 3 * i + 3] for i in range(len(hows))]


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast; to leave what is off alone takes less time than to switch it off."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _room(logits: Block, labels: Tensor, how: How) -> Block | None:
    """The array of the gradient, in which a pass keeps what its backward needs, if there is to be one.

    Not where the logits are of a shorter type than p, nor where a pass needs no p.
    """
    wanted = torch.is_grad_enabled() and logits.requires_grad and how.activation != "none"
    if wanted and (kernels := kernels_for(logits, labels, how)):
        return kernels.room_for(logits, how)
    several = how.sums or (how.voxel is not None and how.joint)
    fits = logits.dtype == compute_dtype(logits.dtype) and (several or is_pair(logits, labels, how))
    return torch.empty_like(logits) if wanted and fits else None


def kernels_for(logits: Block, labels: Tensor, how: How) -> ModuleType | None:
    """The kernels of this device, if this pass is one of theirs."""
    name = {"cpu": "native_pass", "cuda": "fused"}.get(logits.device.type)
    kernels = None if name is None else compiled(name)
    return kernels if kernels and kernels.takes(logits, labels, how) else None


def plain_pass(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> Found:
    """The pass in one block and in plain operations, for compilers and for second derivatives."""
    x = kept(logits.to(compute_dtype(logits.dtype)), valid)
    g = truth(x, labels, valid, how, known=how.known)
    x = changed(x, g, how)
    p = predicted(x, valid, how.activation)
    sums = sums_in(p, g, valid, how, how.weights) if how.sums else None
    if not how.likelihood and how.voxel is None:
        return sums, None, None
    log_p = log_p_of(x, p, g, labels, valid, how)
    losses = None
    if how.voxel is not None:
        loss = weighted(kept(how.voxel.value(-log_p.expm1(), -log_p), valid), how.weights)
        losses = by_truth(loss, g, how.joint, p.shape[1])
    return sums, log_p if how.likelihood else None, losses


def bare_pass(logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None = None) -> Found:
    """A pass without a gradient, for which it leaves in `room` what it has found."""
    if kernels := kernels_for(logits, labels, how):
        return kernels.fused_pass(logits, labels, valid, how, room)
    if is_pair(logits, labels, how):
        return pair_pass(logits, labels, valid, how, room)
    images, classes, voxels = logits.shape

    def zeros(kinds: int) -> Tensor:
        return logits.new_zeros(images, kinds, classes, dtype=sum_dtype(logits.device))

    sums = zeros(sum(how.kinds)) if how.sums else None
    losses = zeros(how.voxel.losses if how.joint else 2) if how.voxel else None
    dtype = compute_dtype(logits.dtype)
    log_p = logits.new_empty(images, 1 if how.joint else classes, voxels, dtype=dtype) if how.likelihood else None
    alone = how.activation == "softmax" and how.joint and not how.sums and how.voxel is None and how.known is None
    for at, work in blocks(logits, 3, how.cores):
        here, label, weights, known = part(valid, at), at.of(labels), part(how.weights, at), each(how.known, at)
        scores = scores_of(logits, labels, valid, how, at)
        if alone and log_p is not None:
            x = kept(put(scores, dtype, work[1]), here, in_place=True)
            at.of(log_p).copy_(log_p_alone(x, label, here, work[0]))
            continue
        place = None if room is None else at.unfolded(room)
        first = place if place is not None and place.is_contiguous() and at.folds == 1 else work[0]
        p = predicted(scores, here, how.activation, (first, work[1]))
        if place is not None and first is not place:
            place.copy_(p.view(place.shape))
        g = truth(p, label, here, how, work[1], known)
        hit = torch.mul(p, g, out=work[2]) if g.is_floating_point() else None
        if losses is not None or log_p is not None:
            at_truth = true_p(p, g, here, how, hit)
            likely = log_p_of(scores, p, g, label, here, how) if at_truth is None else at_truth.log()
            if log_p is not None:
                at.of(log_p).copy_(likely)
            if losses is not None and how.voxel is not None:
                missed = -likely.expm1() if at_truth is None else 1 - at_truth
                loss = weighted(kept(how.voxel.value(missed, -likely), here), weights)
                at.add(losses, by_truth(loss, g, how.joint, classes))
        if sums is not None:
            at.add(sums, sums_in(p, g, here, how, weights, hit))
    return sums, log_p, losses


def bare_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: Block | None,
    *prices: Tensor | None,
    onto: Block | None = None,
) -> Block:
    """The gradient of the priced outputs of a pass, added to the one that it comes `onto`, if there is one."""
    if how.scale != 1:
        prices = tuple(None if price is None else price * how.scale for price in prices)
    with full_precision(logits):
        if kernels := kernels_for(logits, labels, how):
            return kernels.fused_gradient(logits, labels, valid, how, room, *prices, onto)
        write = pair_gradient if is_pair(logits, labels, how) else gradient_of
        found = write(logits, labels, valid, how, room, *prices)
        return found if onto is None else onto.add_(found)


class _Pass(Function):
    @staticmethod
    def forward(logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None) -> Found:
        return bare_pass(logits, labels, valid, how, room)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.how, ctx.room = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor | None) -> tuple[Tensor | None, ...]:
        (logits, labels, valid), how = ctx.saved_tensors, ctx.how
        if all(price is None for price in prices):
            return None, None, None, None, None
        if torch.is_grad_enabled():
            return graph_of(logits, plain_pass(logits, labels, valid, how), prices), None, None, None, None
        room, ctx.room = ctx.room, None
        return bare_gradient(logits, labels, valid, how, room, *prices), None, None, None, None


class _Passes(Function):
    @staticmethod
    def forward(logits: Block, labels: Tensor, valid: Tensor | None, *hows: How) -> tuple[Tensor | None, ...]:
        return tuple(it for how in hows for it in bare_pass(logits, labels, valid, how))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.hows = inputs[3:]
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*inputs[:3])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor | None) -> tuple[Tensor | None, ...]:
        (logits, labels, valid), gradient, nothing = ctx.saved_tensors, None, (None,) * (2 + len(ctx.hows))
        if all(price is None for price in prices):
            return None, *nothing
        if torch.is_grad_enabled():
            found = [it for how in ctx.hows for it in plain_pass(logits, labels, valid, how)]
            return graph_of(logits, found, prices), *nothing
        for i, how in enumerate(ctx.hows):
            of = prices[3 * i : 3 * i + 3]
            if any(price is not None for price in of):
                gradient = bare_gradient(logits, labels, valid, how, None, *of, onto=gradient)
        return gradient, *nothing


def graph_of(logits: Block, found: Sequence[Tensor | None], prices: Sequence[Tensor | None]) -> Block:
    """The gradient of what was found in plain operations, which can be differentiated again."""
    given = [(v, d) for v, d in zip(found, prices, strict=True) if v is not None and d is not None]
    values, of_values = zip(*given, strict=True)
    return torch.autograd.grad(values, logits, of_values, create_graph=True)[0]
