"""Choices between two, from one margin: two classes that exclude each other, or the yes and no of each channel."""

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import At, Block, kept, part, parts, weighted
from segloss.core.inputs import compute_dtype, sum_dtype
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.memory import empty_like
from segloss.core.truth import How, derivative, truth

ByChoice = Float[Tensor, "B K 2"]
"""Sums over the voxels where each of two is true, for each of K choices."""


def is_pair(logits: Block, labels: Tensor, how: How) -> bool:
    """Whether a pass is one of this module."""
    if how.activation == "sigmoid":
        return not labels.is_floating_point() and (how.voxel is not None or how.likelihood) and not how.terms
    return how.exclusive and how.activation == "softmax" and logits.shape[1] == 2


def pair_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None
) -> tuple[Float[Tensor, "B S C"] | None, LogP | None, ByTruth | None]:
    """The pass of `sums`, block by block.

    Errors are what is added up, not hits, so that a rare class comes out as exact as a common one.
    """
    choices = 1 if how.joint else logits.shape[1]
    of_squares = 0 if not how.squares else 1 if how.weights is None else 3  # those of wrong p are of the other truth
    kinds = 2 + of_squares + len(how.terms)
    totals = logits.new_zeros(logits.shape[0], kinds, choices, 2, dtype=sum_dtype(logits.device))
    size, missed, *terms = totals.unbind(1)
    squares, terms = terms[:of_squares], terms[of_squares:]
    number = how.voxel.losses if how.voxel is not None and how.joint else choices
    losses = totals.new_zeros(logits.shape[0], number, 2)
    log_p = empty_like(logits[:, :choices], dtype=compute_dtype(logits.dtype)) if how.likelihood else None
    for at, pair in _pairs(logits, labels, valid, how, room):
        weights = part(how.weights, at)
        pair.look()
        if how.sums:
            at.add(size, pair.g.sum(3))
            at.add(missed, pair.by_truth(pair.q))
            if how.squares:
                q = weighted(pair.q, weights)
                every = [q * pair.q] if weights is None else [q * pair.q, q, weights.expand_as(q)]
                for total, it in zip(squares, every, strict=True):
                    at.add(total, pair.by_truth(it))
            for f, total in zip(how.terms, terms, strict=True):
                right = pair.by_truth(weighted(f.value(1 - pair.q, 1), weights))
                wrong = pair.by_truth(weighted(f.value(pair.q, 0), weights))
                at.add(total, right + wrong.flip(2))
        if how.voxel is not None or log_p is not None:
            ce = pair.cross_entropy_()
            if how.voxel is not None:
                at.add(losses, pair.by_truth(weighted(how.voxel.value(pair.q, ce), weights)))
            if log_p is not None:
                torch.neg(kept(ce, pair.valid), out=at.of(log_p))
            if room is not None and how.slope is not None and _only_losses(how):
                pair.q.mul_(how.slope(pair.q, ce))
    sums = sums_of(totals, how) if how.sums else None
    return sums, log_p, None if how.voxel is None else losses if how.joint else losses.flip(2).transpose(1, 2)


def sums_of(totals: Float[Tensor, "B T K 2"], how: How) -> Float[Tensor, "B S C"]:
    """The sums of `class_sums`, of those of 1, q, q**2 and, weighted, q and 1, and of terms, by truth."""
    of_squares = 0 if not how.squares else 1 if how.weights is None else 3
    size, missed, *rest = totals.unbind(1)
    hit = size - missed
    every = [hit + missed.flip(2), hit, size]
    if how.squares:
        missed2, *linear = rest[:of_squares]
        if linear:
            every += linear[0].flip(2), *linear
        every += missed2.flip(2), missed2
    every += rest[of_squares:]
    if how.cost is not None:
        right, wrong = how.cost.diag(), how.cost.flip(1).diag()
        every.append(right * hit + wrong * missed)
    return torch.stack([it[:, 0] if how.joint else it[..., 1] for it in every], 1)


