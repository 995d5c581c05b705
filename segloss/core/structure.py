"""How far the local structures of a prediction and of the truth are apart."""

from functools import partial
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.compiled import compiled, loops_for
from segloss.core.function import Function
from segloss.core.local_moments import Weights, local_moments
from segloss.core.per_map import per_map

Map = Float[Tensor, "B C *S"]
Mask = Bool[Tensor, "B C *S"]


def structural_difference(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    """The difference, without its sign, of (y - μ + s) / (σ + s) at each voxel of `p` and of `g`.

    μ and σ are the moments of `local_moments` in a window of these weights, s is `smooth`.
    """
    if loops_for(p, "native_structure"):
        return _InLoops.apply(p, g, weights, smooth)  # pyright: ignore[reportReturnType]
    return per_map(partial(_plain, weights=weights, smooth=smooth), p, g)


def _plain(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    def structure(y: Map) -> Map:
        mean, deviation = local_moments(y, weights)
        return (y - mean + smooth) / (deviation + smooth)

    return (structure(p) - structure(g.to(p.dtype))).abs()


class _InLoops(Function):
    """On the CPU, by compiled loops."""

    @staticmethod
    def forward(p: Map, g: Mask, weights: Weights, smooth: float) -> Tensor:
        return _loops().structural_difference(p, g, weights, smooth)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        p, g, ctx.weights, ctx.smooth = inputs
        ctx.save_for_backward(p, g)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (price,), (p, g), nothing = prices, ctx.saved_tensors, (None,) * 3
        if torch.is_grad_enabled():
            again = _plain(p, g, ctx.weights, ctx.smooth)
            return *torch.autograd.grad(again, p, price, create_graph=True), *nothing
        return _loops().structural_difference_slope(p, g, ctx.weights, ctx.smooth, price), *nothing


def _loops() -> Any:
    return compiled("native_structure")
