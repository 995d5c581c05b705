"""A price for every voxel by what it truly is."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import ClassWeight, Inputs, can_look_at, class_weight, compute_dtype
from segloss.core.masks import true_mask

Balance = float | Sequence[float] | Float[Tensor, " C"]


def balance_of(alpha: Balance | None, x: Inputs) -> Float[Tensor, "B K N"] | None:
    """The price of every voxel; None where all cost 1.

    A number prices the foreground, one minus it the background. A sequence prices each true class under softmax, and
    the yes of each channel under sigmoid.
    """
    if alpha is None:
        return None
    classes, dtype, device = x.logits.shape[1], compute_dtype(x.logits.dtype), x.logits.device
    each = torch.as_tensor(alpha, dtype=dtype)
    if each.ndim and each.shape != (classes,):
        raise ValueError(f"alpha must be a number or of length {classes}, one a class, got shape {tuple(each.shape)}")
    exclusive = is_exclusive(x)
    of_classes = exclusive and each.ndim > 0
    if can_look_at(each) and not bool(((each >= 0) & ((each <= 1) | of_classes)).all()):
        raise ValueError(f"alpha must be {'at least 0' if of_classes else 'from 0 to 1'}, got {alpha}")
    each = each.to(device, non_blocking=True)
    if of_classes:
        return each[_labels(x)]
    foreground = x.labels > 0 if exclusive else true_mask(x)
    each = each.view(-1, 1)
    return torch.where(foreground, each, 1 - each)


def weight_of(weight: ClassWeight | None, x: Inputs) -> Float[Tensor, "B K N"] | None:
    """The weight of every voxel, 0 where ignored; None where all weigh the same.

    It is that of the true class under softmax, that of the channel under sigmoid.
    """
    if weight is None:
        return None
    each = class_weight(weight, x.logits).to(compute_dtype(x.logits.dtype))
    of_voxel = each[_labels(x)] if is_exclusive(x) else each.view(-1, 1).expand(x.logits.shape)
    return kept(of_voxel, x.valid)


def is_exclusive(x: Inputs) -> bool:
    """Whether a voxel belongs to one class."""
    return x.activation == "softmax" or (x.activation == "none" and not x.dense and x.logits.shape[1] > 1)


def _labels(x: Inputs) -> Tensor:
    """Class indices, 0 where ignored."""
    return kept(x.labels.long(), x.valid)
