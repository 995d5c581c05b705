"""The gradient of a pass over the logits, block by block."""

from functools import partial

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, each, kept, part, predicted, weighted
from segloss.core.likelihood import ByTruth, LogP, likelihood_slope, log_p_of, of_true, of_truth, true_p
from segloss.core.margin import scores_of
from segloss.core.memory import empty_like
from segloss.core.squares import exclusive_slopes, square_slopes
from segloss.core.totals import prices
from segloss.core.truth import How, derivative, truth

Price = Float[Tensor, "B K C 1"]


def gradient_of(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: Block | None,
    of_sums: Float[Tensor, "B K C"] | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass, in `room` if given."""
    gradient = empty_like(logits) if room is None else room
    softmax = how.activation == "softmax" and not how.dense
    for at, work in blocks(logits, 3, how.cores):
        here, label, weights, out = part(valid, at), at.of(labels), part(how.weights, at), at.of(gradient)
        scores = partial(scores_of, logits, labels, valid, how, at)
        if room is None:
            p = predicted(scores(), here, how.activation, work)
        elif softmax and at.folds == 1:
            p = out
        else:
            place = at.unfolded(room)
            work[0].view(place.shape).copy_(place)
            p = work[0]
        g = truth(p, label, here, how, work[1], each(how.known, at))
        price = None if of_sums is None else at.each(of_sums).to(p.dtype).unsqueeze(-1)
        hit = None
        if softmax and g.is_floating_point() and (price is not None or how.slope is not None or not how.exclusive):
            hit = torch.mul(p, g, out=work[2])

        rise = None if of_log_p is None else kept(at.of(of_log_p).to(p.dtype), here)
        if of_losses is not None:
            fall = of_truth(at.each(of_losses).to(p.dtype), g, how.joint)
            if how.slope is not None:
                at_truth = true_p(p, g, here, how, hit)
                log_p = log_p_of(scores(), p, g, label, here, how) if at_truth is None else at_truth.log()
                fall = fall.mul_(how.slope(-log_p.expm1() if at_truth is None else 1 - at_truth, log_p.neg_()))
            fall = weighted(fall.sum(1, keepdim=True) if how.joint and fall.shape[1] > 1 else fall, weights)
            fall = kept(fall, here, in_place=True)
            rise = fall.neg_() if rise is None else rise - fall

        if softmax and how.exclusive:
            slope = None
            if price is not None:
                slope, gain = _slopes(p, g, how, weights, price, hit)
                rise = gain if rise is None else gain.add_(rise)
            if rise is not None:
                _write(out, p, slope, g, rise, work)
            continue
        at_truth = true_p(p, g, here, how, hit) if softmax and rise is not None else None
        slope = of_logits = None
        if price is not None:
            slope = torch.mul(g, price[:, 1], out=work[2]).add_(price[:, 0])
            _, of_squares, of_terms, of_cost = price.split(how.kinds, 1)
            if how.squares:
                slope += square_slopes(p, g, weights, of_squares)
            slope = _add_terms(slope, p, g, how, weights, of_terms)
            if how.cost is not None:
                slope += _of_cost(how.cost, g, p, of_cost[:, 0])
        if rise is not None and at_truth is not None:
            of_p = rise / at_truth
            slope = torch.mul(g, of_p, out=work[2]) if slope is None else slope.addcmul_(g, of_p)
        elif rise is not None and softmax:
            of_logits = of_true(kept(scores().to(p.dtype), here), g, here).softmax(1).sub_(p).mul_(rise)
        elif rise is not None:
            of_logits = likelihood_slope(p, g, rise, how.activation)
        if slope is not None:
            chain(out, slope, p, here, how.activation)
        if of_logits is not None:
            out.copy_(of_logits) if slope is None else out.add_(of_logits)
    return gradient


def _slopes(
    p: Block, g: Tensor, how: How, weights: Tensor | None, price: Price, hit: Block | None
) -> tuple[Shaped[Tensor, "B C _"], LogP]:
    """The slopes of the priced sums, with respect to p of every class, and to log p of what only the true one has."""
    slope, of_tp = price[:, 0], price[:, 1]
    _, of_squares, of_terms, of_cost = price.split(how.kinds, 1)
    if hit is not None:
        slope = _add_terms(slope, p, g, how, weights, of_terms)
        gain = torch.bmm(of_tp.mT, hit)
    else:
        right = p.gather(1, g)
        if how.terms:
            slope = _add_terms(slope, p.scatter(1, g, 0), 0, how, weights, of_terms)
        rise = of_truth(of_tp.mT, g, True)
        for f, v in zip(how.terms, of_terms.unbind(1), strict=True):
            gained = derivative(f, right, 1) - derivative(f, right.new_zeros(()), 0)
            rise = rise + weighted(gained * of_truth(v.mT, g, True), weights)
        gain = rise * right
    if how.squares:
        right = p.gather(1, g) if hit is None else hit.sum(1, keepdim=True)
        of_others, of_true = exclusive_slopes(p, right, g, weights, of_squares)
        slope = of_others.add_(slope)
        gain.addcmul_(of_true, right)
    if how.cost is not None:
        slope = slope + _of_cost(how.cost, g, p, of_cost[:, 0])
    return slope, gain


def _add_terms(slope: Block, p: Block, g: Tensor | int, how: How, weights: Tensor | None, price: Price) -> Block:
    """The slope with respect to p, with that of the priced terms."""
    for f, v in zip(how.terms, price.unbind(1), strict=True):
        slope = weighted(derivative(f, p, g).mul_(v), weights).add_(slope)
    return slope


def _of_cost(cost: Tensor, g: Tensor, p: Block, v: Tensor) -> Block:
    """The slopes with respect to p of the priced cost."""
    if g.is_floating_point():
        return cost.to(p.dtype).T @ (v * g)
    return prices(cost, g, p) * v.expand_as(p).gather(1, g)


def _write(out: Block, p: Block, slope: Tensor | None, g: Tensor, rise: LogP, work: tuple[Block, ...]) -> None:
    """Write p (s - s·p - r) + g r, the gradient under softmax of classes that exclude each other.

    s is the slope with respect to p as if none were true, r that with respect to the log-probability of the true one.
    """
    if slope is None:
        fall = -rise
    elif slope.shape[2] == 1:
        fall = torch.sub(slope, torch.bmm(slope.transpose(1, 2), p).add_(rise), out=work[2])
    else:
        fall = slope.sub_(torch.mul(slope, p, out=work[2]).sum(1, keepdim=True).add_(rise))
    result = p.mul_(fall)
    if g.is_floating_point():
        result.addcmul_(g, rise)
    else:
        result.scatter_add_(1, g, rise)
    if p is not out:
        out.copy_(p)
