"""Elastic interaction energy of the true and the predicted contour."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    Function,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Spacing,
    Value,
    check_reduction,
    check_spacing,
    class_range,
    class_weight,
    count,
    mean_over_classes,
    not_negative,
    per_map,
    positive,
    prepare,
    ratio,
    soft_masks,
    spatial_sum,
)
from segloss.core.blocks import kept

Map = Float[Tensor, "B C *S"]


def elastic_interaction_loss(
    logits: Logits,
    target: Labels,
    *,
    strength: float = 0.35,
    heaviside_width: float | None = None,
    spacing: Spacing | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Energy of the true contour and of the predicted one, whose like pieces attract each other from afar.

    $$L_c = \frac{1}{N} \sum_k |k|\, |\hat d_{kc}|^2, \qquad d_{ic} = g_{ic} - \alpha\, H(p_{ic})$$

    $\hat d$ is the unitary discrete Fourier transform of $d$ over the $N$ voxels $i$ of an image, which is thought to
    be repeated without end along every axis; $|k|$ is the length of the frequency, so that flat regions cost nothing.
    $H(p) = p$, or with a width $\sigma$ it is $p$ sharpened to a step, $1 - \min(1, \max(0, (1/2 - p) / \sigma))$.
    What is ignored has $d = 0$. With $\alpha < 1$ the loss of the truth itself is $(1 - \alpha)^2$ times the energy of
    its contour. The paper is in 2D and for one foreground; several classes are each set against the rest.

    Args:
        strength: Strength $\alpha$ of the predicted contour; that of the true one is 1.
        heaviside_width: Width $\sigma$; None for $H(p) = p$.
        spacing: Size of a voxel along each axis; frequencies are then in cycles a unit. None stands for an image whose
            sides all have length 1, whatever their number of voxels, as in the paper.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `strength` is negative, `heaviside_width` or `spacing` is not positive, or an input has the wrong
            shape, type or values.

    References:
        [lan2020elastic]

    Examples:
        >>> logits = torch.tensor([[[-99.0, -99.0, 99.0, 99.0]]])
        >>> target = torch.tensor([[1, 1, 0, 0]])
        >>> elastic_interaction_loss(logits, target, strength=1.0)
        tensor(1.)
    """
    not_negative(strength=strength)
    check_reduction(reduction)
    if heaviside_width is not None:
        positive(heaviside_width=heaviside_width)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask)
    axes = x.shape[2:]
    size = [1 / n for n in axes] if spacing is None else check_spacing(spacing, len(axes))
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    p, g = (y[:, classes] for y in soft_masks(x))
    d = kept(g - strength * _heaviside(p, heaviside_width), x.valid)
    n = count(x)
    loss = ratio(_energy(x.spatial(d), size), n, empty=0.0)
    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (n > 0), reduction, logits.dtype, group)


def _heaviside(p: Tensor, width: float | None) -> Tensor:
    """The step that a probability of one half is; the probability itself without a width."""
    return p if width is None else 1 - ((0.5 - p) / width).clamp(0, 1)


def _energy(d: Map, size: Sequence[float]) -> Float[Tensor, "B C"]:
    """The energy in space: by Parseval's theorem, the sum of d times the force on it."""
    if torch.compiler.is_compiling():
        return spatial_sum(d * _force(d, size))
    return _Energy.apply(d, size)  # pyright: ignore[reportReturnType]


class _Energy(Function):
    """The energy, whose gradient is twice the force that its value was made from."""

    @staticmethod
    def forward(ctx: Any, d: Map, size: Sequence[float]) -> Tensor:
        force, ctx.size = _force(d, size), size
        ctx.save_for_backward(d, force)
        return spatial_sum(d * force)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        (d, force), (price,) = ctx.saved_tensors, prices
        if torch.is_grad_enabled():
            force = _force(d, ctx.size)
        return 2 * price.to(d.dtype).view(*price.shape, *[1] * (d.ndim - 2)) * force, None


def _force(d: Map, size: Sequence[float]) -> Map:
    """Every frequency of `d` times its length; half of them are enough for real numbers."""
    axes = tuple(range(2, d.ndim))
    squared = d.new_zeros(())
    for axis, step in zip(axes, size, strict=True):
        frequencies = torch.fft.rfftfreq if axis == axes[-1] else torch.fft.fftfreq
        k = frequencies(d.shape[axis], step, dtype=d.dtype, device=d.device)
        squared = squared + k.square().view(-1, *[1] * (axes[-1] - axis))
    length = squared.sqrt()

    def force(d: Map) -> Map:
        return torch.fft.irfftn(torch.fft.rfftn(d, dim=axes).mul_(length), s=d.shape[2:], dim=axes)

    return per_map(force, d)
