"""One pass over the logits: class sums, and the log-probability of the truth at every voxel.

The pass goes block by block, and its gradient recomputes each block, so that nothing of the size of the logits is kept
between the two, and class indices are never spread into a one-hot map of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd import Function

from segloss.core.blocks import Block, blocks, chain, kept, part, predicted, put
from segloss.core.inputs import Inputs, ResolvedActivation, compute_dtype, sum_dtype
from segloss.core.pair import pair_gradient_, pair_log_p_, pair_sums
from segloss.core.sharing import is_sharing, shared

Term = Callable[[Any, Any], Tensor]
Terms = tuple[Term, ...]
Sums = Float[Tensor, "B C"]
LogP = Float[Tensor, "B K N"]

MANY_CLASSES = 32  # up to here a one-hot map of a block, in the cache, costs less than to gather and scatter


@dataclass(frozen=True)
class _How:
    """What a pass is to give, and what its inputs mean."""

    activation: ResolvedActivation
    dense: bool
    terms: Terms = ()
    cost: Tensor | None = None
    sums: bool = True
    likelihood: bool = False


def count(x: Inputs) -> Float[Tensor, "B 1"]:
    """Number of voxels of each image that count."""
    dtype, device = sum_dtype(x.logits.device), x.logits.device
    if x.valid is not None:
        return x.valid.sum(2, dtype=dtype)
    return torch.full((x.logits.shape[0], 1), x.logits.shape[2], dtype=dtype, device=device)


def class_sums(
    x: Inputs, terms: Terms = (), cost: Tensor | None = None, *, likelihood: bool = False
) -> tuple[Float[Tensor, "B K C"], LogP | None]:
    """The sums of p, p g, g, of every term, and of the cost, in this order, for each image and class.

    With `likelihood` the log-probability of the truth comes from the same pass: see `log_likelihood`.
    """
    return _run(x, _How(x.activation, x.dense, terms, cost, True, likelihood))


def log_likelihood(x: Inputs) -> LogP:
    """The log-probability of the truth at every voxel, 0 where ignored.

    Under softmax that of the true class, (B, 1, N); under sigmoid that of each channel's own yes or no, (B, C, N).
    """
    return _run(x, _How(x.activation, x.dense, sums=False, likelihood=True))[1]


def _run(x: Inputs, how: _How) -> tuple[Any, Any]:
    run = _plain if torch.compiler.is_compiling() else _Pass.apply
    if how.terms or how.cost is not None or not is_sharing():
        return run(x.logits, x.labels, x.valid, how)  # pyright: ignore[reportReturnType]
    hard = not x.dense or (x.activation != "softmax" and not x.labels.is_floating_point())
    how = replace(how, sums=True, likelihood=hard)
    return shared(("pass", id(x)), lambda: (x, run(x.logits, x.labels, x.valid, how)))[1]


def _plain(logits: Block, labels: Tensor, valid: Tensor | None, how: _How) -> tuple[Tensor | None, Tensor | None]:
    """The pass in one block and in plain operations, for compilers and for second derivatives."""
    x = kept(logits.to(compute_dtype(logits.dtype)), valid)
    p = predicted(logits, valid, how.activation)
    sums = _sums(p, _truth(p, labels, valid, how), valid, how.terms, how.cost) if how.sums else None
    return sums, _log_p(x, p, labels, valid, how) if how.likelihood else None


class _Pass(Function):
    """The pass, block by block."""

    @staticmethod
    def forward(logits: Block, labels: Tensor, valid: Tensor | None, how: _How) -> tuple[Tensor | None, Tensor | None]:
        images, classes, voxels = logits.shape
        kinds = 3 + len(how.terms) + (how.cost is not None)
        sums = logits.new_zeros(images, kinds, classes, dtype=sum_dtype(logits.device)) if how.sums else None
        channels = _channels(logits, how) if how.likelihood else 0
        log_p = logits.new_empty(images, channels, voxels, dtype=compute_dtype(logits.dtype))
        for at, work in blocks(logits):
            here, label = part(valid, at), labels[at]
            if _is_pair(logits, how):
                if how.likelihood:
                    pair_log_p_(log_p[at], logits[at], label, here, work)
                if sums is not None:
                    sums[at[0]] += pair_sums(logits[at], label, here, work)
                continue
            p = predicted(logits[at], here, how.activation, work)
            if how.likelihood:
                log_p[at] = _log_p(work[how.activation != "none"], p, label, here, how)
            if sums is not None:
                sums[at[0]] += _sums(p, _truth(p, label, here, how, work[1]), here, how.terms, how.cost)
        return sums, log_p if how.likelihood else None

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        *tensors, ctx.how = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor | None) -> tuple[Tensor | None, ...]:
        (price, of_log_p), (logits, labels, valid), how = prices, ctx.saved_tensors, ctx.how
        if price is None and of_log_p is None:
            return None, None, None, None
        if torch.is_grad_enabled():
            given = [(v, d) for v, d in zip(_plain(logits, labels, valid, how), prices, strict=True) if d is not None]
            values, of_values = zip(*given, strict=True)
            return *torch.autograd.grad(values, logits, of_values, create_graph=True), None, None, None

        gradient = torch.empty_like(logits)
        for at, work in blocks(logits):
            here, label, out = part(valid, at), labels[at], gradient[at]
            of_sums = None if price is None else price[at[0]]
            rise = None if of_log_p is None else kept(of_log_p[at].to(work[0].dtype), here)
            if _is_pair(logits, how):
                pair_gradient_(out, logits[at], label, here, of_sums, rise, work)
                continue
            p = predicted(logits[at], here, how.activation, work)
            if of_sums is not None:
                g = _truth(p, label, here, how, work[1])
                slope = _slope(p, g, how.terms, how.cost, of_sums, work[1])
                chain(out, slope, p, here, how.activation)
            if rise is not None:
                slope = _likelihood_slope(p, _truth(p, label, here, how, work[1]), rise, how.activation)
                out.copy_(slope) if of_sums is None else out.add_(slope)
        return gradient, None, None, None


def _is_pair(logits: Block, how: _How) -> bool:
    plain = not how.dense and not how.terms and how.cost is None
    return plain and how.activation == "softmax" and logits.shape[1] == 2


def _channels(logits: Block, how: _How) -> int:
    """Channels of the log-probability of the truth."""
    exclusive = how.activation == "softmax" or (how.activation == "none" and not how.dense)
    return 1 if exclusive else logits.shape[1]


def _truth(
    p: Block, labels: Tensor, valid: Tensor | None, how: _How, space: Block | None = None
) -> Block | Shaped[Tensor, "B 1 N"]:
    """True membership, zero where ignored, in `space` if given; of many classes it stays the class index."""
    if not how.dense and how.activation != "sigmoid" and p.shape[1] > MANY_CLASSES:
        return kept(labels.long(), valid)
    if how.dense or p.shape[1] == 1:
        return kept(put(labels, p.dtype, space), valid, in_place=space is not None)
    if labels.device.type == "cpu" and p.shape[1] < 256:
        labels = labels.to(torch.uint8)  # their range is checked, and short integers compare faster
    index = torch.arange(p.shape[1], dtype=labels.dtype, device=labels.device).view(1, -1, 1)
    g = (labels == index).to(p.dtype) if space is None else torch.eq(labels, index, out=space)
    return kept(g, valid, in_place=space is not None)


def _log_p(x: Block, p: Block, labels: Tensor, valid: Tensor | None, how: _How) -> LogP:
    """The log-probability of the truth of a block, from its logits and, where that is cheaper, from p."""
    if _channels(x, how) < x.shape[1] or how.activation == "softmax":
        label = kept(labels.long(), valid)
        if how.activation == "none":
            log_p = p.gather(1, label).clamp(min=torch.finfo(p.dtype).tiny).log()
        elif p.requires_grad or torch.compiler.is_compiling():
            log_p = x.log_softmax(1).gather(1, label)
        else:
            log_p = x.gather(1, label) - x.amax(1, keepdim=True) + p.amax(1, keepdim=True).log()
    else:
        g = _truth(p, labels, valid, how)
        if how.activation == "none":
            log_p = torch.where(g > 0, p, 1 - p).clamp(min=torch.finfo(p.dtype).tiny).log()
        else:
            log_p = F.logsigmoid(x * (2 * g - 1))
    return kept(log_p, valid)


def _likelihood_slope(p: Block, g: Tensor, rise: LogP, activation: ResolvedActivation) -> Block:
    """The gradient of the priced log-probabilities with respect to the logits; p and a floating g are used up."""
    if activation != "none":
        return g.sub_(p).mul_(rise) if g.is_floating_point() else p.mul_(-rise).scatter_add_(1, g, rise)
    tiny = torch.finfo(p.dtype).tiny
    if not g.is_floating_point():
        at_truth = p.gather(1, g)
        return torch.zeros_like(p).scatter_(1, g, torch.where(at_truth > tiny, rise / at_truth, 0))
    slope = torch.where(p > tiny, g / p, 0)
    if rise.shape[1] == p.shape[1]:
        slope -= torch.where(1 - p > tiny, (1 - g) / (1 - p), 0)
    return slope * rise


def _sums(p: Block, g: Tensor, valid: Tensor | None, terms: Terms, cost: Tensor | None) -> Float[Tensor, "B K C"]:
    """The definition of the sums."""
    if g.is_floating_point():
        sums = [_total(p), _inner(p, g), _total(g), *(_total(kept(f(p, g), valid)) for f in terms)]
        if cost is not None:
            sums.append(_inner(cost.to(p.dtype) @ p, g))
        return torch.stack(sums, 1)

    at_truth = p.gather(1, g)
    sums = [_total(p), _by_class(at_truth, g, p), _by_class(kept(torch.ones_like(at_truth), valid), g, p)]
    for f in terms:
        gain = f(at_truth, 1) - f(at_truth, 0)
        sums.append(_total(kept(f(p, 0), valid)) + _by_class(kept(gain, valid), g, p))
    if cost is not None:
        sums.append(_by_class((_prices(cost, g, p) * p).sum(1, keepdim=True), g, p))
    return torch.stack(sums, 1)


def _slope(p: Block, g: Tensor, terms: Terms, cost: Tensor | None, price: Float[Tensor, "B K C"], out: Block) -> Block:
    """The gradient of the priced sums with respect to p, in closed form but for the terms; `g` may stand in `out`."""
    of_p, of_tp, _, *of_more = price.to(p.dtype).unsqueeze(-1).unbind(1)
    more = []
    if g.is_floating_point():
        for f, v in zip(terms, of_more, strict=False):
            more.append(_derivative(f, p, g).mul_(v))
        if cost is not None:
            more.append(cost.to(p.dtype).T @ (of_more[-1] * g))
        torch.mul(g, of_tp, out=out).add_(of_p)
    else:
        at_truth = p.gather(1, g)
        gain = of_tp.expand_as(p).gather(1, g)
        for f, v in zip(terms, of_more, strict=False):
            gain += (_derivative(f, at_truth, 1) - _derivative(f, at_truth, 0)) * v.expand_as(p).gather(1, g)
            more.append(_derivative(f, p, 0).mul_(v))
        if cost is not None:
            more.append(_prices(cost, g, p).mul_(of_more[-1].expand_as(p).gather(1, g)))
        out.copy_(of_p.expand_as(p)).scatter_add_(1, g, gain)
    for part_of_slope in more:
        out += part_of_slope
    return out


def _derivative(f: Term, p: Tensor, g: Tensor | int) -> Tensor:
    """The derivative of a pointwise f(p, g) with respect to p."""
    with torch.enable_grad():
        leaf = p.detach().requires_grad_()
        return torch.autograd.grad(f(leaf, g).sum(), leaf)[0]


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
