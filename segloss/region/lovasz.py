"""The Lovász extension of the Jaccard loss: on probabilities, and on margins."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Inputs,
    Logits,
    Mask,
    Reduction,
    Value,
    can_look_at,
    check_reduction,
    class_range,
    class_weight,
    count,
    mean_over_classes,
    one_of,
    piecewise_linear,
    prepare,
    sum_dtype,
)
from segloss.core.blocks import SIZE, kept, put

AT_ONCE, LONG = 2**22, 10**6
"""Voxels that a GPU sorts at a time, and those of a row that it sorts faster alone."""


def lovasz_softmax_loss(
    logits: Logits,
    target: HardLabels,
    *,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Literal["skip", "penalise"] = "skip",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = True,
    reduction: Reduction = "mean",
) -> Value:
    r"""Lovász-Softmax: the convex surrogate of the Jaccard loss, on the errors of the probabilities.

    $$L_c = \sum_{k=1}^{n} m_{\pi_k}
    \big[\Delta_c(\{\pi_1, \dots, \pi_k\}) - \Delta_c(\{\pi_1, \dots, \pi_{k-1}\})\big],
    \qquad m_i = |g_{ic} - p_{ic}|$$

    $\pi$ sorts the errors $m$ in decreasing order, and $\Delta_c(M) = |M| / |\{g_c = 1\} \cup M|$ is the Jaccard loss
    of class $c$ when the voxels $M$ are wrong. Where errors tie, the gradient is one of several subgradients.

    Args:
        absent: `"skip"` averages over the classes present, as the authors' code does; `"penalise"` over all, where an
            absent class costs the largest probability given to it.
        batch: Whether the voxels of all images are sorted together, as in the authors' code.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If the target is floating, or an input has the wrong shape, type or values.

    References:
        [berman2018lovasz], [eelbode2020optimization]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0], [-20.0, -20.0, 20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1]])
        >>> lovasz_softmax_loss(logits, target)
        tensor(0.4167)
    """
    check_reduction(reduction)
    one_of("absent", absent, ("skip", "penalise"))
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    classes = class_range(logits, include_background)
    of_class = None if weight is None else class_weight(weight, logits)[classes.start :]
    present = torch.cat([_rows(_truth(x, slice(c, c + 1)), batch).any(1).view(-1, 1) for c in classes], 1)
    of_two = x.activation == "softmax" and not x.dense and logits.shape[1] == 2

    def extension(p: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        loss = torch.zeros(present.shape, dtype=sum_dtype(p.device), device=p.device)
        p[:, : classes.start] = 0
        work, order = _Extension(p, batch), None
        for at in work.groups(classes, 1 if of_two else len(classes)):
            here = slice(at.start - classes.start, at.stop - classes.start)
            if absent == "skip" and can_look_at(p) and not present[:, here].any():
                p[:, at] = 0
                continue
            truth = _truth(x, at)
            put(truth, p.dtype, work.of_images(work.error)).sub_(p[:, at]).abs_()
            if order is None:
                work.sort()
            else:
                work.order = order
            order = work.order if of_two else None  # each is wrong by as much as the other: one order for both
            loss[:, here] = work.value(_rows(truth, batch)).view(len(loss), -1)
            falls = work.of_images(torch.neg(work.jump, out=work.inter))
            p[:, at] = torch.where(truth, falls, work.of_images(work.jump))
        return loss

    loss = piecewise_linear(x, extension)
    counted = present if absent == "skip" else _seen(x, batch)
    counted = counted * (torch.ones_like(loss) if of_class is None else of_class)
    return mean_over_classes(loss, counted, reduction, logits.dtype)


def lovasz_hinge_loss(
    logits: Logits,
    target: HardLabels,
    *,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    reduction: Reduction = "mean",
) -> Value:
    r"""Lovász hinge: the convex surrogate of the Jaccard loss, on the margins of the logits.

    $$L = \sum_{k=1}^{n} m_{\pi_k} \big[\Delta(\{\pi_1, \dots, \pi_k\}) - \Delta(\{\pi_1, \dots, \pi_{k-1}\})\big],
    \qquad m_i = \max(0, 1 - F_i (2 g_i - 1))$$

    $F$ are the logits, decided at 0, without an activation; $\pi$ and $\Delta$ as in `lovasz_softmax_loss`. Without
    foreground the loss is the largest margin. Several channels are overlapping labels, each with its own loss.

    Args:
        batch: Whether the voxels of all images are sorted together; the authors' code has one loss an image.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and channel, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If class indices meet more than one channel, the target is floating, or an input has the wrong
            shape, type or values.

    References:
        [berman2018lovasz]

    Examples:
        >>> logits = torch.tensor([[[2.0, -0.5, -2.0, 0.5]]])
        >>> target = torch.tensor([[1, 1, 0, 0]])
        >>> lovasz_hinge_loss(logits, target)
        tensor(1.)
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    if logits.shape[1] > 1 and not x.dense:
        raise ValueError(
            f"target must be boolean (B, C, *S) where logits have {logits.shape[1]} channels: "
            "the hinge has no classes that exclude each other"
        )

    def extension(scores: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        loss, work = [], _Extension(scores, batch)
        for at in work.groups(range(scores.shape[1]), scores.shape[1]):
            truth = _truth(x, at)
            sign = 2 * put(truth, scores.dtype, None) - 1
            margin = work.of_images(work.error)
            kept(torch.sub(1, scores[:, at] * sign, out=margin).relu_(), x.valid, in_place=True)
            work.sort()
            loss.append(work.value(_rows(truth, batch)).view(1 if batch else len(scores), -1))
            scores[:, at] = torch.where(margin > 0, -sign * work.of_images(work.jump), 0)
        return torch.cat(loss, 1)

    loss = piecewise_linear(replace(x, activation="none"), extension)
    return mean_over_classes(loss, _seen(x, batch) * torch.ones_like(loss), reduction, logits.dtype)


class _Extension:
    """The Lovász extension of the Jaccard loss at the errors of some classes after others, in the same memory.

    Attributes:
        error: How wrong each voxel is, a row for each class, or for each image and class; not negative.
        jump: By how much the Jaccard loss rises as each voxel joins the wrong ones, in decreasing order of error.
        inter: Room to work in.
        rank: The places in that order, from 1.
    """

    def __init__(self, p: Float[Tensor, "B C N"], batch: bool) -> None:
        self.images, _, self.voxels = p.shape
        self.batch = batch
        self.rank = torch.arange(1, 1 + (self.images if batch else 1) * self.voxels, dtype=p.dtype, device=p.device)
        self.space = p.new_empty(5, 0)

    def groups(self, classes: range, most: int) -> Iterator[slice]:
        """As many of the classes at a time as fit a cache, one at least; for each its rows."""
        each, on_cpu = self.images * self.voxels, self.space.device.type == "cpu"
        size = SIZE["cpu"] if on_cpu else AT_ONCE if len(self.rank) < LONG else each
        number = min(most, max(1, size // each))
        self.space = self.space.new_empty(5, number * each)
        for first in classes[::number]:
            last = min(first + number, classes.stop)
            rows = (last - first, -1) if self.batch else (-1, self.voxels)
            size = (last - first) * each
            self.error, self.jump, self.inter = self.space[2:, :size].unflatten(1, rows)
            self.order = self.space[:2].view(-1).view(torch.int64)[:size].view(rows)
            yield slice(first, last)

    def of_images(self, row: Float[Tensor, "R N"]) -> Float[Tensor, "B K N"]:
        """Rows by image and class."""
        if self.batch:
            return row.view(len(row), self.images, self.voxels).transpose(0, 1)
        return row.view(self.images, -1, self.voxels)

    def sort(self) -> None:
        """Find the order of decreasing error.

        On the CPU rows of float32 are sorted as the integers of their bits, which torch does by radix: the bits of
        floating numbers that are not negative sort as the numbers do.
        """
        if not can_look_at(self.error) or self.error.dtype != torch.float32:
            self.order = self.error.sort(1, descending=True).indices
            return
        keys, values = self.inter.view(torch.int32), self.jump.view(torch.int32)
        torch.sub(2**31 - 1, self.error.view(torch.int32), out=keys)
        for row in zip(keys, values, self.order, strict=True):
            torch.sort(row[0], out=row[1:])

    def value(self, truth: Bool[Tensor, "R N"]) -> Float[Tensor, " R"]:
        """The value, which leaves the jumps.

        Every Jaccard loss is 1 - intersection / union: a voxel of the class takes 1 from the intersection, another
        adds 1 to the union.
        """
        hit, inter, union = truth.gather(1, self.order), self.inter, self.jump
        size = torch.cumsum(hit, 1, dtype=inter.dtype, out=inter)[:, -1:].clone()
        inter.neg_().add_(size)
        torch.add(self.rank, inter, out=union)
        miss = hit.logical_not_()
        inter /= union
        inter /= union.sub_(1)
        torch.where(miss, inter, union.add_(1).reciprocal_(), out=inter)
        inter[:, :1] = torch.where(size == 0, 1, inter[:, :1])
        self.jump.scatter_(1, self.order, inter)
        return torch.mul(self.error, self.jump, out=inter).sum(1).to(sum_dtype(inter.device))


def _truth(x: Inputs, at: slice) -> Bool[Tensor, "B K N"]:
    """Where some of the classes are."""
    if x.dense:
        truth = x.labels[:, at]
    else:
        first = 0 if x.logits.shape[1] > 1 else 1  # the label of a channel that is alone
        labels = torch.arange(first + at.start, first + at.stop, device=x.labels.device)
        truth = x.labels == labels.view(1, -1, 1)
    return truth if x.valid is None else truth & x.valid


def _seen(x: Inputs, batch: bool) -> Bool[Tensor, "R 1"]:
    """Where any voxel counts."""
    n = count(x)
    return (n.sum(0, keepdim=True) if batch else n) > 0


def _rows(v: Bool[Tensor, "B K N"], batch: bool) -> Bool[Tensor, "R N"]:
    """A row for each class, or for each image and class."""
    return v.transpose(0, 1).flatten(1) if batch else v.flatten(0, 1)
