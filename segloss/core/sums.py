"""One pass over the logits: class sums, and the log-probability of the truth at every voxel.

The pass goes block by block. What its gradient needs is kept in the array of that gradient, or recomputed block by
block, so that nothing else of the size of the logits is needed, and class indices are never spread into a one-hot map
of the image.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import Block, blocks, cores_for, each, kept, part, predicted, put, weighted
from segloss.core.compiled import compiled
from segloss.core.function import Function
from segloss.core.gradient import gradient_of
from segloss.core.inputs import Inputs, compute_dtype, sum_dtype
from segloss.core.likelihood import ByTruth, LogP, by_truth, log_p_alone, log_p_of, true_p
from segloss.core.margin import changed, scores_of
from segloss.core.masks import true_mask
from segloss.core.pair import is_pair, pair_gradient, pair_pass
from segloss.core.pointwise import pointwise
from segloss.core.sharing import is_sharing, shared
from segloss.core.squares import all_squares, squares_of
from segloss.core.totals import sums_in
from segloss.core.truth import How, Terms, VoxelLoss, truth

Sums = Float[Tensor, "B C"]


def count(x: Inputs) -> Float[Tensor, "B 1"]:
    """Number of voxels of each image that count."""
    dtype, device = sum_dtype(x.logits.device), x.logits.device
    if x.valid is not None:
        return x.valid.sum(2).to(dtype)
    return torch.full((x.logits.shape[0], 1), x.logits.shape[2], dtype=dtype, device=device)


def class_sums(
    x: Inputs,
    terms: Terms = (),
    cost: Tensor | None = None,
    *,
    likelihood: bool = False,
    voxel: VoxelLoss | None = None,
    weights: Float[Tensor, "B 1 N"] | None = None,
    scale: float = 1.0,
    lowered: Float[Tensor, " C"] | None = None,
    known: Bool[Tensor, "B C"] | None = None,
) -> tuple[Float[Tensor, "B K C"], LogP | None, ByTruth | None]:
    """The sums of p, p g, g, of every term, and of the cost, in this order, for each image and class.

    With `likelihood` the log-probability of the truth comes from the same pass: see `log_likelihood`. With `voxel` so
    do the sums of its losses: see `voxel_sums`. Weights of the voxels are for the terms and these losses.

    The logits are multiplied by `scale`; then `lowered` is taken off the logit of the truth, by its class, or under
    sigmoid by the channel. Where classes are not `known`, the label of the background is theirs, too: they are true
    together, the likelihood is that of all of them, and their loss is the background's.
    """
    hard = not (x.dense and x.labels.is_floating_point())
    factors = [squares_of(f) if hard and not torch.compiler.is_compiling() else None for f in terms]
    wanted = {"cost": cost, "likelihood": likelihood, "voxel": voxel, "weights": weights}
    wanted |= {"scale": scale, "lowered": lowered, "known": known}
    others = tuple(f for f, it in zip(terms, factors, strict=True) if it is None)
    how = _how(x, squares=len(others) < len(terms), terms=others, **wanted)
    sums, log_p, losses = _run(x, how)
    if not how.squares:
        return sums, log_p, losses
    common, squares, of_others, of_cost = sums.split(how.kinds, 1)
    found = torch.tensor([it for it in factors if it is not None], dtype=sums.dtype).to(sums.device, non_blocking=True)
    of_squares, rest = iter((found @ all_squares(common, squares)).unbind(1)), iter(of_others.unbind(1))
    of_terms = [next(rest if it is None else of_squares) for it in factors]
    return torch.cat([common, torch.stack(of_terms, 1), of_cost], 1), log_p, losses


def log_likelihood(x: Inputs, **change: Any) -> LogP:
    """The log-probability of the truth at every voxel, 0 where ignored.

    Under softmax that of the true class, (B, 1, N); under sigmoid that of each channel's own yes or no, (B, C, N).
    `change` are `scale`, `lowered` and `known` of `class_sums`.
    """
    return _run(x, _how(x, sums=False, likelihood=True, **change))[1]


def voxel_sums(x: Inputs, voxel: VoxelLoss, weights: Float[Tensor, "B 1 N"] | None = None, **change: Any) -> ByTruth:
    """The sums of a loss over the voxels of each truth, without a map of it; `change` as in `log_likelihood`.

    Under softmax the sums are those of every true class, (B, 1, C), of K losses (B, K, C); under sigmoid those of each
    channel's yes and no, (B, 2, C).
    """
    return _run(x, _how(x, sums=False, voxel=voxel, weights=weights, **change))[2]


def _how(x: Inputs, **wanted: Any) -> How:
    cores = 1 if torch.compiler.is_compiling() else cores_for(x.logits)
    return How(x.activation, x.dense, x.is_joint, cores=cores, **wanted)


def _run(x: Inputs, how: How) -> tuple[Any, Any, Any]:
    def run(how: How) -> Any:
        with _full_precision(x.logits):
            if torch.compiler.is_compiling():
                sums, log_p, losses = _plain(x.logits, x.labels, x.valid, how)
            else:
                sums, log_p, losses = _Pass.apply(x.logits, x.labels, x.valid, how, _room(x, how))
        if losses is not None and how.known is not None:
            losses = losses * how.known.unsqueeze(1)
        return sums, log_p, losses

    is_changed = how.scale != 1 or how.lowered is not None or how.known is not None
    alone = is_changed or how.squares or how.terms or how.cost is not None or how.weights is not None
    alone = alone or (how.voxel is not None and how.voxel.losses > 1)
    if alone or not is_sharing():
        return run(how)
    hard = not x.dense or (x.activation != "softmax" and not x.labels.is_floating_point())
    common = replace(how, sums=True, likelihood=hard, voxel=None)
    sums, log_p, _ = shared(("pass", id(x)), lambda: (x, run(common)))[1]
    if how.voxel is None:
        return sums, log_p, None
    f, classes = how.voxel, x.logits.shape[1]
    loss = kept(pointwise(lambda log_p: f.value(-log_p.expm1(), -log_p), log_p), x.valid)
    g = kept(x.labels.long(), x.valid) if how.joint else true_mask(x).to(loss.dtype)
    return sums, log_p, by_truth(loss, g, how.joint, classes)


def _full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """No autocast; to leave what is off alone takes less time than to switch it off."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _room(x: Inputs, how: How) -> Block | None:
    """The array of the gradient, in which a pass keeps what its backward needs, if there is to be one.

    Not where the logits are of a shorter type than p, nor where a pass needs no p.
    """
    wanted = torch.is_grad_enabled() and x.logits.requires_grad and how.activation != "none"
    if wanted and (kernels := kernels_for(x.logits, x.labels, how)):
        return kernels.room_for(x.logits, how)
    several = how.sums or (how.voxel is not None and how.joint)
    fits = x.logits.dtype == compute_dtype(x.logits.dtype) and (several or is_pair(x.logits, x.labels, how))
    return torch.empty_like(x.logits) if wanted and fits else None


