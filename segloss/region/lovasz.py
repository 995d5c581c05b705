"""The Lovász extension of the Jaccard loss: on probabilities, and on margins."""

from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
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
    check_reduction,
    class_range,
    class_weight,
    count,
    jaccard_extensions,
    mean_over_classes,
    one_of,
    piecewise_linear,
    prepare,
    short_labels,
)


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
    classes, known = class_range(logits, include_background), x.without_logits()
    of_class = None if weight is None else class_weight(weight, logits)[classes.start :]

    def extension(p: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        p[:, : classes.start] = 0
        loss, present[:] = jaccard_extensions(known, p, classes, batch=batch, skip=absent == "skip")
        return F.pad(loss, (classes.start, 0))

    present = torch.zeros(1 if batch else len(logits), len(classes), dtype=torch.bool, device=logits.device)
    loss = piecewise_linear(x, extension)[:, classes.start :]
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

    known = replace(x, activation="none").without_logits()

    def extension(scores: Float[Tensor, "B C N"]) -> Float[Tensor, "R C"]:
        return jaccard_extensions(known, scores, range(scores.shape[1]), batch=batch, hinge=True)[0]

    loss = piecewise_linear(replace(x, activation="none"), extension)
    return mean_over_classes(loss, _seen(x, batch) * torch.ones_like(loss), reduction, logits.dtype)


def _seen(x: Inputs, batch: bool) -> Bool[Tensor, "R 1"]:
    """Where any voxel counts."""
    n = count(x)
    return (n.sum(0, keepdim=True) if batch else n) > 0
