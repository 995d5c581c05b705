"""Tilted cross-entropy: an average that leans towards the worst classes or voxels."""

from typing import Any, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    Function,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    evidence,
    log_likelihood,
    one_of,
    prepare,
    ratio,
    spatial_sum,
)
from segloss.core.blocks import blocks, kept, part
from segloss.core.inputs import sum_dtype


def tilted_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    t: float = 1.0,
    level: Literal["class", "voxel"] = "class",
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of each class, averaged with a tilt towards the largest.

    $$L = \frac{1}{t} \log \frac{1}{|\mathcal C|} \sum_{c \in \mathcal C} e^{t L_c}, \qquad
    L_c = -\frac{1}{N_c} \sum_{i:\, y_i = c} \log p_{ic}$$

    $\mathcal C$ are the classes that occur in the batch, $N_c$ the voxels of class $c$ in it; one channel stands for
    two classes. With $t \to \infty$ it is the largest $L_c$, with $t = 0$ their mean, and a negative $t$ leans towards
    the smallest.

    Args:
        t: Tilt $t$.
        level: What is tilted: `"class"` the losses of classes, as above; `"voxel"` those of all voxels in place of the
            $L_c$.

    Returns:
        A scalar of at least 0. The whole batch has one value, which `reduction="none"` gives with shape (1,).

    Raises:
        ValueError: If `t` is not finite, `level` is unknown, classes overlap, or an input has the wrong shape, type or
            values.

    References:
        [szabo2021tilted]

    Examples:
        >>> logits = torch.tensor([[[2.0, 2.0, 2.0, 2.0]]])
        >>> target = torch.tensor([[1, 1, 1, 0]])
        >>> tilted_cross_entropy_loss(logits, target, t=0.0)
        tensor(1.1269)
        >>> tilted_cross_entropy_loss(logits, target, t=1.0)
        tensor(1.5607)
        >>> tilted_cross_entropy_loss(logits, target, t=1.0, level="voxel")
        tensor(1.0814)
    """
    if not abs(t) < float("inf"):
        raise ValueError(f"t must be finite, got {t}")
    one_of("level", level, ("class", "voxel"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if logits.shape[1] > 1 and (x.dense or x.activation == "sigmoid"):
        raise ValueError(
            f"target must be class indices, of classes that exclude each other, got {target.dtype} "
            f"{tuple(target.shape)} with activation {x.activation!r}"
        )
    if level == "class":
        e = evidence(logits, target, activation, ignore_index=ignore_index, mask=mask, voxel=CROSS_ENTROPY)
        voxels = e.truths.sum(0, keepdim=True)
        gain, counted = -ratio(e.by_truth.sum(0, keepdim=True), voxels, empty=0.0), voxels > 0
    else:
        gain, counted = log_likelihood(x), x.valid
    value = _tilted_mean(gain, counted, t).to(logits.dtype)
    return value.reshape(1) if reduction == "none" else value


def _tilted_mean(gain: Float[Tensor, "B K N"], counted: Bool[Tensor, "B K N"] | None, t: float) -> Float[Tensor, ""]:
    """The tilted mean of the losses that count, which are minus the gains; 0 where none counts."""
    number = gain.numel() if counted is None else counted.sum().clamp(min=1)
    if t == 0:
        return -spatial_sum(kept(gain, counted)).sum() / number
    found = gain.detach()
    if counted is not None:
        found = found.masked_fill(~counted, torch.inf if t > 0 else -torch.inf)
    top = -t * (found.amin() if t > 0 else found.amax())
    top = torch.where(top > -torch.inf, top, 0)
    above = _above if torch.compiler.is_compiling() else _Above.apply
    rest = above(gain, counted, t, top) / number
    return (top + rest.log1p()) / t


def _above(gain: Tensor, counted: Tensor | None, t: float, top: Tensor) -> Float[Tensor, ""]:
    """The sum of exp(-t g - top) - 1 over the gains g that count."""
    return spatial_sum(kept((-t * gain - top).expm1(), counted)).sum()


class _Above(Function):
    """The same, without maps but that of its slope."""

    @staticmethod
    def forward(gain: Tensor, counted: Tensor | None, t: float, top: Tensor) -> Tensor:
        total = gain.new_zeros((), dtype=sum_dtype(gain.device))
        for at, (work,) in blocks(gain, 1):
            value = torch.mul(at.of(gain), -t, out=work).sub_(top).expm1_()
            total += spatial_sum(kept(value, part(counted, at), in_place=True)).sum()
        return total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        gain, counted, ctx.t, top = inputs
        ctx.save_for_backward(gain, counted, top)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (gain, counted, top), nothing = ctx.saved_tensors, (None,) * 3
        if torch.is_grad_enabled():
            total = _above(gain, counted, ctx.t, top)
            return *torch.autograd.grad(total, gain, prices[0], create_graph=True), *nothing
        slope = torch.mul(gain, -ctx.t).sub_(top).exp_().mul_(-ctx.t * prices[0].to(gain.dtype))
        return kept(slope, counted, in_place=True), *nothing
