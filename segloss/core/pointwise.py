"""A function of every voxel, whose intermediate steps are taken block by block and not kept."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import SIZE
from segloss.core.function import Function

Pointwise = Callable[[Tensor], Tensor]


def pointwise(f: Pointwise, x: Float[Tensor, "B K N"]) -> Float[Tensor, "B K N"]:
    """`f` of every entry of `x`; its derivative is found again, block by block, on the way back."""
    return f(x) if torch.compiler.is_compiling() else _Pointwise.apply(x, f)  # pyright: ignore[reportReturnType]


class _Pointwise(Function):
    @staticmethod
    def forward(x: Tensor, f: Pointwise) -> Tensor:
        out = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part, value in zip(_parts(out), _parts(x), strict=True):
            part.copy_(f(value))
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, ctx.f = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        (x,), (price,) = ctx.saved_tensors, prices
        if torch.is_grad_enabled():
            return torch.autograd.grad(ctx.f(x), x, price, create_graph=True)[0], None
        slope = torch.empty_like(x, memory_format=torch.contiguous_format)
        for part, value, rise in zip(_parts(slope), _parts(x), _parts(price), strict=True):
            with torch.enable_grad():
                leaf = value.detach().requires_grad_()
                part.copy_(torch.autograd.grad(ctx.f(leaf), leaf, rise)[0])
        return slope, None


def _parts(x: Float[Tensor, "B K N"]) -> tuple[Tensor, ...]:
    """Views that fit a cache."""
    rows, size = x.shape[0] * x.shape[1], SIZE.get(x.device.type, SIZE["cuda"])
    return x.split(max(1, size // (2 * rows)), 2)


def power(base: Tensor, exponent: float) -> Tensor:
    """A power of a quantity that is not negative; 0 at 0, without an infinite gradient, whatever the exponent."""
    if exponent > 2 and exponent % 2 == 0:
        return power(base, exponent / 2) ** 2  # products take a fifth of the time
    if exponent > 1 and exponent % 1 == 0.5:  # roots, too, take less than other powers, but that of 0 much more
        root = base.clamp(min=1e-24).sqrt()
        return root * (base if exponent == 1.5 else base ** (exponent - 0.5))
    if exponent > 1:
        return base.clamp(min=0) ** exponent
    eps = torch.finfo(base.dtype).eps
    return base.clamp(min=eps) ** exponent * (base > eps)
