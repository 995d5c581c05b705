"""The Lovász extension of the Jaccard loss: on probabilities, and on margins."""

import sys
from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Integer
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

Order = Integer[Tensor, "R N"]


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
    present = torch.stack([_pooled(_truth(x, c), batch).any(1) for c in classes], 1)

    of_two = x.activation == "softmax" and not x.dense and logits.shape[1] == 2

    def class_loss(p: Float[Tensor, "B C N"], c: int, order: Order | None) -> tuple[Float[Tensor, " R"], Order]:
        truth = _pooled(_truth(x, c), batch)
        error = truth.to(p.dtype).sub_(_pooled(p[:, c], batch)).abs_()
        order = _descending(error) if order is None else order
        jump = _jumps(order, truth, error.dtype)
        loss = _inner(error, jump)
        p[:, c] = torch.where(truth, jump.neg(), jump).view_as(p[:, c])
        return loss, order

    def extension(p: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        loss = torch.zeros(present.shape, dtype=sum_dtype(p.device), device=p.device)
        p[:, : classes.start] = 0
        order = None
        for k, c in enumerate(classes):
            if absent == "skip" and can_look_at(p) and not present[:, k].any():
                p[:, c] = 0
            else:  # of two classes each is wrong by as much as the other: one order for both
                loss[:, k], found = class_loss(p, c, order)
                order = found if of_two else None
                del found
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
        loss = []
        for c in range(scores.shape[1]):
            truth = _pooled(_truth(x, c), batch)
            sign = 2 * truth.to(scores.dtype) - 1
            margin = (1 - _pooled(scores[:, c], batch) * sign).relu()
            if x.valid is not None:
                margin = margin.masked_fill(~_pooled(x.valid[:, 0], batch), 0)
            jump = _jumps(_descending(margin), truth, margin.dtype)
            loss.append(_inner(margin, jump))
            scores[:, c] = torch.where(margin > 0, -sign * jump, 0).view_as(scores[:, c])
        return torch.stack(loss, 1)

    loss = piecewise_linear(replace(x, activation="none"), extension)
    return mean_over_classes(loss, _seen(x, batch) * torch.ones_like(loss), reduction, logits.dtype)


def _jumps(order: Order, truth: Bool[Tensor, "R N"], dtype: torch.dtype) -> Float[Tensor, "R N"]:
    """The rise of the Jaccard loss as each voxel joins the wrong ones in this order.

    Every loss is 1 - intersection / union: a voxel of the class takes 1 from the intersection, another adds 1 to the
    union.
    """
    hit = truth.gather(1, order)
    inter = hit.cumsum(1, dtype=torch.int32)
    size = inter[:, -1:].clone()
    inter = inter.neg_().add_(size).to(dtype)
    union = hit.logical_not().cumsum(1, dtype=torch.int32).add_(size).to(dtype)
    inter /= union
    inter /= union.sub_(1)
    jump = torch.where(hit, union.add_(1).reciprocal_(), inter, out=inter)
    jump[:, :1] = torch.where(size == 0, 1, jump[:, :1])
    return union.scatter_(1, order, jump)


def _descending(error: Float[Tensor, "R N"]) -> Order:
    """The order of decreasing error; errors are not negative.

    On the CPU, error and place of a voxel are packed into one integer, so that NumPy's vectorised sort does the work:
    the bits of floating numbers that are not negative sort as the numbers do.
    """
    if not can_look_at(error) or error.dtype != torch.float32:
        return error.sort(1, descending=True).indices
    key = torch.empty_like(error, dtype=torch.int64)
    low, high = key.view(torch.int32).unflatten(1, (-1, 2)).unbind(2)[:: 1 if sys.byteorder == "little" else -1]
    torch.bitwise_not(error.view(torch.int32), out=high)
    low.copy_(torch.arange(error.shape[1], dtype=torch.int32))
    key.numpy().sort(1)
    return key.bitwise_and_(2**32 - 1)


def _truth(x: Inputs, c: int) -> Bool[Tensor, "B N"]:
    """Where class `c` is."""
    truth = x.labels[:, c] if x.dense else x.labels[:, 0] == (c if x.logits.shape[1] > 1 else 1)
    return truth if x.valid is None else truth & x.valid[:, 0]


def _seen(x: Inputs, batch: bool) -> Bool[Tensor, "R 1"]:
    """Where any voxel counts."""
    n = count(x)
    return (n.sum(0, keepdim=True) if batch else n) > 0


def _pooled(v: Tensor, batch: bool) -> Tensor:
    return v.reshape(1, -1) if batch else v


def _inner(a: Tensor, b: Tensor) -> Float[Tensor, " R"]:
    return (a * b).sum(1, dtype=sum_dtype(a.device))
