"""The Lovász extension of the Jaccard loss: the values, and the slopes that lead back from them."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from segloss.core.blocks import OF_BYTES, SIZE, kept, put
from segloss.core.compiled import loops_for
from segloss.core.inputs import Inputs, ResolvedActivation, can_look_at, sum_dtype

AT_ONCE, LONG = 2**22, 10**6
"""Voxels that a GPU sorts at a time, and those of a row that it sorts faster alone."""

Slices = tuple[slice, slice]
"""Some images, and some classes."""


def jaccard_extensions(
    x: Inputs, p: Float[Tensor, "B C N"], classes: range, *, batch: bool, hinge: bool = False, skip: bool = False
) -> tuple[Float[Tensor, "R K"], Bool[Tensor, "R K"]]:
    """The extensions for some classes, of each image or of the batch, and whether there are such classes.

    `p`, the probabilities, or with `hinge` the scores, turns into the slopes of the values. With `skip` an absent class
    costs nothing.
    """
    if torch.compiler.is_compiling():
        return _operator(p, x.labels, x.valid, x.activation, x.dense, classes.start, classes.stop, batch, hinge, skip)
    of_two = x.activation == "softmax" and not x.dense and p.shape[1] == 2
    one_order = of_two and len(classes) == 2  # each is wrong by as much as the other
    if native := loops_for(p, "native_lovasz"):
        least = 0 if x.activation == "none" else 1  # neither an activation nor a margin has a slope where an error is 0
        how = {"batch": batch, "hinge": hinge, "skip": skip, "least": least, "of_two": one_order}
        return native.extensions(p, x.labels, x.valid, classes, **how)
    shape = 1 if batch else len(p), len(classes)
    loss = torch.zeros(shape, dtype=sum_dtype(p.device), device=p.device)
    present = torch.zeros(shape, dtype=torch.bool, device=p.device)
    work, order = _Extension(p, batch), None
    for at, here in work.groups(classes, 1 if of_two else len(classes)):
        truth = _truth(x, *at)
        present[here] = _rows(truth, batch).any(1).view(present[here].shape)
        if skip and can_look_at(p) and not present[here].any():
            p[at] = 0
            continue
        error = work.of_images(work.error)
        if hinge:
            torch.sub(1, p[at] * (2 * put(truth, p.dtype, None) - 1), out=error).relu_()
            kept(error, None if x.valid is None else x.valid[at[0]], in_place=True)
        else:
            put(truth, p.dtype, error).sub_(p[at]).abs_()
        work.sort(truth, order)
        order = work.order if one_order and at[1].start == 0 else None
        loss[here] = work.value().view(loss[here].shape)
        sign = put(truth, p.dtype, work.of_images(work.inter)).mul_(-2).add_(1)
        torch.mul(sign.mul_(error > 0) if hinge else sign, work.of_images(work.jump), out=p[at])
    return loss, present


@torch.library.custom_op("segloss::jaccard_extensions", mutates_args=("p",))
def _operator(
    p: Tensor,
    labels: Tensor,
    valid: Tensor | None,
    activation: str,
    dense: bool,
    first: int,
    stop: int,
    batch: bool,
    hinge: bool,
    skip: bool,
) -> tuple[Tensor, Tensor]:
    """The same as one operator to a compiler, whose own sort takes ten times as long."""
    x = Inputs(p, labels, valid, cast(ResolvedActivation, activation), dense, p.shape)
    return jaccard_extensions(x, p, range(first, stop), batch=batch, hinge=hinge, skip=skip)


@_operator.register_fake
def _(p: Tensor, *others: Any) -> tuple[Tensor, Tensor]:
    first, stop, batch = others[4:7]
    shape = 1 if batch else p.shape[0], stop - first
    return p.new_empty(shape, dtype=sum_dtype(p.device)), p.new_empty(shape, dtype=torch.bool)


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


def _rows(v: Bool[Tensor, "B K N"], batch: bool) -> Bool[Tensor, "R N"]:
    """A row for each class, or for each image and class."""
    return v.transpose(0, 1).flatten(1) if batch else v.flatten(0, 1)
