"""The length of the contours of masks, soft or not, with its gradient."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.function import Function
from segloss.core.inputs import spatial_sum, sum_dtype
from segloss.core.opaque import by_operator

Map = Float[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]


def contour_length(y: Map, valid: Valid | None) -> Float[Tensor, "B C"]:
    """The number of voxels on the contour of a mask, soft or not; what is ignored is no part of any window."""
    if by_operator(y):
        return _operator(y, valid, y.requires_grad)[0]
    if torch.compiler.is_compiling():
        return _plain_length(y if y.is_floating_point() else y.float(), valid)
    return _Length.apply(y, valid)[0]  # pyright: ignore[reportOptionalSubscript]


def _plain_length(y: Map, valid: Valid | None) -> Float[Tensor, "B C"]:
    """The definition, for compilers and for second derivatives."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[y.ndim - 3]
    eroded = _with(-pool(-_with(y, valid, 2), 3, stride=1, padding=1), valid, 0)
    ring = F.relu(pool(eroded, 3, stride=1, padding=1) - eroded)
    return spatial_sum(_with(ring, valid, 0))


def _found(y: Map, valid: Valid | None, with_slope: bool) -> tuple[Float[Tensor, "B C"], Map]:
    """Length and gradient, map by map; the first of equal values in a window has the gradient, as in pooling."""
    if native := loops_for(y, "native_contours", torch.float32, torch.uint8):
        return native.lengths(y, valid, with_slope=with_slope)
    length = y.new_empty(y.shape[:2], dtype=sum_dtype(y.device))
    slope = torch.empty_like(y) if with_slope else y.new_empty(0)
    for image, channel in itertools.product(*map(range, y.shape[:2])):
        here = None if valid is None else valid[image, 0]
        eroding = _extremes(_with(y[image, channel], here, 2), torch.minimum)
        eroded = _with(eroding[-1], here, 0)
        dilating = _extremes(eroded, torch.maximum)
        ring = _with(dilating[-1] - eroded, here, 0)
        length[image, channel] = ring.sum()
        if with_slope:
            price = torch.gt(ring, 0, out=ring)
            slope[image, channel] = _routed(_routed(price, dilating).sub_(price), eroding)
    return length, slope


class _Length(Function):
    @staticmethod
    def forward(y: Map, valid: Valid | None) -> tuple[Float[Tensor, "B C"], Map]:
        return _found(y, valid, y.requires_grad)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Map]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Map, None]:
        y, valid, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return torch.autograd.grad(_plain_length(y, valid), y, prices[0], create_graph=True)[0], None
        return _priced(prices[0], slope), None


def _priced(price: Float[Tensor, "B C"], slope: Map) -> Map:
    return price.to(slope.dtype).view(*slope.shape[:2], *[1] * (slope.ndim - 2)) * slope


@torch.library.custom_op("segloss::length_of_contours", mutates_args=())
def _operator(y: Tensor, valid: Tensor | None, with_slope: bool) -> tuple[Tensor, Tensor]:
    """Both as one operator to a compiler, which would write a map for each step."""
    return _found(y.contiguous(), valid, with_slope)


@_operator.register_fake
def _(y: Tensor, valid: Tensor | None, with_slope: bool) -> tuple[Tensor, Tensor]:
    return y.new_empty(y.shape[:2], dtype=sum_dtype(y.device)), y.new_empty(y.shape if with_slope else 0)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.save_for_backward(output[1])


def _back(ctx: Any, *prices: Tensor) -> tuple[Tensor, None, None]:
    return _priced(prices[0], *ctx.saved_tensors), None, None


_operator.register_autograd(_back, setup_context=_keep)


def _extremes(y: Float[Tensor, "*S"], pick: Callable[..., Tensor]) -> list[Float[Tensor, "*S"]]:
    """The map, and its extremes over windows along the last axis, then also along the last but one, and so on."""
    steps = [y]
    for axis in reversed(range(y.ndim)):
        before, after = steps[-1], steps[-1].clone()
        n = y.shape[axis] - 1
        for here, there in ((0, 1), (1, 0)):
            out = after.narrow(axis, here, n)
            pick(out, before.narrow(axis, there, n), out=out)
        steps.append(after)
    return steps


def _routed(price: Float[Tensor, "*S"], steps: list[Float[Tensor, "*S"]]) -> Float[Tensor, "*S"]:
    """The gradient with respect to a map of its extremes."""
    for axis, (before, after) in enumerate(reversed([*itertools.pairwise(steps)])):
        n = price.shape[axis] - 1
        slope = torch.zeros_like(price)
        share = torch.empty_like(price)
        rest = price.clone()
        for here, there, m in ((1, 0, n), (0, 0, n + 1), (0, 1, n)):
            part = share.narrow(axis, 0, m)
            torch.eq(after.narrow(axis, here, m), before.narrow(axis, there, m), out=part)
            left = rest.narrow(axis, here, m)
            part.mul_(left)
            left.sub_(part)
            slope.narrow(axis, there, m).add_(part)
        price = slope
    return price


def _with(y: Tensor, valid: Tensor | None, fill: float) -> Tensor:
    return y if valid is None else y.masked_fill(~valid, fill)
