"""From sums to the value of a loss: the ratio that is safe at 0/0, and the means over classes and images."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.distributed import ProcessGroup

from segloss.core.balance import Balance, balance_of, prices_of
from segloss.core.blocks import kept, weighted
from segloss.core.distributed import all_sum
from segloss.core.inputs import (
    ClassWeight,
    Inputs,
    Reduction,
    Value,
    can_look_at,
    check_reduction,
    class_range,
    class_weight,
    spatial_sum,
)
from segloss.core.overlap import Evidence
from segloss.core.pointwise import pointwise
from segloss.core.sums import count, log_likelihood, voxel_sums
from segloss.core.truth import VoxelLoss


def ratio(numerator: Tensor, denominator: Tensor, empty: float = 1.0) -> Tensor:
    """The quotient; `empty` with zero gradient where the denominator vanishes, which one that is NaN does not."""
    vanishes = denominator <= torch.finfo(denominator.dtype).tiny ** 0.5
    if can_look_at(vanishes) and not vanishes.any():
        return numerator / denominator
    return numerator.masked_fill(vanishes, empty) / denominator.masked_fill(vanishes, 1.0)


def over_classes(loss: Float[Tensor, "B C"], e: Evidence) -> Value:
    """Reduce the losses of images and classes as `e` says."""
    return mean_over_classes(*counted_classes(loss, e), e.reduction, e.dtype, e.group)


def counted_classes(
    loss: Float[Tensor, "B C"], e: Evidence
) -> tuple[Float[Tensor, "B C"], Float[Tensor, "B C"] | None]:
    """The losses under the policy for absent classes, and by how much each counts; None where all do alike."""
    if e.is_whole and e.weight is None and e.absent == "smooth":
        return loss, None
    counted = torch.ones_like(loss) if e.weight is None else e.weight.expand_as(loss)
    if e.absent == "skip":
        counted = counted * (e.g > 0)
    elif e.absent == "penalise":
        loss = torch.where(e.g > 0, loss, e.p / e.n.clamp(min=1))
    return loss, counted * (e.n > 0)


def over_images(loss: Float[Tensor, " B"], e: Evidence) -> Value:
    """Reduce the losses of images as `e` says."""
    return mean_over_images(loss, e.n[:, 0], e.reduction, e.dtype, e.group)


def over_voxels(
    loss: Float[Tensor, "B K N"], x: Inputs, reduction: Reduction, group: ProcessGroup | None = None
) -> Value:
    """Reduce losses of voxels: the mean is over those that count, of all images and channels together.

    "none" gives (B, *S) for one loss a voxel, (B, C, *S) for one a voxel and channel.
    """
    if reduction == "none":
        loss = x.spatial(loss).to(x.logits.dtype)
        return loss.squeeze(1) if loss.shape[1] == 1 else loss
    return over_total(spatial_sum(loss).sum(), loss.shape[1], x, reduction, group)


def over_total(
    total: Float[Tensor, ""], outputs: int, x: Inputs, reduction: Reduction, group: ProcessGroup | None = None
) -> Value:
    """Reduce losses of voxels that are added up already, so many of them at a voxel."""
    total = all_sum(total, group)
    if reduction == "mean" and x.valid is None and group is None:
        total = total / (x.logits.shape[0] * x.logits.shape[2] * outputs)
    elif reduction == "mean":
        total = ratio(total, all_sum(count(x).sum() * outputs, group), empty=0.0)
    return total.to(x.logits.dtype)


def over_truths(
    voxel: VoxelLoss,
    x: Inputs,
    alpha: Balance | None,
    reduction: Reduction,
    group: ProcessGroup | None = None,
    weights: Float[Tensor, "B 1 N"] | None = None,
    **change: Any,
) -> Value:
    """Reduce a loss of the probability of the truth, times the price of the truth and the weight of the voxel.

    The mean is that of `over_voxels`, and divides neither by the prices nor by the weights. `change` is that of
    `log_likelihood`.
    """
    if reduction == "none":
        loss = kept(pointwise(lambda log_p: voxel.value(-log_p.expm1(), -log_p), log_likelihood(x, **change)), x.valid)
        balance = balance_of(alpha, x)
        return over_voxels(weighted(loss if balance is None else balance * loss, weights), x, reduction)
    price = prices_of(alpha, x)
    losses = voxel_sums(x, voxel, weights, **change)
    return over_total((losses if price is None else losses * price).sum(), x.outputs, x, reduction, group)


def mean_over_classes(
    loss: Float[Tensor, "B C"],
    counted: Float[Tensor, "B C"] | None,
    reduction: Reduction,
    dtype: torch.dtype,
    group: ProcessGroup | None = None,
) -> Value:
    """Reduce losses that count by the weights `counted`; None where all count alike, in one process.

    The mean is a weighted mean over the classes of each image, then a mean over the images where any class counts.
    "sum" and "none" multiply each loss by its weight.
    """
    if counted is None:
        return {"mean": loss.mean, "sum": loss.sum, "none": lambda: loss}[reduction]().to(dtype)
    if reduction != "mean":
        return _reduced(loss * counted, counted, reduction, dtype, group)
    share = counted.sum(1)
    loss = ratio((loss * counted).sum(1), share, empty=0.0)
    return _reduced(loss, share > 0, "mean", dtype, group)


def mean_over_images(
    loss: Float[Tensor, " B"],
    counted: Float[Tensor, " B"],
    reduction: Reduction,
    dtype: torch.dtype,
    group: ProcessGroup | None = None,
) -> Value:
    """Reduce the losses of images; the mean is over those where `counted`, a number of voxels, is not 0."""
    return _reduced(loss, counted > 0, reduction, dtype, group)


def class_reducer(
    x: Inputs, include_background: bool, weight: ClassWeight | None, reduction: Reduction
) -> Callable[[Float[Tensor, "B C"]], Value]:
    """Check how losses of images and of every class are to be reduced, and give what does it."""
    check_reduction(reduction)
    classes = slice(class_range(x.logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, x.logits)[classes]

    def reduce(loss: Float[Tensor, "B C"]) -> Value:
        loss = loss[:, classes]
        counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
        return mean_over_classes(loss, counted * (count(x) > 0), reduction, x.logits.dtype)

    return reduce


def _reduced(
    loss: Tensor, counted: Tensor, reduction: Reduction, dtype: torch.dtype, group: ProcessGroup | None
) -> Value:
    """The mean over those that count, all ranks of the group together, the sum, or the losses themselves."""
    if reduction == "none":
        return loss.to(dtype)
    total = all_sum(loss.sum(), group)
    if reduction == "mean":
        total = ratio(total, all_sum(counted.to(loss.dtype).sum(), group), empty=0.0)
    return total.to(dtype)


def mean_where_defined(score: Float[Tensor, "B C"], reduction: Reduction, dtype: torch.dtype) -> Value:
    """Reduce scores of images and classes, NaN where undefined: over the classes, then over the images."""
    check_reduction(reduction)
    if reduction == "mean":
        score = score.nanmean(1).nanmean()
    elif reduction == "sum":
        score = score.nansum()
    return score.to(dtype)
