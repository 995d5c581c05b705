"""Bounds on what describes a shape: its volume, centroid, spread and length."""

import itertools
import math
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    Function,
    Labels,
    Logits,
    Mask,
    Reduction,
    Value,
    can_look_at,
    check_reduction,
    class_range,
    class_weight,
    count,
    counted_box,
    mean_over_classes,
    not_negative,
    one_of,
    positive,
    prepare,
    ratio,
    soft_masks,
    spatial_sum,
    sum_dtype,
)

Descriptor = Literal["volume", "centroid", "spread", "length"]
Map = Float[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"]
Values = Float[Tensor, "B C K"]

DESCRIPTORS = "volume", "centroid", "spread", "length"
TINY = 1e-10


def shape_descriptor_loss(
    logits: Logits,
    target: Labels,
    *,
    volume: float | None = 0.1,
    centroid: float | None = 20.0,
    spread: float | None = 20.0,
    length: float | None = 0.1,
    relative: Sequence[Descriptor] = ("volume", "length"),
    bounds: Mapping[Descriptor, Float[Tensor, "..."]] | None = None,
    penalty: Literal["log_barrier", "quadratic"] = "log_barrier",
    t: float = 1.0,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Penalty on descriptors of the predicted shape that leave their bounds, which are around those of the truth.

    $$L_c = \frac{1}{|\Omega|} \sum_f \left[\psi_t\bigl(f(p_c) - \overline{f}_c\bigr)
    + \psi_t\bigl(\underline{f}_c - f(p_c)\bigr)\right], \qquad
    \overline{f}_c = f(g_c) + m_f, \quad \underline{f}_c = \max(f(g_c) - m_f,\, 0)$$

    The descriptors $f$ are the volume $V = \sum_x p_x$; the centroid $\bar{x}_d = \frac{1}{V} \sum_x p_x x_d$ and the
    spread $\bigl(\frac{1}{V} \sum_x p_x (x_d - \bar{x}_d)^2\bigr)^{1/2}$, one number an axis $d$; and the length
    $\sum (p_x - p_y)^2$ over all pairs of neighbours, diagonal ones included, which for a hard mask counts the pairs
    that its contour cuts. Positions $x$ count from the first voxel, or the first that is not ignored along each axis.

    $\psi_t$ is a log-barrier, extended beyond the bound by its tangent: negative where the descriptor is further than 1
    from the bound, so that the loss has no least value of zero. The quadratic penalty is $\max(z, 0)^2$ instead.

    $$\psi_t(z) = \begin{cases} -\frac{1}{t} \log(-z) & z \le -1 / t^2 \\
    t z - \frac{1}{t} \log \frac{1}{t^2} + \frac{1}{t} & \text{else} \end{cases}$$

    Args:
        volume: Margin $m$ of the volume; None leaves it out, as with the other margins.
        centroid: Margin of the centroid along each axis, in voxels.
        spread: Margin of the spread along each axis, in voxels.
        length: Margin of the length.
        relative: The descriptors whose margin is a share of their value; that of the others is in their unit.
        bounds: Bounds by the name of a descriptor, in place of those around the truth, whose margin is then not used:
            lower and upper, (B, C, K, 2), or (C, K, 2) for all images; K is 1 for volume and length, else the number of
            axes. The target then only says what is ignored.
        penalty: `"log_barrier"` or `"quadratic"`.
        t: Sharpness $t$ of the barrier, positive; to be raised during training.

    Returns:
        A scalar, or with `reduction="none"` one loss an image and class, (B, C). The log-barrier may be negative.

    Raises:
        ValueError: If a margin is negative or all are None, `relative` or `bounds` names no descriptor, bounds have
            another shape or are not in order, `penalty` is another word, `t` is not positive, or an input has the wrong
            shape, type or values.

    References:
        [kervadec2021shape]

    Examples:
        >>> target = torch.tensor([[0, 1, 1, 1, 0, 0]])
        >>> logits = torch.tensor([[[-20.0, 20.0, 20.0, 20.0, 20.0, 20.0]]])
        >>> only = {"centroid": None, "spread": None, "length": None}
        >>> shape_descriptor_loss(logits, target, volume=0.0, penalty="quadratic", **only)
        tensor(0.6667)
    """
    named: dict[str, float | None] = {"volume": volume, "centroid": centroid, "spread": spread, "length": length}
    margins = {name: margin for name, margin in named.items() if margin is not None}
    if not margins:
        raise ValueError("volume, centroid, spread and length are all None: no descriptor is left")
    not_negative(**margins)
    positive(t=t)
    one_of("penalty", penalty, ("log_barrier", "quadratic"))
    for name in relative:
        one_of("relative", name, DESCRIPTORS)
    for name in bounds or ():
        one_of("bounds", name, tuple(margins))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]
    given = {name: _given(name, bound, x.logits, len(logits.shape) - 2) for name, bound in (bounds or {}).items()}

    p, g = (x.spatial(y[:, classes]) for y in soft_masks(x))
    valid, first = None if x.valid is None else x.spatial(x.valid), counted_box(x)[0]
    predicted = _descriptors(p, valid, first, margins.keys())
    true = _descriptors(g, valid, first, margins.keys() - given.keys())
    costs = []
    for name, f in predicted.items():
        if name in given:
            lower, upper = given[name][:, classes].unbind(-1)
        else:
            margin = margins[name] * (true[name] if name in relative else 1.0)
            lower, upper = (true[name] - margin).clamp(min=0), true[name] + margin
        costs.append(_psi(f - upper, penalty, t) + _psi(lower - f, penalty, t))
    n = count(x)
    loss = ratio(torch.cat(costs, 2).sum(2), n, empty=0.0)
    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (n > 0), reduction, logits.dtype)


def _descriptors(y: Map, valid: Valid | None, first: Integer[Tensor, "B D"], names: Set[str]) -> dict[str, Values]:
    """Those of the descriptors that are named, of a soft mask that is 0 where ignored."""
    found: dict[str, Values] = {}
    if names - {"length"}:
        found |= _moments(y, first)
    if "length" in names:
        found["length"] = _length(y, valid).unsqueeze(2)
    return {name: f for name, f in found.items() if name in names}


def _moments(y: Map, first: Integer[Tensor, "B D"]) -> dict[str, Values]:
    """Volume, centroid and spread, from the sums of each slice across an axis."""
    slices = [_along(y, axis) for axis in range(2, y.ndim)]
    V = slices[0].sum(2, keepdim=True)
    centroid, spread = [], []
    for in_slice, start in zip(slices, first.T, strict=True):
        at = torch.arange(in_slice.shape[2], device=y.device) - start[:, None, None]
        centroid.append((in_slice * at).sum(2, keepdim=True) / (V + TINY))
        square = (in_slice * (at - centroid[-1]) ** 2).sum(2, keepdim=True) / (V + TINY)
        spread.append((square + TINY).sqrt())
    return {"volume": V, "centroid": torch.cat(centroid, 2), "spread": torch.cat(spread, 2)}


def _along(y: Map, axis: int) -> Float[Tensor, "B C n"]:
    """Sums over all spatial axes but one."""
    others = [other for other in range(2, y.ndim) if other != axis]
    return (y.sum(others) if others else y).to(sum_dtype(y.device))


def _length(y: Map, valid: Valid | None) -> Float[Tensor, "B C"]:
    """All pairs of neighbours, each once, as the quadratic form of their graph's Laplacian."""
    n = _around(torch.ones_like(y[:1, :1]) if valid is None else valid.to(y.dtype)).expand(len(y), 1, *y.shape[2:])
    if torch.compiler.is_compiling():
        return _form(y, n * y - _around(y))
    return _Form.apply(y, n)[0]  # pyright: ignore[reportReturnType]


class _Form(Function):
    @staticmethod
    def forward(y: Map, n: Map) -> tuple[Float[Tensor, "B C"], Map]:
        laplacian = torch.empty_like(y, memory_format=torch.contiguous_format)
        value = y.new_empty(y.shape[:2], dtype=sum_dtype(y.device))
        for image, channel in itertools.product(*map(range, y.shape[:2])):
            out, sums = laplacian[image, channel], y[image, channel]
            for axis, size in enumerate(sums.shape):
                wider = sums.clone() if axis < sums.ndim - 1 else out.copy_(sums)
                wider.narrow(axis, 0, size - 1).add_(sums.narrow(axis, 1, size - 1))
                wider.narrow(axis, 1, size - 1).add_(sums.narrow(axis, 0, size - 1))
                sums = wider
            torch.addcmul(out.neg_(), n[image, 0], y[image, channel], out=out)
            value[image, channel] = (y[image, channel] * out).sum()
        return value, laplacian

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Map]) -> None:
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs, output[1])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Map, None]:
        y, n, laplacian = ctx.saved_tensors
        if torch.is_grad_enabled():
            laplacian = n * y - _around(y)
        price = 2 * prices[0].to(y.dtype)
        return price.view(*price.shape, *[1] * (y.ndim - 2)) * laplacian, None


