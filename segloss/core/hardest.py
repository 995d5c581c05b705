"""The voxels that are furthest from the truth."""

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.inputs import can_look_at

SAMPLE = 2**14


def hardest(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, "B K N"]:
    """The part each voxel has in the `number` voxels whose truth is least likely: 1, 0, or less than 1 at the border.

    Voxels that tie for the last places share them. Ignored ones have a log-probability of 0 and so come last.
    """
    found = log_p.detach()
    if can_look_at(found):
        border = _of_rank(found.flatten(), int(number))
    else:
        border = found.flatten().sort().values.gather(0, number.reshape(1) - 1)
    inside, at_border = ~(found >= border), found == border
    left = (number - torch.count_nonzero(inside)) / torch.count_nonzero(at_border).clamp(min=1)
    return inside.to(found.dtype).masked_fill_(at_border, left.to(found.dtype))


def _of_rank(x: Float[Tensor, " n"], number: int) -> Float[Tensor, " 1"]:
    """The value in this place, from 1, of the increasing order.

    It is looked for among the values up to one that a sample puts a little behind it, if these are enough.
    """
    sample = x[:: max(1, len(x) // SAMPLE)].sort().values
    behind = round(number / len(x) * len(sample) + 2 * len(sample) ** 0.5)
    first = x[x <= sample[min(behind, len(sample) - 1)]]
    first = first if len(first) >= number else x
    return torch.from_numpy(np.partition(first.numpy(), number - 1)[number - 1 : number])


def share_of(count: Float[Tensor, ""], k: float) -> Integer[Tensor, ""]:
    """How many a share `k` of `count` are, at least one."""
    return (count * (k * (1 + 1e-12))).floor().clamp(min=1).long()
