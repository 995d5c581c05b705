"""The voxels that are furthest from the truth."""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.inputs import can_look_at


def hardest(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, "B K N"]:
    """The part each voxel has in the `number` voxels whose truth is least likely: 1, 0, or less than 1 at the border.

    Voxels that tie for the last places share them. Ignored ones have a log-probability of 0 and so come last.
    """
    loss = -log_p.detach()
    if can_look_at(loss):
        at = loss.numel() - int(number)
        border = torch.from_numpy(np.partition(loss.flatten().numpy(), at)[at : at + 1])
    else:
        border = loss.flatten().sort(descending=True).values.gather(0, number.reshape(1) - 1)
    inside, at_border = ~(loss <= border), loss == border
    left = (number - inside.sum()) / at_border.sum().clamp(min=1)
    return torch.where(at_border, left.to(loss.dtype), inside.to(loss.dtype))


def share_of(count: Float[Tensor, ""], k: float) -> Integer[Tensor, ""]:
    """How many a share `k` of `count` are, at least one."""
    return (count * (k * (1 + 1e-12))).floor().clamp(min=1).long()
