"""Sums of predicted and true class membership: all that an overlap loss knows of an image.

A loss of the region family is a function of a few sums over voxels, for each image and class. They are taken in one
pass over the logits, block by block; the gradient recomputes each block, so that nothing of the size of the logits is
kept between the passes, and class indices are never spread into a one-hot map of the image.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.autograd import Function
from torch.distributed import ProcessGroup

from segloss.core.blocks import Block, blocks, chain, kept, part, predicted, put
from segloss.core.distributed import all_sum
from segloss.core.inputs import (
    Absent,
    Activation,
    ClassWeight,
    Inputs,
    Labels,
    Logits,
    Mask,
    Reduction,
    ResolvedActivation,
    check_absent,
    check_reduction,
    class_range,
    class_weight,
    prepare,
    sum_dtype,
)
from segloss.core.pair import pair_gradient_, pair_sums

Term = Callable[[Any, Any], Tensor]
Terms = tuple[Term, ...]
Sums = Float[Tensor, "B C"]

MANY_CLASSES = 32  # up to here a one-hot map of a block, in the cache, costs less than to gather and scatter


@dataclass(frozen=True)
class Evidence:
    r"""Sums over the voxels of an image (or of the whole batch, then B = 1), for each class.

    It also carries how the losses of images and classes are to be reduced.

    Attributes:
        p: Predicted membership, $\sum p$.
        g: True membership, $\sum g$.
        tp: Soft true positives, $\sum p g$.
        n: Number of voxels that count.
        terms: Sums of the terms asked for, each (B, C).
        weight: Weight of each class among those that take part.
        group: Process group over which means are taken; None where the sums are those of the whole group already.
        dtype: Type of the logits, in which the loss is returned.
    """

    p: Sums
    g: Sums
    tp: Sums
    n: Float[Tensor, "B 1"]
    terms: tuple[Sums, ...]
    weight: Float[Tensor, " C"] | None
    absent: Absent
    reduction: Reduction
    group: ProcessGroup | None
    dtype: torch.dtype

    @property
    def fp(self) -> Sums:
        r"""Soft false positives, $\sum p (1 - g)$."""
        return self.p - self.tp

    @property
    def fn(self) -> Sums:
        r"""Soft false negatives, $\sum (1 - p) g$."""
        return self.g - self.tp


def evidence(
    logits: Logits,
    target: Labels,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
    *,
    terms: Terms = (),
    cost: Float[Tensor, "C C"] | None = None,
) -> Evidence:
    """Class sums of one pass over the logits, with every keyword checked before.

    The keywords stand in the order of every signature, so that a loss passes them on in a line. Each of `terms` is a
    pointwise function f(p, g) of probability and membership whose sum over the voxels is wanted too; it meets g = 0
    and g = 1 as numbers where the target holds class indices.
    """
    check_reduction(reduction)
    check_absent(absent)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask)
    if cost is not None and (x.dense or x.activation == "sigmoid"):
        raise ValueError(
            f"target must be class indices, of classes that exclude each other, got {target.dtype} "
            f"{tuple(target.shape)} with activation {x.activation!r}"
        )
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    sums, n = class_sums(x, terms, cost), count(x)
    if batch:
        sums, n = (all_sum(v.sum(0, keepdim=True), group) for v in (sums, n))
    p, tp, g, *rest = sums[:, :, classes].unbind(1)
    remaining = None if batch else group
    return Evidence(p, g, tp, n, tuple(rest), of_class, absent, reduction, remaining, logits.dtype)


def count(x: Inputs) -> Float[Tensor, "B 1"]:
    """Number of voxels of each image that count."""
    dtype, device = sum_dtype(x.logits.device), x.logits.device
    if x.valid is not None:
        return x.valid.sum(2, dtype=dtype)
    return torch.full((x.logits.shape[0], 1), x.logits.shape[2], dtype=dtype, device=device)


def class_sums(x: Inputs, terms: Terms = (), cost: Tensor | None = None) -> Float[Tensor, "B K C"]:
    """The sums of p, p g, g, of every term, and of the cost, in this order, for each image and class."""
    sums = _plain_sums if torch.compiler.is_compiling() else _BlockSums.apply
    return sums(x.logits, x.labels, x.valid, cost, x.activation, x.dense, terms)  # pyright: ignore[reportReturnType]


def _plain_sums(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    cost: Tensor | None,
    activation: ResolvedActivation,
    dense: bool,
    terms: Terms,
) -> Float[Tensor, "B K C"]:
    """The sums in one block and in plain operations, for compilers and for second derivatives."""
    return _sums(*_membership(logits, labels, valid, activation, dense), valid, terms, cost)


class _BlockSums(Function):
    """The sums taken block by block, so that nothing of the size of the logits is held but their gradient."""

    @staticmethod
    def forward(
        logits: Block,
        labels: Tensor,
        valid: Tensor | None,
        cost: Tensor | None,
        activation: ResolvedActivation,
        dense: bool,
        terms: Terms,
    ) -> Tensor:
        kinds = 3 + len(terms) + (cost is not None)
        sums = logits.new_zeros(logits.shape[0], kinds, logits.shape[1], dtype=sum_dtype(logits.device))
        for at, work in blocks(logits):
            here = part(valid, at)
            if kinds == 3 and _is_pair(logits, activation, dense):
                sums[at[0]] += pair_sums(logits[at], labels[at], here, work)
                continue
            p, g = _membership(logits[at], labels[at], here, activation, dense, work)
            sums[at[0]] += _sums(p, g, here, terms, cost)
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.activation, ctx.dense, ctx.terms = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (price,), (logits, labels, valid, cost) = prices, ctx.saved_tensors
        if torch.is_grad_enabled():
            sums = _plain_sums(logits, labels, valid, cost, ctx.activation, ctx.dense, ctx.terms)
            return *torch.autograd.grad(sums, logits, price, create_graph=True), *[None] * 6

        gradient = torch.empty_like(logits)
        for at, work in blocks(logits):
            here = part(valid, at)
            if price.shape[1] == 3 and _is_pair(logits, ctx.activation, ctx.dense):
                pair_gradient_(gradient[at], logits[at], labels[at], here, price[at[0]], work)
                continue
            p, g = _membership(logits[at], labels[at], here, ctx.activation, ctx.dense, work)
            slope = _slope(p, g, ctx.terms, cost, price[at[0]], work[1])
            chain(gradient[at], slope, p, here, ctx.activation)
        return gradient, *[None] * 6


def _is_pair(logits: Block, activation: ResolvedActivation, dense: bool) -> bool:
    return activation == "softmax" and logits.shape[1] == 2 and not dense


def _membership(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    activation: ResolvedActivation,
    dense: bool,
    work: tuple[Block, Block] | None = None,
) -> tuple[Block, Tensor]:
    """Predicted and true membership, zero where ignored; where there are many classes the truth stays a class index.

    With `work`, two arrays of the shape of the block, p stands in the first, a floating truth in the second, and no
    other array of that shape is made.
    """
    p = predicted(logits, valid, activation, work)
    if not dense and p.shape[1] > MANY_CLASSES:
        return p, kept(labels.long(), valid)
    second = None if work is None else work[1]
    if dense or p.shape[1] == 1:
        return p, kept(put(labels, p.dtype, second), valid, in_place=work is not None)
    if labels.device.type == "cpu":
        labels = labels.to(torch.uint8)  # their range is checked, and short integers compare faster
    index = torch.arange(p.shape[1], dtype=labels.dtype, device=labels.device).view(1, -1, 1)
    g = (labels == index).to(p.dtype) if second is None else torch.eq(labels, index, out=second)
    return p, kept(g, valid, in_place=work is not None)


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