def prices_of(
    of_sums: Float[Tensor, "B S C"] | None, of_losses: ByTruth | None, how: How, dtype: torch.dtype
) -> tuple[ByChoice | None, list[ByChoice], list[ByChoice], ByChoice | None]:
    """The slopes, by truth, of q; weighted, of q with a factor q and without; of terms; and of losses."""
    of_missed, of_squares, of_terms = None, [], []
    if of_sums is not None:
        of_sums = of_sums.to(dtype)
        of_sums = of_sums.unsqueeze(2) if how.joint else F.pad(of_sums.unsqueeze(3), (1, 0))
        of_p, of_tp, _, *of_terms = of_sums.unbind(1)
        of_missed = of_p.flip(2) - of_p - of_tp
        if how.squares:
            (*linear, of_wrong2, of_missed2), of_terms = of_terms[: how.kinds[1]], of_terms[how.kinds[1] :]
            of_squares = [2 * (of_missed2 + of_wrong2.flip(2))]
            if linear:
                of_squares.append(linear[1] + linear[0].flip(2))
        if how.cost is not None:
            of_missed = of_missed + of_terms.pop() * (how.cost.flip(1).diag() - how.cost.diag()).to(dtype)
    if of_losses is not None:
        of_losses = of_losses.to(dtype)
        of_losses = of_losses if how.joint else of_losses.transpose(1, 2).flip(2)
    return of_missed, of_squares, of_terms, of_losses


