"""Classes that exclude each other, as scores whose softmax is the prediction; and which of them are rare."""

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import Activation, HardLabels, Inputs, Logits, Mask, compute_dtype, prepare
from segloss.core.overlap import Evidence
from segloss.core.pointwise import power
from segloss.core.reduce import ratio
from segloss.core.truth import Term


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
    return Inputs(scores, kept(x.labels.long(), x.valid), x.valid, "softmax", False, x.shape)


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


def with_margin(
    x: Inputs, truth: Float[Tensor, "B C N"], margin: float, rare: Bool[Tensor, " C"]
) -> Float[Tensor, "B C *S"]:
    """Logits of which those of the truth are lowered by the margin, in rare classes."""
    return x.spatial(x.logits - margin * truth * rare.view(-1, 1) if margin else x.logits)


def focal_log(
    log_q: Float[Tensor, "B K N"], focal: Bool[Tensor, "..."], gamma: float, eps: float
) -> Float[Tensor, "B K N"]:
    """Minus the logarithm of a probability, with a focal factor where that is asked for."""
    log = (log_q.exp() + eps).log() if eps else log_q
    return -log * torch.where(focal, power(eps - log_q.expm1(), gamma), 1.0)


def focal_miss(gamma: float, eps: float) -> Term:
    """False negatives with the focal factor, a term of a pass."""

    def slope(p: Tensor, g: Tensor | float) -> Tensor:
        left = 1 - p + eps
        return -g * (power(left, gamma) + gamma * (1 - p) * power(left, gamma - 1))

    return Term(lambda p, g: g * (1 - p) * power(1 - p + eps, gamma), slope)


def focal_dice(e: Evidence, common: Bool[Tensor, " C"], smooth: float) -> Float[Tensor, "B C"]:
    """The Dice loss whose false negatives have the focal factor, the last term, in common classes."""
    missed = torch.where(common[-e.p.shape[1] :], e.terms[-1], e.fn)
    return ratio(e.fp + missed + smooth, e.p + e.g + smooth, empty=0.0)
