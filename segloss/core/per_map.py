"""A function of the map of each image and class, whose intermediate steps are taken map by map and not kept."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor

from segloss.core.blocks import SIZE
from segloss.core.function import Function

Map = Shaped[Tensor, "B C *S"]
OfMap = Callable[..., Tensor]


def per_map(f: OfMap, y: Map, *fixed: Tensor | None) -> Shaped[Tensor, "B C ..."]:
    """`f(y, *fixed)`, for an `f` that treats every image and class alike and by itself.

    The derivative with respect to `y` is found again, some maps at a time, on the way back. `fixed` are tensors with
    the axes B and C, or 1 in the place of C, through which no gradient flows, and None.
    """
    if torch.compiler.is_compiling():
        return f(y, *fixed)
    return _PerMap.apply(y, f, *fixed)  # pyright: ignore[reportReturnType]


class _PerMap(Function):
    @staticmethod
    def forward(y: Tensor, f: OfMap, *fixed: Tensor | None) -> Tensor:
        out = y.new_empty(0)
        for at, part, others in _parts(y, fixed):
            value = f(part, *others)
            if not out.numel():
                out = value.new_empty(*y.shape[:2], *value.shape[2:])
            out[at] = value
        return out

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        y, ctx.f, *fixed = inputs
        ctx.save_for_backward(y, *fixed)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (y, *fixed), (price,) = ctx.saved_tensors, prices
        nothing = (None,) * (1 + len(fixed))
        if torch.is_grad_enabled():
            return torch.autograd.grad(ctx.f(y, *fixed), y, price, create_graph=True)[0], *nothing
        slope = torch.empty_like(y, memory_format=torch.contiguous_format)
        for at, part, others in _parts(y, fixed):
            with torch.enable_grad():
                leaf = part.detach().requires_grad_()
                slope[at] = torch.autograd.grad(ctx.f(leaf, *others), leaf, price[at])[0]
        return slope, *nothing


def _parts(y: Map, fixed: Sequence[Tensor | None]) -> Iterator[tuple[tuple[slice, slice], Map, list[Tensor | None]]]:
    """As many maps as fit a cache, of several images or of one: their indices, the maps, and what goes with them."""
    size = SIZE.get(y.device.type, SIZE["cuda"])
    images, channels = max(1, size // y[0].numel()), max(1, size // y[0, 0].numel())
    for image in range(0, y.shape[0], images):
        for channel in range(0, y.shape[1], channels):
            at = slice(image, image + images), slice(channel, channel + channels)
            yield at, y[at], [t if t is None else t[at] if t.shape[1] > 1 else t[at[0]] for t in fixed]