def _form(y: Map, laplacian: Map) -> Float[Tensor, "B C"]:
    return spatial_sum(y * laplacian)


def _around(y: Map) -> Map:
    """The sum over a voxel and its neighbours."""
    for axis in range(2, y.ndim):
        m, pad = y.shape[axis] - 1, [0, 0] * (y.ndim - 1 - axis)
        y = y + F.pad(y.narrow(axis, 1, m), [*pad, 0, 1]) + F.pad(y.narrow(axis, 0, m), [*pad, 1, 0])
    return y


def _psi(z: Values, penalty: str, t: float) -> Values:
    """The penalty of what should be less than 0."""
    if penalty == "quadratic":
        return z.clamp(min=0).square()
    inside = z <= -1 / t**2
    return torch.where(inside, -torch.where(inside, -z, 1.0).log() / t, t * z + (2 * math.log(t) + 1) / t)


def _given(name: str, bound: object, logits: Tensor, axes: int) -> Float[Tensor, "B C K 2"]:
    """Bounds in the type of the sums, checked."""
    if not isinstance(bound, Tensor):
        raise TypeError(f"bounds of the {name} must be a tensor, got {type(bound).__name__}")
    images, classes, components = *logits.shape[:2], axes if name in ("centroid", "spread") else 1
    if tuple(bound.shape) not in ((images, classes, components, 2), (classes, components, 2)):
        raise ValueError(
            f"bounds of the {name} must have shape {(images, classes, components, 2)} or "
            f"{(classes, components, 2)}, got {tuple(bound.shape)}"
        )
    bound = bound.detach().to(logits.device, sum_dtype(logits.device)).expand(images, -1, -1, -1)
    if can_look_at(bound) and not bool((bound[..., 0] <= bound[..., 1]).all()):
        raise ValueError(f"bounds of the {name} must be numbers, the lower not above the upper")
    return bound
