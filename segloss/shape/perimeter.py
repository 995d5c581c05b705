"""Perimeter loss: the length of the contour, by soft erosion and dilation."""

import itertools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    Function,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    class_range,
    class_weight,
    count,
    mean_over_classes,
    predicted,
    prepare,
    ratio,
    spatial_sum,
    sum_dtype,
    true_mask,
)

Map = Float[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]


def perimeter_loss(
    logits: Logits,
    target: HardLabels,
    *,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared difference between the predicted and the true length of the contour.

    $$L_c = \frac{1}{|\Omega|} \Bigl(\sum_{x \in \Omega} C(p)_{xc} - \sum_{x \in \Omega} C(g)_{xc}\Bigr)^2, \qquad
    C(y) = \max_3(\min_3 y) - \min_3 y$$

    $\min_3$ and $\max_3$ are the least and the largest value in a window of three voxels along each axis, clipped at
    the border of the image and of what is ignored: an object has no contour there. $C$ is a ring of one voxel just
    outside of the eroded object. An object thinner than three voxels has none, and length 0. Where the contour lies
    plays no part. The paper is in 2D; windows in 1D and 3D are an extension.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If an input has the wrong shape, type or values.

    References:
        [eljurdi2021perimeter]

    Examples:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> target[:, 1:6, 1:6] = 1
        >>> logits = 40.0 * target[:, None] - 20
        >>> logits[..., 5, :] = -20
        >>> perimeter_loss(logits, target)
        tensor(0.0625)
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    p = x.spatial(predicted(x.logits, x.valid, x.activation)[:, classes])
    g = x.spatial(true_mask(x)[:, classes]).to(torch.uint8)
    valid = None if x.valid is None else x.spatial(x.valid)
    n = count(x)
    loss = ratio((_length(p, valid) - _length(g, valid)).square(), n, empty=0.0)
    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (n > 0), reduction, logits.dtype)


def _length(y: Map, valid: Valid | None) -> Float[Tensor, "B C"]:
    """The number of voxels on the contour of a mask, soft or not; what is ignored is no part of any window."""
    if torch.compiler.is_compiling():
        return _plain_length(y if y.is_floating_point() else y.float(), valid)
    return _Length.apply(y, valid)[0]  # pyright: ignore[reportOptionalSubscript]


def _plain_length(y: Map, valid: Valid | None) -> Float[Tensor, "B C"]:
    """The definition, for compilers and for second derivatives."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[y.ndim - 3]
    eroded = _with(-pool(-_with(y, valid, 2), 3, stride=1, padding=1), valid, 0)
    ring = F.relu(pool(eroded, 3, stride=1, padding=1) - eroded)
    return spatial_sum(_with(ring, valid, 0))


class _Length(Function):
    """Length and gradient, map by map; the first of equal values in a window has the gradient, as in pooling."""

    @staticmethod
    def forward(y: Map, valid: Valid | None) -> tuple[Float[Tensor, "B C"], Map]:
        length, slope = y.new_empty(y.shape[:2], dtype=sum_dtype(y.device)), torch.empty_like(y)
        for image, channel in itertools.product(*map(range, y.shape[:2])):
            here = None if valid is None else valid[image, 0]
            eroding = _extremes(_with(y[image, channel], here, 2), torch.minimum)
            eroded = _with(eroding[-1], here, 0)
            dilating = _extremes(eroded, torch.maximum)
            ring = _with(dilating[-1] - eroded, here, 0)
            length[image, channel] = ring.sum()
            if y.requires_grad:
                price = torch.gt(ring, 0, out=ring)
                slope[image, channel] = _routed(_routed(price, dilating).sub_(price), eroding)
        return length, slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Map]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Map, None]:
        y, valid, slope = ctx.saved_tensors
        if torch.is_grad_enabled():
            return torch.autograd.grad(_plain_length(y, valid), y, prices[0], create_graph=True)[0], None
        return prices[0].to(y.dtype).view(*y.shape[:2], *[1] * (y.ndim - 2)) * slope, None


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
