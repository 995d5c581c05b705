"""The box around the voxels that count: where an image begins and ends once the rest is masked out."""

import torch
from jaxtyping import Integer
from torch import Tensor

from segloss.core.inputs import Inputs


def counted_box(x: Inputs) -> tuple[Integer[Tensor, "B D"], Integer[Tensor, "B D"]]:
    """The first voxel that counts along each axis, and how many there are from it to the last."""
    images, _, *axes = x.shape
    size = torch.tensor(axes, device=x.logits.device).expand(images, -1)
    if x.valid is None:
        return torch.zeros_like(size), size
    counts = x.spatial(x.valid)
    seen = [counts.movedim(axis, 1).flatten(2).any(2) for axis in range(2, counts.ndim)]
    first = torch.stack([along.int().argmax(1) for along in seen], 1)
    beyond = torch.stack([along.flip(1).int().argmax(1) for along in seen], 1)
    there = x.valid.any(2)
    return first, torch.where(there, size - first - beyond, 0)
