"""A function whose intermediate steps are taken again on the way back, and not kept."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segloss.core.function import Function


def recomputed(f: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`f` of `x`; nothing else that `f` takes has a gradient."""
    return f(x) if torch.compiler.is_compiling() else _Recomputed.apply(x, f)  # pyright: ignore[reportReturnType]


class _Recomputed(Function):
    @staticmethod
    def forward(x: Tensor, f: Callable[[Tensor], Tensor]) -> Tensor:
        return f(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.f = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        (x,), again = ctx.saved_tensors, torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if again else x.detach().requires_grad_()
            return torch.autograd.grad(ctx.f(x), x, prices[0], create_graph=again)[0], None
