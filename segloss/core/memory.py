"""Space for arrays of the size of the logits."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from segloss.core.inputs import can_look_at


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """`torch.empty` on the CPU, from numpy, which asks Linux for pages of 2 MiB.

    A page is cleared before it is first written to, and to fetch the many of 4 KiB that torch would have takes longer
    than what most losses compute.
    """
    space = torch.from_numpy(np.empty(shape, f"i{dtype.itemsize}"))
    return space.view(dtype).data  # autograd adds gradients up in place in what is not a view


def zeros_like(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Contiguous zeros, on the CPU from `empty`.

    Those of numpy are one page that is shared until it is written to, by when it has been fetched twice.
    """
    if can_look_at(x):
        return empty(x.shape, dtype).zero_()
    return torch.zeros_like(x, dtype=dtype, memory_format=torch.contiguous_format)


def empty_like(x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """`torch.empty_like`, on the CPU from `empty` unless `x` lies in another order."""
    if can_look_at(x) and x.is_contiguous():
        return empty(x.shape, dtype or x.dtype)
    return torch.empty_like(x, dtype=dtype)
