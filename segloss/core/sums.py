"""One pass over the logits: class sums, and the log-probability of the truth at every voxel.

The pass goes block by block. What its gradient needs is kept in the array of that gradient, or recomputed block by
block, so that nothing else of the size of the logits is needed, and class indices are never spread into a one-hot map
of the image.
"""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.autograd import Function

from segloss.core.blocks import At, Block, blocks, chain, kept, part, predicted, put, weighted
from segloss.core.change import lowered, merged, merged_logits, shares, spread
from segloss.core.inputs import Inputs, compute_dtype, sum_dtype
from segloss.core.likelihood import ByTruth, LogP, by_truth, likelihood_slope, log_p_alone, log_p_of, of_truth, true_p
from segloss.core.masks import true_mask
from segloss.core.pair import is_pair, pair_gradient, pair_pass
from segloss.core.pointwise import pointwise
from segloss.core.sharing import is_sharing, shared
from segloss.core.truth import How, Terms, VoxelLoss, derivative, truth

Sums = Float[Tensor, "B C"]


def count(x: Inputs) -> Float[Tensor, "B 1"]:
    """Number of voxels of each image that count."""
    dtype, device = sum_dtype(x.logits.device), x.logits.device
    if x.valid is not None:
        return x.valid.sum(2, dtype=dtype)
    return torch.full((x.logits.shape[0], 1), x.logits.shape[2], dtype=dtype, device=device)


def class_sums(
    x: Inputs,
    terms: Terms = (),
    cost: Tensor | None = None,
    *,
    likelihood: bool = False,
    voxel: VoxelLoss | None = None,
    weights: Float[Tensor, "B 1 N"] | None = None,
    lowered: Float[Tensor, " C"] | None = None,
    known: Bool[Tensor, "B C"] | None = None,
) -> tuple[Float[Tensor, "B K C"], LogP | None, ByTruth | None]:
    """The sums of p, p g, g, of every term, and of the cost, in this order, for each image and class.

    With `likelihood` the log-probability of the truth comes from the same pass: see `log_likelihood`. With `voxel` so
    do the sums of its losses: see `voxel_sums`. Weights of the voxels are for the terms and these losses. `lowered` is
    taken off the logit of the truth, by its class. The background stands for all classes that are not `known`, too.
    """
    wanted = {"terms": terms, "cost": cost, "likelihood": likelihood, "voxel": voxel}
    return _run(x, _how(x, weights=weights, lowered=lowered, known=known, **wanted))


def log_likelihood(x: Inputs, known: Bool[Tensor, "B C"] | None = None) -> LogP:
    """The log-probability of the truth at every voxel, 0 where ignored; `known` as in `class_sums`.

    Under softmax that of the true class, (B, 1, N); under sigmoid that of each channel's own yes or no, (B, C, N).
    """
    return _run(x, _how(x, sums=False, likelihood=True, known=known))[1]


def voxel_sums(
    x: Inputs,
    voxel: VoxelLoss,
    weights: Float[Tensor, "B 1 N"] | None = None,
    known: Bool[Tensor, "B C"] | None = None,
) -> ByTruth:
    """The sums of a loss over the voxels of each truth, without a map of it; `known` as in `class_sums`.

    Under softmax the sums are those of every true class, (B, 1, C), of K losses (B, K, C); under sigmoid those of each
    channel's yes and no, (B, 2, C).
    """
    return _run(x, _how(x, sums=False, voxel=voxel, weights=weights, known=known))[2]


def _how(x: Inputs, **wanted: Any) -> How:
    return How(x.activation, x.dense, x.is_joint, **wanted)


def _run(x: Inputs, how: How) -> tuple[Any, Any, Any]:
    def run(how: How) -> Any:
        with torch.autocast(x.logits.device.type, enabled=False):
            if torch.compiler.is_compiling():
                return _plain(x.logits, x.labels, x.valid, how)
            return _Pass.apply(x.logits, x.labels, x.valid, how, _room(x, how))

    alone = how.terms or any(it is not None for it in (how.cost, how.weights, how.lowered, how.known))
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


def _room(x: Inputs, how: How) -> Block | None:
    """The array of the gradient, in which a pass keeps what its backward needs, if there is to be one.

    Not where the logits are of a shorter type than p, nor where a pass needs no p.
    """
    wanted = torch.is_grad_enabled() and x.logits.requires_grad and how.activation != "none"
    fits = x.logits.dtype == compute_dtype(x.logits.dtype) and (how.sums or is_pair(x.logits, x.labels, how))
    return torch.empty_like(x.logits) if wanted and fits else None


