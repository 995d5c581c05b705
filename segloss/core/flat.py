"""Spatial axes laid flat, so that the gradients of several losses of the same logits are added up in one array."""

from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from segloss.core.function import Function


def flat(x: Shaped[Tensor, "B C *S"]) -> Shaped[Tensor, "B C N"]:
    """`x` with its spatial axes as one."""
    tracked = x.requires_grad and x.ndim > 3 and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    return _Flat.apply(x) if tracked else x.flatten(2)  # pyright: ignore[reportReturnType]


class _Flat(Function):
    """Autograd writes a sum of gradients over one of them, unless that is a view of another tensor; here it is none."""

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.flatten(2)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.shape = inputs[0].shape
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor | None) -> Tensor | None:
        if prices[0] is None:
            return None
        gradient = prices[0].reshape(ctx.shape)
        return gradient if torch.is_grad_enabled() else gradient.data
