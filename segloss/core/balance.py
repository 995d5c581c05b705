"""A price for every voxel by what it truly is."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.inputs import Inputs, can_look_at, compute_dtype
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
    exclusive = x.activation == "softmax" or (x.activation == "none" and not x.dense and classes > 1)
    of_classes = exclusive and each.ndim > 0
    if can_look_at(each) and not bool(((each >= 0) & ((each <= 1) | of_classes)).all()):
        raise ValueError(f"alpha must be {'at least 0' if of_classes else 'from 0 to 1'}, got {alpha}")
    each = each.to(device, non_blocking=True)
    if of_classes:
        return each[x.labels.long() if x.valid is None else x.labels.long().masked_fill(~x.valid, 0)]
    foreground = x.labels > 0 if exclusive else true_mask(x)
    each = each.view(-1, 1)
    return torch.where(foreground, each, 1 - each)
