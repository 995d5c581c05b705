"""A function whose value and gradient are found by compiled loops."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segloss.core.function import Function

OfMaps = Callable[..., Tensor]


def looped(value: OfMaps, slope: OfMaps, plain: OfMaps, y: Tensor, *fixed: Tensor | None) -> Tensor:
    """`value(y, *fixed)`, with the gradient `slope(price, y, *fixed)` of `y`; second derivatives are those of `plain`.

    No gradient flows through `fixed`.
    """
    return _Looped.apply(y, value, slope, plain, *fixed)  # pyright: ignore[reportReturnType]


class _Looped(Function):
    @staticmethod
    def forward(y: Tensor, value: OfMaps, slope: OfMaps, plain: OfMaps, *fixed: Tensor | None) -> Tensor:
        return value(y, *fixed)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, _, ctx.slope, ctx.plain, *fixed = inputs
        ctx.save_for_backward(y, *fixed)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (price,), (y, *fixed) = prices, ctx.saved_tensors
        nothing = (None,) * (3 + len(fixed))
        if torch.is_grad_enabled():
            return *torch.autograd.grad(ctx.plain(y, *fixed), y, price, create_graph=True), *nothing
        return ctx.slope(price, y, *fixed), *nothing
