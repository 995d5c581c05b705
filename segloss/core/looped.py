"""A function whose value and gradient are found by compiled loops, to a compiler one operator."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.function import Function
from segloss.core.opaque import OfMaps, by_operator, is_there
from segloss.core.per_map import per_map


def looped(module: str, name: str, plain: OfMaps, y: Tensor, *fixed: Tensor | None, **how: Any) -> Tensor:
    """`plain(y, *fixed, **how)`, by the loops of a module where they can take `y`: `name` and `name_slope`.

    No gradient flows through `fixed`. Second derivatives are those of `plain`.
    """
    if by_operator(y) and y.dtype == torch.float32 and is_there(module):
        return getattr(torch.ops.segloss, name)(y, *fixed, *how.values())
    plain = partial(plain, **how)
    if loops := loops_for(y, module):
        value, slope = (partial(getattr(loops, it), **how) for it in (name, f"{name}_slope"))
        return _Looped.apply(y, value, slope, plain, *fixed)  # pyright: ignore[reportReturnType]
    return per_map(plain, y, *fixed)


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
