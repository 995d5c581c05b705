"""Classes that exclude each other, as scores whose softmax is the prediction; and which of them are rare."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import Activation, HardLabels, Inputs, Logits, Mask, compute_dtype, prepare, short_labels
from segloss.core.named import CROSS_ENTROPY, focused, powered, together
from segloss.core.overlap import Evidence, evidence
from segloss.core.parts import Part, class_part, image_part
from segloss.core.pointwise import power
from segloss.core.reduce import ratio
from segloss.core.sums import count
from segloss.core.truth import Term, VoxelLoss


def exclusive(
    logits: Logits,
    target: HardLabels,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
) -> Inputs:
    """Check the inputs of a loss of exclusive classes.

    The logits, 0 where ignored, are in the type voxels are computed in, logarithms of what were probabilities; labels
    are 0 where ignored.
    """
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if x.dense or x.activation == "sigmoid" or logits.shape[1] == 1:
        raise ValueError(
            f"target must be class indices, of classes that exclude each other, got {target.dtype} "
            f"{tuple(target.shape)} with {logits.shape[1]} channels and activation {x.activation!r}"
        )
    scores = kept(x.logits.to(compute_dtype(logits.dtype)), x.valid)
    if x.activation == "none":
        scores = scores.clamp(min=torch.finfo(scores.dtype).tiny).log()
    return Inputs(scores, kept(short_labels(x.labels, logits.shape[1]), x.valid), x.valid, "softmax", False, x.shape)


def rare_classes(
    rare: Collection[int] | None, asymmetric: bool, x: Inputs
) -> tuple[Bool[Tensor, " C"], Bool[Tensor, " C"]]:
    """The classes treated as rare, and those treated as common; without asymmetry each is both."""
    classes, device = x.logits.shape[1], x.logits.device
    if not asymmetric:
        every = torch.ones(classes, dtype=torch.bool, device=device)
        return every, every
    labels = range(1, classes) if rare is None else rare
    if unknown := [label for label in labels if label not in range(classes)]:
        raise ValueError(f"rare names {unknown}, but there are classes 0 to {classes - 1}")
    chosen = torch.tensor([label in labels for label in range(classes)], dtype=torch.bool)
    chosen = chosen.to(device, non_blocking=True)
    return chosen, ~chosen


def focal_log(
    log_q: Float[Tensor, "B K N"], focal: Bool[Tensor, "..."], gamma: float, eps: float
) -> Float[Tensor, "B K N"]:
    """Minus the logarithm of a probability, with a focal factor where that is asked for."""
    log = (log_q.exp() + eps).log() if eps else log_q
    return -log * torch.where(focal, power(eps - log_q.expm1(), gamma), 1.0)


def log_loss(eps: float) -> VoxelLoss:
    """Minus the logarithm of a probability."""
    if not eps:
        return CROSS_ENTROPY
    return VoxelLoss(value=lambda q, ce: -(1 - q + eps).log(), slope=lambda q, ce: (1 - q) / (1 - q + eps))


def focal_log_loss(gamma: float, eps: float) -> VoxelLoss:
    """Minus the logarithm of a probability, with a focal factor."""
    if not gamma:
        return log_loss(eps)
    if not eps:
        return focused(gamma)

    def value(q: Tensor, ce: Tensor) -> Tensor:
        return power(q + eps, gamma) * -(1 - q + eps).log()

    def slope(q: Tensor, ce: Tensor) -> Tensor:
        missed, right = q + eps, 1 - q
        return power(missed, gamma - 1) * right * (missed / (right + eps) - gamma * (right + eps).log())

    return VoxelLoss(value, slope)


def focal_miss_loss(gamma: float, eps: float) -> VoxelLoss:
    """What is missing of a probability, with a focal factor."""
    if not eps:
        return powered(of_q=gamma + 1)
    return VoxelLoss(
        value=lambda q, ce: q * power(q + eps, gamma),
        slope=lambda q, ce: (1 - q) * (q + eps + gamma * q) * power(q + eps, gamma - 1),
    )


def focal_miss(gamma: float, eps: float) -> Term:
    """False negatives with the focal factor, a term of a pass."""

    def slope(p: Tensor, g: Tensor | float) -> Tensor:
        left = 1 - p + eps
        return -g * (power(left, gamma) + gamma * (1 - p) * power(left, gamma - 1))

    return Term(lambda p, g: g * (1 - p) * power(1 - p + eps, gamma), slope)


def margin_parts(
    x: Inputs,
    labels: Integer[Tensor, "B 1 N"],
    counted: Bool[Tensor, "B 1 N"] | None,
    rare: Bool[Tensor, " C"],
    common: Bool[Tensor, " C"],
    *,
    gamma: float,
    margin: float,
    eps: float,
    smooth: float,
    **how: Any,
) -> tuple[Part, Part, Evidence]:
    """Cross-entropy and Dice with a margin for rare classes and a focal factor for common ones, and their sums.

    They are those of the voxels that are `counted`; the mean of the first is over all that count in `x`. `how` is for
    `evidence`.
    """
    e = evidence(
        x.spatial(x.logits),
        x.spatial(labels),
        "softmax",
        mask=None if counted is None else x.spatial(counted),
        voxel=together(log_loss(eps), focal_log_loss(gamma, eps), focal_miss_loss(gamma, eps)),
        lowered=margin * rare if margin else None,
        **how,
    )
    e = replace(e, n=e.pooled(count(x)))
    log, focal, missed = e.by_truth.unbind(1)
    ce = image_part(torch.where(common, focal, log).sum(1), e)
    return ce, class_part(focal_dice(e, missed, common, smooth), e), e


def focal_dice(
    e: Evidence, missed: Float[Tensor, "B C"], common: Bool[Tensor, " C"], smooth: float
) -> Float[Tensor, "B C"]:
    """The Dice loss whose false negatives are those with the focal factor, `missed`, in common classes."""
    missed, common = (it[..., -e.p.shape[1] :] for it in (missed, common))
    missed = torch.where(common, missed, e.fn)
    return ratio(e.fp + missed + smooth, e.p + e.g + smooth, empty=0.0)
