"""Sums over the ranks of a process group."""

from typing import Any

import torch.distributed as dist
from torch import Tensor

from segloss.core.function import Function


def all_sum(x: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The sum of `x` over the ranks of `group`; `x` itself where there is none.

    Each rank's gradient is that of the sum of all ranks' losses, so that data-parallel training, which averages the
    ranks, follows the gradient of one process that holds the whole batch.
    """
    return x if group is None else _AllSum.apply(x, group)  # pyright: ignore[reportReturnType]


class _AllSum(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return all_sum(grads[0], ctx.group), None
