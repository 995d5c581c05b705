"""What stands for the label at every voxel."""

import torch
from jaxtyping import Integer, Shaped
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.inputs import PIECE, can_look_at


def by_label(values: Shaped[Tensor, "#B C"], labels: Integer[Tensor, "B K N"]) -> Shaped[Tensor, "B K N"]:
    """The value of the label at each voxel, by image if there is a row for each."""
    loops = loops_for(labels, "native_labels", torch.uint8) if values.element_size() == 1 else None
    if loops:
        return loops.by_label(values, labels)
    rows, classes = values.shape
    first = classes * torch.arange(rows, dtype=torch.int32, device=labels.device).view(-1, 1, 1)

    def look_up(labels: Tensor) -> Tensor:
        index = labels.int() if rows == 1 else labels + first
        return values.flatten().index_select(0, index.flatten()).view(labels.shape)

    if not can_look_at(labels):
        return look_up(labels)
    found = torch.empty(labels.shape, dtype=values.dtype)
    voxels = max(1, PIECE // labels[..., 0].numel())
    for out, piece in zip(found.split(voxels, 2), labels.split(voxels, 2), strict=True):
        out.copy_(look_up(piece))
    return found
