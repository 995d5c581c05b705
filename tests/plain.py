"""A Dice loss written without the library: what keeps the contract, so that what breaks it can be made from it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

Word = str


def plain_dice(
    logits: Tensor,
    target: Tensor,
    *,
    label_distance: Tensor | None = None,
    activation: Word = "auto",
    include_background: bool = True,
    weight: Tensor | None = None,
    absent: Word = "smooth",
    ignore_index: int | None = None,
    mask: Tensor | None = None,
    batch: bool = False,
    reduction: Word = "mean",
) -> Tensor:
    """One minus the Dice overlap of an image and class; `label_distance` weighs it, to have an input (C, C)."""
    truth, valid = checked(logits, target, activation, absent, ignore_index, mask, reduction)
    classes = logits.shape[1]
    if weight is not None and tuple(weight.shape) != (classes,):
        raise ValueError(f"weight must have shape ({classes},)")
    if classes == 1 and not include_background:
        raise ValueError("include_background=False leaves no class")

    x = torch.where(valid, logits, 0).to(torch.promote_types(logits.dtype, torch.float32))
    soft = activation == "softmax" or (activation == "auto" and classes > 1)
    p = x if activation == "none" else x.softmax(1) if soft else x.sigmoid()
    p, truth = torch.where(valid, p, 0), torch.where(valid, truth.to(x.dtype), 0)
    p, g, tp, n = (part.flatten(2).sum(2) for part in (p, truth, p * truth, valid.to(x.dtype)))
    if batch:
        p, g, tp, n = (part.sum(0, keepdim=True) for part in (p, g, tp, n))

    loss = 1 - torch.where(p + g == 0, 1, 2 * tp) / torch.where(p + g == 0, 1, p + g)
    counted = torch.ones_like(loss) if weight is None else weight.to(loss).expand_as(loss)
    if label_distance is not None:
        counted = counted * label_distance.to(loss).mean(0)
    if absent == "skip":
        counted = counted * (g > 0)
    elif absent == "penalise":
        loss = torch.where(g > 0, loss, p / n.clamp(min=1))
    if not include_background:
        loss, counted = loss[:, 1:], counted[:, 1:]
    if reduction == "mean":
        share = counted.sum(1)
        loss = (loss * counted).sum(1) / torch.where(share > 0, share, 1)
        return (loss.sum() / (share > 0).sum().clamp(min=1)).to(logits.dtype)
    loss = loss * counted
    return (loss.sum() if reduction == "sum" else loss).to(logits.dtype)


def checked(
    logits: Tensor,
    target: Tensor,
    activation: Word,
    absent: Word,
    ignore_index: int | None,
    mask: Tensor | None,
    reduction: Word,
) -> tuple[Tensor, Tensor]:
    """The target as (B, C, *S), and the voxels that count; everything that does not fit is refused."""
    known = {"activation": ("auto", "softmax", "sigmoid", "none"), "absent": ("smooth", "skip", "penalise")}
    for name, word in {"activation": activation, "absent": absent, "reduction": reduction}.items():
        if word not in known.get(name, ("mean", "sum", "none")):
            raise ValueError(f"{name} is {word!r}")
    if not isinstance(logits, Tensor) or not logits.is_floating_point() or not 3 <= logits.ndim <= 5:
        raise ValueError("logits must be a floating tensor (B, C, *S)")
    b, classes, *space = logits.shape
    if activation == "softmax" and classes == 1:
        raise ValueError("activation must not be softmax for one channel")
    if not isinstance(target, Tensor) or target.is_complex():
        raise ValueError("target must be a real tensor")
    valid = torch.ones(b, 1, *space, dtype=torch.bool)
    if mask is not None:
        if mask.shape != valid.shape or (not torch.compiler.is_compiling() and ((mask != 0) & (mask != 1)).any()):
            raise ValueError("mask must be ones and zeros (B, 1, *S)")
        valid = mask != 0
    if target.shape == logits.shape and (target.is_floating_point() or target.dtype == torch.bool):
        return target, valid
    if target.is_floating_point() or tuple(target.shape) not in ((b, *space), (b, 1, *space)):
        raise ValueError("target must be integer (B, *S)")
    labels = target.reshape(b, 1, *space)
    if ignore_index is not None:
        valid = valid & (labels != ignore_index)
    labels = torch.where(valid, labels, 0).long()
    if not torch.compiler.is_compiling() and not ((labels >= 0) & (labels < max(2, classes))).all():
        raise ValueError("target holds a label out of range")
    return labels == torch.arange(classes).reshape(1, -1, *[1] * len(space)) if classes > 1 else labels, valid


def plain_distance(
    logits: Tensor,
    target: Tensor,
    *,
    spacing: Sequence[float] | None = None,
    distance: Tensor | None = None,
    ignore_index: int | None = None,
    reduction: Word = "mean",
) -> Tensor:
    """The mean of the probabilities over signed distances, as an example of a loss that takes some."""
    truth, valid = checked(logits, target, "auto", "smooth", ignore_index, None, reduction)
    size = (1.0,) * (logits.ndim - 2) if spacing is None else tuple(spacing)
    if len(size) != logits.ndim - 2 or not all(0 < step < float("inf") for step in size):
        raise ValueError(f"spacing must be {logits.ndim - 2} positive numbers")
    if distance is None:
        distance = plain_signed_distance(truth > 0.5, valid, size)
    elif distance.shape != logits.shape or not distance.is_floating_point() or not distance.isfinite().all():
        raise ValueError("distance must be finite and of the shape of logits")
    p = logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()
    each = (torch.where(valid, p, 0) * distance.to(p.dtype)).flatten(2).sum(2) / valid.flatten(2).sum(2)
    return each if reduction == "none" else each.sum() if reduction == "sum" else each.mean()


def plain_signed_distance(masks: Tensor, valid: Tensor, size: Sequence[float]) -> Tensor:
    """The distance of each voxel that counts to the nearest of the other side, pair by pair."""
    axes = [torch.arange(n, dtype=torch.float64) * step for n, step in zip(masks.shape[2:], size, strict=True)]
    at = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)
    between = (at[:, None] - at[None, :]).square().sum(-1).sqrt()
    flat, known = masks.flatten(2), valid.flatten(2)
    opposite = (flat[..., :, None] != flat[..., None, :]) & known[..., None, :] & known[..., :, None]
    nearest = torch.where(opposite, between, float("inf")).amin(-1)
    nearest = torch.where(nearest.isfinite(), nearest, 0).view(masks.shape)
    return torch.where(masks, -nearest, nearest)


def plain_overlap(logits: Tensor, target: Tensor, *, reduction: Word = "mean") -> Tensor:
    """Intersection over union of the decisions, as an example of a measure."""
    checked(logits, target, "auto", "smooth", None, None, reduction)
    if target.ndim == logits.ndim and (target.is_floating_point() or target.dtype == torch.bool):
        raise ValueError("target must hold class indices")
    classes, target = max(2, logits.shape[1]), target.reshape(len(logits), *logits.shape[2:])
    decision = logits.argmax(1) if logits.shape[1] > 1 else (logits[:, 0] > 0).long()
    p, g = (torch.stack([x == label for label in range(classes)], 1).flatten(2) for x in (decision, target))
    overlap = (p & g).sum(2) / (p | g).sum(2)
    overlap = torch.where(g.any(2), overlap, float("nan")).to(logits.dtype)
    return overlap.nanmean(1).nanmean() if reduction == "mean" else overlap.nansum() if reduction == "sum" else overlap


class PlainDice(nn.Module):
    """The module form of `plain_dice`."""

    weight: Tensor | None

    def __init__(self, **keywords: Any) -> None:
        super().__init__()
        self.keywords = keywords
        self.register_buffer("weight", keywords.pop("weight", None))

    def forward(self, logits: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        return plain_dice(logits, target, weight=self.weight, **self.keywords, **inputs)

    def extra_repr(self) -> str:
        return ", ".join(f"{name}={value!r}" for name, value in self.keywords.items())