def kernels_for(logits: Block, labels: Tensor, how: How) -> ModuleType | None:
    """The kernels of this device, if this pass is one of theirs."""
    on_cpu = "native_half" if logits.element_size() == 2 else "native_pass"
    name = {"cpu": on_cpu, "cuda": "fused"}.get(logits.device.type)
    kernels = None if name is None else compiled(name)
    return kernels if kernels and kernels.takes(logits, labels, how) else None


def _plain(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> tuple[Tensor | None, ...]:
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


class _Pass(Function):
    """The pass, block by block."""

    @staticmethod
    def forward(
        logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None
    ) -> tuple[Tensor | None, ...]:
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
            given = [(v, d) for v, d in zip(_plain(logits, labels, valid, how), prices, strict=True) if d is not None]
            values, of_values = zip(*given, strict=True)
            return *torch.autograd.grad(values, logits, of_values, create_graph=True), None, None, None, None

        if how.scale != 1:
            prices = tuple(None if price is None else price * how.scale for price in prices)
        with _full_precision(logits):
            room, ctx.room = ctx.room, None
            if kernels := kernels_for(logits, labels, how):
                write = kernels.fused_gradient
            else:
                write = pair_gradient if is_pair(logits, labels, how) else gradient_of
            return write(logits, labels, valid, how, room, *prices), None, None, None, None