def pair_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: Block | None,
    of_sums: Float[Tensor, "B S C"] | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass, in `room` if given."""
    dtype = compute_dtype(logits.dtype)
    gradient = empty_like(logits) if room is None else room
    sign = 1 - 2 * torch.arange(2, dtype=dtype, device=logits.device)
    of_missed, of_squares, of_terms, of_losses = prices_of(of_sums, of_losses, how, dtype)
    if of_missed is not None:
        of_missed, of_squares = of_missed * sign, [it * sign for it in of_squares]
    if of_losses is not None:
        of_losses = of_losses * sign
    per_ce = None if room is not None and _only_losses(how) else how.slope
    for at, pair in _pairs(logits, labels, valid, how, room):
        weights = part(how.weights, at)
        if room is None:
            pair.look()
        elif per_ce is not None and not how.joint:
            torch.neg(pair.error, out=pair.q).expm1_().neg_()
        slope = None
        if of_losses is not None and per_ce is None:
            slope = weighted(pair.of_truth(at.each(of_losses), pair.free), weights)
        elif of_losses is not None and per_ce is not None:
            factor = per_ce(pair.q, pair.cross_entropy_() if room is None else pair.error)
            falls = pair.of_truth(at.each(of_losses)).mul_(factor)
            slope = weighted(falls.sum(1, keepdim=True) if how.joint and falls.shape[1] > 1 else falls, weights)
        if of_log_p is not None:
            fall = torch.sub(pair.foreground, pair.background).mul_(at.of(of_log_p))
            slope = fall if slope is None else slope.add_(fall)
        *first, last = at.of(gradient).tensor_split(2, 1) if how.joint else (at.of(gradient),)
        if of_missed is not None:
            of_q = pair.of_truth(at.each(of_missed))
            if of_squares:
                rise, *linear = (pair.of_truth(at.each(it)) for it in of_squares)
                of_q += weighted(sum(linear, rise.mul_(pair.q)), weights)
            for f, price in zip(how.terms, of_terms, strict=True):
                of_term = derivative(f, pair.q, 0).mul_(pair.of_truth(at.each(price).flip(2) * sign))
                of_term -= derivative(f, pair.right_(), 1).mul_(pair.of_truth(at.each(price) * sign))
                of_q += weighted(of_term, weights)
            if slope is None:
                torch.ops.aten.sigmoid_backward.grad_input(of_q, pair.q, grad_input=last)
            else:
                slope.addcmul_(of_q, pair.right_())
        if slope is not None:
            torch.mul(slope, pair.q, out=last)
        for it in first:
            torch.neg(last, out=it)
    return gradient


def _only_losses(how: How) -> bool:
    """Whether q times the slope of the losses of channels is all that the way back needs to know of a voxel."""
    return not how.joint and not how.sums and not how.likelihood


def _pairs(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None
) -> Iterator[tuple[At, "_Pair"]]:
    """The blocks, one after the other in the same arrays."""
    space, works = None, {}
    scale, arrays = 2 / 3 if how.joint and how.voxel is None else 1.0, 3 if how.joint else 10
    for at in parts(logits, scale, how.cores, arrays):
        here = at.of(logits)
        if here.shape not in works:
            images, classes, voxels = here.shape
            shape = images, 1 if how.joint else classes, voxels
            if space is None:
                space = logits.new_empty(5, math.prod(shape), dtype=compute_dtype(logits.dtype))
            works[here.shape] = _Work(space.view(-1)[: 5 * math.prod(shape)].view(5, *shape))
        yield at, _Pair(here, at.of(labels), part(valid, at), how, part(room, at), works[here.shape])


class _Work:
    """Arrays for a block."""

    def __init__(self, space: Shaped[Tensor, "5 B K N"]) -> None:
        self.error, self.q, self.free = space[2:].unbind()
        images, choices, voxels = self.q.shape
        self.g = space[:2].view(images, choices, 2, voxels)
        self.background, self.foreground = self.g.unbind(2)


class _Pair:
    """A block.

    `g` is the truth of both, zero where ignored, `q` the probability of the wrong one and `error` its logit; `free` is
    an array to work in. Of the room, two classes take the first half for `error` and the last for `q`; one channel has
    space for `error` alone, where a slope needs it with something else, or for `q`.
    """

    def __init__(
        self, logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: Block | None, work: _Work
    ) -> None:
        self.logits, self.valid, self.how = logits, valid, how
        self.g, self.background, self.foreground, self.free = work.g, work.background, work.foreground, work.free
        self.error, self.q = work.error, work.q
        if room is not None:
            first, last = room.tensor_split(2, 1) if how.joint else (room, room)
            with_q = how.slope is None or _only_losses(how)
            if how.joint or with_q:
                self.q = last
            if how.slope is not None and not with_q:
                self.error = first
        torch.sub(1, truth(self.q, labels, None, how, self.foreground), out=self.background)
        if valid is not None:
            kept(self.g, valid.unsqueeze(1), in_place=True)

    def look(self) -> None:
        """Find the margin of the logits towards the wrong one."""
        if self.how.joint:
            first, second = self.logits.tensor_split(2, 1)
            same = self.logits.dtype == self.q.dtype
            margin = torch.sub(second, first, out=self.q) if same else self.q.copy_(second).sub_(first)
            margin.add_(torch.maximum(first, second), alpha=0)  # is not a number where that is infinite
        else:
            margin = self.logits.to(self.q.dtype)
        margin = kept(margin, self.valid)
        sign = torch.sub(self.background, self.foreground, out=self.free)
        torch.mul(margin, sign, out=self.error)
        if self.how.scale != 1:
            self.error.mul_(self.how.scale)
        if self.how.lowered is not None:
            lowered = self.how.lowered.to(margin.dtype)
            self.error.add_(self.of_truth(lowered.view(1, 1, 2)) if self.how.joint else lowered.view(1, -1, 1))
        torch.sigmoid(self.error, out=self.q)

    def cross_entropy_(self) -> Shaped[Tensor, "B K N"]:
        """The cross-entropy of every voxel, written over `error`."""
        return torch.ops.aten.softplus.out(self.error, out=self.error)

    def right_(self) -> Shaped[Tensor, "B K N"]:
        """The probability of the right one, written over `error`."""
        return torch.sub(1, self.q, out=self.error)

    def by_truth(self, x: Shaped[Tensor, "B K N"]) -> ByChoice:
        """The sums over the voxels of each truth; of two classes K may be any number."""
        if self.how.joint:
            return torch.bmm(x, self.g[:, 0].transpose(1, 2))
        sums = [torch.mul(x, g, out=self.free).sum(2) for g in (self.background, self.foreground)]
        return torch.stack(sums, 2)

    def of_truth(self, price: ByChoice, out: Block | None = None) -> Shaped[Tensor, "B K N"]:
        """The price of the truth of every voxel, zero where ignored."""
        no, yes = price.unsqueeze(3).unbind(2)
        return torch.mul(self.background, no, out=out).addcmul_(self.foreground, yes)
