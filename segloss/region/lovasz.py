"""The Lovász extension of the Jaccard loss: on probabilities, and on margins."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Integer, Shaped
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
    short_labels,
    sum_dtype,
)
from segloss.core.blocks import OF_BYTES, SIZE, kept, put
from segloss.core.compiled import loops_for

AT_ONCE, LONG = 2**22, 10**6
"""Voxels that a GPU sorts at a time, and those of a row that it sorts faster alone."""

Slices = tuple[slice, slice]
"""Some images, and some classes."""


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
    if not x.dense:
        x = replace(x, labels=short_labels(x.labels, logits.shape[1]))
    classes = class_range(logits, include_background)
    of_class = None if weight is None else class_weight(weight, logits)[classes.start :]
    present = torch.zeros(1 if batch else len(logits), len(classes), dtype=torch.bool, device=logits.device)
    of_two = x.activation == "softmax" and not x.dense and logits.shape[1] == 2
    one_order = of_two and len(classes) == 2  # each is wrong by as much as the other

    def extension(p: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        p[:, : classes.start] = 0
        if native := loops_for(p, "native_lovasz"):
            least = 0 if x.activation == "none" else 1  # the activation has no slope where an error is 0
            how = {"batch": batch, "hinge": False, "skip": absent == "skip", "least": least, "of_two": one_order}
            loss, present[:] = native.extensions(p, x.labels, x.valid, classes, **how)
            return loss
        loss = torch.zeros(present.shape, dtype=sum_dtype(p.device), device=p.device)
        work, order = _Extension(p, batch), None
        for at, here in work.groups(classes, 1 if of_two else len(classes)):
            truth = _truth(x, *at)
            present[here] = _rows(truth, batch).any(1).view(present[here].shape)
            if absent == "skip" and can_look_at(p) and not present[here].any():
                p[at] = 0
                continue
            put(truth, p.dtype, work.of_images(work.error)).sub_(p[at]).abs_()
            work.sort(truth, order)
            order = work.order if one_order and at[1].start == 0 else None
            loss[here] = work.value().view(loss[here].shape)
            sign = put(truth, p.dtype, work.of_images(work.inter)).mul_(-2).add_(1)
            torch.mul(sign, work.of_images(work.jump), out=p[at])
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
    if not x.dense:
        x = replace(x, labels=short_labels(x.labels, 2))
    if logits.shape[1] > 1 and not x.dense:
        raise ValueError(
            f"target must be boolean (B, C, *S) where logits have {logits.shape[1]} channels: "
            "the hinge has no classes that exclude each other"
        )

    def extension(scores: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        every = range(scores.shape[1])
        if native := loops_for(scores, "native_lovasz"):
            how = {"batch": batch, "hinge": True, "skip": False, "least": 1, "of_two": False}
            return native.extensions(scores, x.labels, x.valid, every, **how)[0]
        shape = 1 if batch else len(scores), scores.shape[1]
        loss = torch.zeros(shape, dtype=sum_dtype(scores.device), device=scores.device)
        work = _Extension(scores, batch)
        for at, here in work.groups(every, len(every)):
            truth = _truth(x, *at)
            valid = None if x.valid is None else x.valid[at[0]]
            sign = 2 * put(truth, scores.dtype, None) - 1
            margin = work.of_images(work.error)
            kept(torch.sub(1, scores[at] * sign, out=margin).relu_(), valid, in_place=True)
            work.sort(truth)
            loss[here] = work.value().view(loss[here].shape)
            active = torch.gt(margin, 0, out=work.of_images(work.inter))
            torch.mul(active.mul_(sign.neg_()), work.of_images(work.jump), out=scores[at])
        return loss

    loss = piecewise_linear(replace(x, activation="none"), extension)
    return mean_over_classes(loss, _seen(x, batch) * torch.ones_like(loss), reduction, logits.dtype)


class _Extension:
    """The Lovász extension of the Jaccard loss at the errors of some classes after others, in the same memory.

    Attributes:
        error: How wrong each voxel is, a row for each class, or for each image and class; not negative.
        jump: By how much the Jaccard loss rises as each voxel joins the wrong ones, in decreasing order of error.
        inter: Room to work in.
        hit: 1 where a voxel is of the class, in that order, else 0; it is used up.
        rank: The places in that order, from 1.
    """

    def __init__(self, p: Float[Tensor, "B C N"], batch: bool) -> None:
        self.images, _, self.voxels = p.shape
        self.batch = batch
        self.rank = torch.arange(1, 1 + (self.images if batch else 1) * self.voxels, dtype=p.dtype, device=p.device)
        self.space = p.new_empty(6, 0)

    def groups(self, classes: range, most: int) -> Iterator[tuple[Slices, Slices]]:
        """As many images and classes at a time as fit a cache, one row at least: of p, and of the losses by row."""
        row, on_cpu = len(self.rank), self.space.device.type == "cpu"
        size = SIZE["cpu"] if on_cpu else AT_ONCE if row < LONG else row
        number = max(1, size // row)
        images = self.images if self.batch else min(self.images, number)
        number = min(most, max(1, number if self.batch else number // images))
        self.space = self.space.new_empty(6, number * images * self.voxels)
        for start in range(0, self.images, images):
            some = slice(start, min(start + images, self.images))
            for first in classes[::number]:
                last = min(first + number, classes.stop)
                self.together = last - first
                size = self.together * (some.stop - some.start) * self.voxels
                self.error, self.jump, self.inter, self.hit = self.space[2:, :size].unflatten(1, (-1, row))
                self.order = self.space[:2].view(-1).view(torch.int64)[:size].view(-1, row)
                losses = slice(0, 1) if self.batch else some, slice(first - classes.start, last - classes.start)
                yield (some, slice(first, last)), losses

    def of_images(self, row: Shaped[Tensor, "R N"]) -> Shaped[Tensor, "B K N"]:
        """Rows by image and class."""
        if self.batch:
            return row.view(len(row), self.images, self.voxels).transpose(0, 1)
        return row.view(-1, self.together, self.voxels)

    def sort(self, truth: Bool[Tensor, "B K N"], order: Integer[Tensor, "R N"] | None = None) -> None:
        """Find the order of decreasing error, unless it is given, and the truth in this order.

        What is sorted are integers, which torch does by radix on the CPU: the bits of a floating number that is not
        negative sort as the numbers do, and leave room for the truth in the last.
        """
        if order is not None:
            self.order = order
            self.hit.copy_(_rows(truth, self.batch).gather(1, order))
            return
        kind = OF_BYTES[self.error.element_size()]
        keys, values = self.inter.view(kind), self.jump.view(kind)
        torch.sub(torch.iinfo(kind).max - 1, self.error.view(kind), alpha=2, out=keys)
        self.of_images(keys).add_(truth.view(torch.uint8))
        each = zip(keys, values, self.order, strict=True) if can_look_at(keys) else [(keys, values, self.order)]
        for rows in each:
            torch.sort(rows[0], out=rows[1:])
        self.hit.copy_(values.bitwise_and_(1))

    def value(self) -> Float[Tensor, " R"]:
        """The value, which leaves the jumps.

        Every Jaccard loss is 1 - intersection / union: a voxel of the class takes 1 from the intersection, and so
        1 / union from the ratio; another adds 1 to the union.
        """
        hit, inter, union = self.hit, self.inter, self.jump
        size = torch.cumsum(hit, 1, out=inter)[:, -1:].clone()
        inter.neg_().add_(size)
        torch.add(self.rank, inter, out=union)
        inter.addcmul_(inter, hit, value=-1).div_(union)
        hit.div_(union)
        inter.div_(union.sub_(1).clamp_(min=1)).add_(hit)
        inter[:, :1] = torch.where(size == 0, 1, inter[:, :1])
        self.jump.scatter_(1, self.order, inter)
        return torch.mul(self.error, self.jump, out=inter).sum(1).to(sum_dtype(inter.device))


def _truth(x: Inputs, images: slice, classes: slice) -> Bool[Tensor, "B K N"]:
    """Where some of the classes are in some of the images."""
    if x.dense:
        truth = x.labels[images, classes]
    else:
        first = 0 if x.logits.shape[1] > 1 else 1  # the label of a channel that is alone
        labels = torch.arange(classes.start, classes.stop, dtype=x.labels.dtype, device=x.labels.device) + first
        truth = x.labels[images] == labels.view(1, -1, 1)
    return truth if x.valid is None else truth & x.valid[images]


def _seen(x: Inputs, batch: bool) -> Bool[Tensor, "R 1"]:
    """Where any voxel counts."""
    n = count(x)
    return (n.sum(0, keepdim=True) if batch else n) > 0


def _rows(v: Bool[Tensor, "B K N"], batch: bool) -> Bool[Tensor, "R N"]:
    """A row for each class, or for each image and class."""
    return v.transpose(0, 1).flatten(1) if batch else v.flatten(0, 1)