def _plain(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> tuple[Tensor | None, ...]:
    """The pass in one block and in plain operations, for compilers and for second derivatives."""
    x = kept(logits.to(compute_dtype(logits.dtype)), valid)
    g = truth(x, labels, valid, how)
    if how.known is not None:
        x = merged_logits(x, how.known)
    if how.lowered is not None:
        x = lowered(x, g, how.lowered)
    p = predicted(x, valid, how.activation)
    sums = _sums(p, g, valid, how, how.weights) if how.sums else None
    if not how.likelihood and how.voxel is None:
        return sums, None, None
    log_p = log_p_of(x, p, labels, valid, how)
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
        if is_pair(logits, labels, how):
            return pair_pass(logits, labels, valid, how, room)
        images, classes, voxels = logits.shape

        def zeros(kinds: int) -> Tensor:
            return logits.new_zeros(images, kinds, classes, dtype=sum_dtype(logits.device))

        sums = zeros(3 + len(how.terms) + (how.cost is not None)) if how.sums else None
        losses = zeros(how.voxel.losses if how.joint else 2) if how.voxel else None
        dtype = compute_dtype(logits.dtype)
        log_p = logits.new_empty(images, 1 if how.joint else classes, voxels, dtype=dtype) if how.likelihood else None
        for at, work in blocks(logits):
            here, label, weights = part(valid, at), labels[at], part(how.weights, at)
            scores, known, at_truth = _scores(logits, labels, valid, how, at), _known(how, at), None
            if how.activation == "softmax" and how.joint and not how.sums and known is None:
                p = x = kept(put(scores, dtype, work[1]), here, in_place=True)
                likely = log_p_alone(x, label, here, work[0])
            else:
                p = predicted(scores, here, how.activation, work)
                likely = p
                if room is not None:
                    room[at] = p
                if known is not None:
                    p = merged(p, known)
                if log_p is not None or losses is not None:
                    at_truth = true_p(p, label, here, how)
                    likely = _log_p(scores, p, label, here, how, known) if at_truth is None else at_truth.log()
            if log_p is not None:
                log_p[at] = likely
            g = truth(p, label, here, how, work[1])
            if losses is not None and how.voxel is not None:
                missed = -likely.expm1() if at_truth is None else 1 - at_truth
                loss = weighted(kept(how.voxel.value(missed, -likely), here), weights)
                losses[at[0]] += by_truth(loss, g, how.joint, classes)
            if sums is not None:
                sums[at[0]] += _sums(p, g, here, how, weights)
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

        with torch.autocast(logits.device.type, enabled=False):
            room, ctx.room = ctx.room, None
            if is_pair(logits, labels, how):
                gradient = pair_gradient(logits, labels, valid, how, room, *prices)
            else:
                gradient = _gradient(logits, labels, valid, how, room, *prices)
            return gradient, None, None, None, None


def _gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: Block | None,
    of_sums: Tensor | None,
    of_log_p: Tensor | None,
    of_losses: Tensor | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass, in `room` if given."""
    gradient = torch.empty_like(logits) if room is None else room
    priced = of_losses is not None or of_log_p is not None
    for at, work in blocks(logits):
        here, label, weights, out = part(valid, at), labels[at], part(how.weights, at), gradient[at]
        known = _known(how, at)
        price = None if of_sums is None else of_sums[at[0]]
        rise = None if of_log_p is None else kept(of_log_p[at].to(work[0].dtype), here)
        if room is None:
            p = predicted(_scores(logits, labels, valid, how, at), here, how.activation, work)
        else:
            p = put(room[at], work[0].dtype, work[0])
        q = p if known is None else merged(p, known)
        factor = at_truth = None
        if (of_losses is not None and how.slope is not None) or (known is not None and priced):
            at_truth = true_p(q, label, here, how)
        if of_losses is not None and how.slope is not None:
            if at_truth is None:
                log_p = _log_p(_scores(logits, labels, valid, how, at), q, label, here, how, known)
                factor = how.slope(-log_p.expm1(), -log_p)
            else:
                factor = how.slope(1 - at_truth, -at_truth.log())
        g = truth(q, label, here, how, work[1])
        if of_losses is not None:
            fall = of_truth(of_losses[at[0]].to(p.dtype), g, how.joint)
            fall = fall if factor is None else fall.mul_(factor)
            fall = weighted(fall.sum(1, keepdim=True) if how.joint and fall.shape[1] > 1 else fall, weights)
            fall = kept(fall, here, in_place=True)
            rise = fall.neg_() if rise is None else rise - fall
        if price is None and known is not None and at_truth is not None:
            price = p.new_zeros(p.shape[0], 3, p.shape[1])
        if price is not None:
            also = None if rise is None or at_truth is None else rise / at_truth
            slope = _slope(q, g, how, weights, price, also, work[1])
            chain(out, slope if known is None else spread(slope, known), p, here, how.activation)
        if rise is not None and (price is None or at_truth is None):
            g = g if price is None else truth(p, label, here, how, work[1])
            g = g if known is None else shares(kept(_scores(logits, labels, valid, how, at), here), g, known)
            slope = likelihood_slope(p, g, rise, how.activation)
            out.copy_(slope) if price is None else out.add_(slope)
    return gradient


def _scores(logits: Block, labels: Tensor, valid: Tensor | None, how: How, at: At) -> Block:
    """The logits of a block, less a margin if there is one."""
    if how.lowered is None:
        return logits[at]
    x, here = logits[at].to(compute_dtype(logits.dtype)), part(valid, at)
    return lowered(x, truth(x, labels[at], here, how), how.lowered)


def _known(how: How, at: At) -> Tensor | None:
    """Which classes the images of a block know, where others are merged."""
    return None if how.known is None else how.known[at[0]]


def _log_p(scores: Block, p: Block, label: Tensor, valid: Tensor | None, how: How, known: Tensor | None) -> LogP:
    """The log-probability of the truth in a block, from logits where p is too small."""
    x = kept(scores.to(p.dtype), valid)
    return log_p_of(x if known is None else merged_logits(x, known), p, label, valid, how)


def _sums(p: Block, g: Tensor, valid: Tensor | None, how: How, weights: Tensor | None) -> Float[Tensor, "B K C"]:
    """The definition of the sums."""

    def total(x: Tensor) -> Tensor:
        return _total(weighted(kept(x, valid), weights))

    if g.is_floating_point():
        sums = [_total(p), _inner(p, g), _total(g), *(total(f.value(p, g)) for f in how.terms)]
        if how.cost is not None:
            sums.append(_inner(how.cost.to(p.dtype) @ p, g))
        return torch.stack(sums, 1)

    at_truth = p.gather(1, g)
    sums = [_total(p), _by_class(at_truth, g, p), _by_class(kept(torch.ones_like(at_truth), valid), g, p)]
    for f in how.terms:
        gain = weighted(kept(f.value(at_truth, 1) - f.value(at_truth, 0), valid), weights)
        sums.append(total(f.value(p, 0)) + _by_class(gain, g, p))
    if how.cost is not None:
        sums.append(_by_class((_prices(how.cost, g, p) * p).sum(1, keepdim=True), g, p))
    return torch.stack(sums, 1)


def _slope(
    p: Block,
    g: Tensor,
    how: How,
    weights: Tensor | None,
    price: Float[Tensor, "B K C"],
    also: LogP | None,
    out: Block,
) -> Block:
    """The gradient of the priced sums with respect to p, in closed form but for the terms; `g` may stand in `out`.

    `also` is a further slope of the true class.
    """
    of_p, of_tp, _, *of_more = price.to(p.dtype).unsqueeze(-1).unbind(1)
    more = []
    if g.is_floating_point():
        for f, v in zip(how.terms, of_more, strict=False):
            more.append(weighted(derivative(f, p, g).mul_(v), weights))
        if how.cost is not None:
            more.append(how.cost.to(p.dtype).T @ (of_more[-1] * g))
        at_voxel = of_tp if also is None else of_truth(price[:, 1:2].to(p.dtype), g, how.joint).add_(also)
        torch.mul(g, at_voxel, out=out).add_(of_p)
    else:
        at_truth = p.gather(1, g)
        gain = of_tp.expand_as(p).gather(1, g)
        if also is not None:
            gain += also
        for f, v in zip(how.terms, of_more, strict=False):
            of_gain = (derivative(f, at_truth, 1) - derivative(f, at_truth, 0)) * v.expand_as(p).gather(1, g)
            gain += weighted(of_gain, weights)
            more.append(weighted(derivative(f, p, 0).mul_(v), weights))
        if how.cost is not None:
            more.append(_prices(how.cost, g, p).mul_(of_more[-1].expand_as(p).gather(1, g)))
        out.copy_(of_p.expand_as(p)).scatter_add_(1, g, gain)
    for part_of_slope in more:
        out += part_of_slope
    return out


def _total(x: Block) -> Float[Tensor, "B C"]:
    """The sum over voxels; a block is short enough to be added up in the type it is in."""
    dtype = sum_dtype(x.device)
    return x.sum(2, dtype=dtype) if torch.compiler.is_compiling() else x.sum(2).to(dtype)


def _by_class(x: Shaped[Tensor, "B 1 N"], label: Shaped[Tensor, "B 1 N"], p: Block) -> Float[Tensor, "B C"]:
    """The sum of `x` over the voxels of each label."""
    sums = p.new_zeros(p.shape[:2], dtype=sum_dtype(p.device))
    return sums.scatter_add(1, label[:, 0], x[:, 0].to(sums.dtype))


def _inner(p: Block, g: Block) -> Float[Tensor, "B C"]:
    """The sum of the product over voxels."""
    return torch.einsum("bcn,bcn->bc", p, g).to(sum_dtype(p.device))


def _prices(cost: Float[Tensor, "C C"], label: Shaped[Tensor, "B 1 N"], p: Block) -> Block:
    """The price of every predicted class at each voxel, by its label."""
    return cost.to(p.dtype).T[:, label[:, 0]].movedim(0, 1)
