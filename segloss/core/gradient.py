"""The gradient of a pass over the logits, block by block."""

from collections.abc import Callable
from functools import partial

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, kept, part, predicted, weighted
from segloss.core.change import known_of, merged, scores_of, shares, shares_of_logits, spread
from segloss.core.inputs import can_look_at
from segloss.core.likelihood import SAFE, ByTruth, LogP, likelihood_slope, log_p_in, of_truth, true_p
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
    gradient = torch.empty_like(logits) if room is None else room
    exclusive = how.activation == "softmax" and not how.dense
    for at, work in blocks(logits, 3, how.cores):
        here, label, weights, out = part(valid, at), at.of(labels), part(how.weights, at), at.of(gradient)
        scores, known = partial(scores_of, logits, labels, valid, how, at), known_of(how, at)
        if room is None:
            p = predicted(scores(), here, how.activation, work)
        elif exclusive and at.folds == 1:
            p = out
        else:
            place = at.unfolded(room)
            work[0].view(place.shape).copy_(place)
            p = work[0]
        q = p if known is None else merged(p, known)
        g = truth(q, label, here, how, work[1])
        price = None if of_sums is None else at.each(of_sums).to(p.dtype).unsqueeze(-1)
        hit = None
        if exclusive and g.is_floating_point() and (price is not None or how.slope is not None):
            hit = torch.mul(q, g, out=work[2])

        rise = None if of_log_p is None else kept(at.of(of_log_p).to(p.dtype), here)
        if of_losses is not None:
            fall = of_truth(at.each(of_losses).to(p.dtype), g, how.joint)
            if how.slope is not None:
                at_truth = true_p(q, g, here, how, hit)
                log_p = log_p_in(scores(), q, label, here, how, known) if at_truth is None else at_truth.log()
                fall = fall.mul_(how.slope(-log_p.expm1() if at_truth is None else 1 - at_truth, log_p.neg_()))
            fall = weighted(fall.sum(1, keepdim=True) if how.joint and fall.shape[1] > 1 else fall, weights)
            fall = kept(fall, here, in_place=True)
            rise = fall.neg_() if rise is None else rise - fall

        if exclusive:
            members = g if known is None else _members(scores, p, q, g, here, known)
            slope = None
            if price is not None:
                slope, at_truth = _slopes(q, g, how, weights, price, hit)
                slope = slope if known is None else spread(slope, known)
                rise = at_truth if rise is None else at_truth.add_(rise)
            if rise is not None:
                _write(out, p, slope, members, rise, work)
            continue
        if price is not None:
            slope = torch.mul(g, price[:, 1], out=work[2]).add_(price[:, 0])
            _, of_squares, *of_terms = price.split(how.kinds, 1)
            if how.squares:
                slope += square_slopes(p, g, weights, of_squares)
            for it in _of_terms(p, g, how, weights, *of_terms):
                slope += it
            chain(out, slope, p, here, how.activation)
        if rise is not None:
            slope = likelihood_slope(p, g, rise, how.activation)
            out.copy_(slope) if price is None else out.add_(slope)
    return gradient


def _members(
    scores: Callable[[], Block], p: Block, q: Block, g: Tensor, valid: Tensor | None, known: Bool[Tensor, "B C"]
) -> Block:
    """The part of each class in the probability of the truth, where classes are merged."""
    background = q[:, :1] if valid is None else q[:, :1] + ~valid
    if can_look_at(p) and background.amin() > SAFE:
        return kept(shares(p, q, g, known), valid)
    return shares_of_logits(kept(scores(), valid), g, known)


def _slopes(
    q: Block, g: Tensor, how: How, weights: Tensor | None, price: Price, hit: Block | None
) -> tuple[Shaped[Tensor, "B C _"], LogP]:
    """The slopes of the priced sums, with respect to q of every class, and to log q of what only the true one has."""
    slope, of_tp = price[:, 0], price[:, 1]
    _, of_squares, *of_terms = price.split(how.kinds, 1)
    for it in _of_terms(q, g, how, weights, *of_terms):
        slope = slope + it
    if hit is None:
        at_truth = q.gather(1, g)
        gain = of_tp.expand_as(q).gather(1, g)
        for f, v in zip(how.terms, of_terms[0].unbind(1), strict=True):
            rise = derivative(f, at_truth, 1) - derivative(f, at_truth, 0)
            gain += weighted(rise * v.expand_as(q).gather(1, g), weights)
        gain = gain.mul_(at_truth)
    else:
        gain = torch.bmm(of_tp.transpose(1, 2), hit)
    if how.squares:
        at_truth = q.gather(1, g) if hit is None else hit.sum(1, keepdim=True)
        of_others, of_true = exclusive_slopes(q, at_truth, g, weights, of_squares)
        slope = of_others.add_(slope)
        gain.addcmul_(of_true, at_truth)
    return slope, gain


def _of_terms(p: Block, g: Tensor, how: How, weights: Tensor | None, price: Price, of_cost: Price) -> list[Block]:
    """The slopes with respect to p of the priced terms and cost; of an index, those of terms as if in no class."""
    spread_out = g.is_floating_point()
    of_terms = zip(how.terms, price.unbind(1), strict=True)
    slopes = [weighted(derivative(f, p, g if spread_out else 0).mul_(v), weights) for f, v in of_terms]
    if how.cost is not None:
        v = of_cost[:, 0]
        slopes.append(
            how.cost.to(p.dtype).T @ (v * g) if spread_out else prices(how.cost, g, p) * v.expand_as(p).gather(1, g)
        )
    return slopes


def _write(out: Block, p: Block, slope: Tensor | None, members: Tensor, rise: LogP, work: tuple[Block, ...]) -> None:
    """Write p (s - s·p - r) + m r, the gradient under softmax.

    s is the slope with respect to p and r that with respect to the log-probability of the true class, or of its
    members.
    """
    if slope is None:
        fall = -rise
    elif slope.shape[2] == 1:
        fall = torch.sub(slope, torch.bmm(slope.transpose(1, 2), p).add_(rise), out=work[2])
    else:
        fall = slope.sub_(torch.mul(slope, p, out=work[2]).sum(1, keepdim=True).add_(rise))
    result = p.mul_(fall)
    if members.is_floating_point():
        result.addcmul_(members, rise)
    else:
        result.scatter_add_(1, members, rise)
    if p is not out:
        out.copy_(p)
