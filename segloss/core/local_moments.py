"""Mean and standard deviation around every voxel, under a Gaussian window."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.function import Function

Map = Float[Tensor, "B C *S"]
Weights = tuple[float, ...]


def gaussian_window(size: int, sigma: float) -> Weights:
    """Weights that fall with the distance from the middle as a Gaussian, and add up to 1."""
    weights = [math.exp(-((offset / sigma) ** 2) / 2) for offset in range(-(size // 2), size // 2 + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def local_moments(y: Map, weights: Weights) -> tuple[Map, Map]:
    """Weighted mean and standard deviation in a window around every voxel, of values from 0 to 1.

    The window has the same symmetric weights along every axis; what lies outside of the map is 0 and counts. Where the
    map is constant the deviation is 0 with zero gradient.
    """
    run = _moments if torch.compiler.is_compiling() else _LocalMoments.apply
    return run(y, weights)  # pyright: ignore[reportReturnType]


def _moments(y: Map, weights: Weights) -> tuple[Map, Map]:
    """The definition; the variance is that of zeros and ones with this mean, less what y lacks of being zeros and ones.

    Small values lose nothing by that difference.
    """
    mean = _mean(y, weights)
    variance = mean * (1 - mean) - _mean(y * (1 - y), weights)
    there = variance > 8 * torch.finfo(y.dtype).eps * mean
    return mean, torch.where(there, torch.where(there, variance, 1.0).sqrt(), 0.0)


def _mean(y: Map, weights: Weights) -> Map:
    """Weighted mean, axis by axis."""
    middle = len(weights) // 2
    for axis in range(2, y.ndim):
        n, around = y.shape[axis], y
        y = around * weights[middle]
        for step in range(1, min(middle, n - 1) + 1):
            y.narrow(axis, step, n - step).add_(around.narrow(axis, 0, n - step), alpha=weights[middle - step])
            y.narrow(axis, 0, n - step).add_(around.narrow(axis, step, n - step), alpha=weights[middle + step])
    return y


class _LocalMoments(Function):
    """In closed form; the mean is its own gradient, since windows are symmetric."""

    @staticmethod
    def forward(y: Tensor, weights: Weights) -> tuple[Tensor, Tensor]:
        mean = _mean(y, weights)
        variance = (1 - mean).mul_(mean).sub_(_mean((1 - y).mul_(y), weights))
        there = (variance > mean * (8 * torch.finfo(y.dtype).eps)).to(y.dtype)
        return mean, variance.clamp_(min=0).sqrt_().mul_(there)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Weights], output: tuple[Tensor, Tensor]) -> None:
        y, ctx.weights = inputs
        ctx.save_for_backward(y, *output)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        (y, mean, deviation), (of_mean, of_deviation) = ctx.saved_tensors, prices
        if torch.is_grad_enabled():
            moments = _moments(y, ctx.weights)
            return torch.autograd.grad(moments, y, prices, create_graph=True)[0], None
        least = torch.finfo(y.dtype).tiny ** 0.5
        of_squares = (of_deviation / deviation.clamp(min=least)).mul_((deviation > 0).to(y.dtype))
        slope = _mean(torch.addcmul(of_mean, of_squares, mean, value=-1), ctx.weights)
        return slope.addcmul_(_mean(of_squares, ctx.weights), y), None
