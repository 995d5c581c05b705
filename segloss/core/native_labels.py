"""Values of labels in one byte, looked up on the CPU."""

import numpy as np
import torch
from jaxtyping import Integer, Shaped
from torch import Tensor

from segloss.core.native_math import loop
from segloss.core.native_parts import share, span


@loop
def _look_up(part, parts, values, labels, found):
    """The value of each label, of one part of the voxels."""
    images, channels, voxels = labels.shape
    for image in range(images):
        start, end = span(part, parts, image, images, voxels)
        row = values[image % len(values)]
        for channel in range(channels):
            given, out = labels[image, channel, start:end], found[image, channel, start:end]
            for i in range(len(given)):
                out[i] = row[given[i]]


def by_label(values: Shaped[Tensor, "#B C"], labels: Integer[Tensor, "B K N"]) -> Shaped[Tensor, "B K N"]:
    """The value of the label at each voxel, by image if there is a row for each."""
    found = np.empty(labels.shape, np.uint8)
    given = values.contiguous().view(torch.uint8).numpy(), labels.contiguous().numpy()
    share(labels, _look_up, *given, found)
    return torch.from_numpy(found).view(values.dtype)


def try_out() -> None:
    """Run once, which fails where loops cannot be compiled."""
    by_label(torch.zeros(1, 1, dtype=torch.uint8), torch.zeros(1, 1, 1, dtype=torch.uint8))
