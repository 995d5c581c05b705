"""The parts of a compound, a loss of classes and a loss of voxels, brought to one unit.

That unit is the batch under reduction="mean", and else the image, or all images pooled.
"""

from jaxtyping import Float
from torch import Tensor

from segloss.core.distributed import all_sum
from segloss.core.inputs import ClassWeight, Value, class_weight, spatial_sum
from segloss.core.overlap import Evidence
from segloss.core.reduce import counted_classes, ratio

Part = Float[Tensor, "..."]


def class_part(loss: Float[Tensor, "B C"], e: Evidence, *, add: bool = False) -> Part:
    """The weighted mean over the classes, or with `add` their weighted sum, and for the batch the mean over images."""
    loss, counted = counted_classes(loss, e)
    if counted is None:
        each = loss.sum(1) if add else loss.mean(1)
        return each.mean() if e.reduction == "mean" else each
    share = counted.sum(1)
    each = (loss * counted).sum(1)
    each = each if add else ratio(each, share, empty=0.0)
    if e.reduction != "mean":
        return each
    images = all_sum((share > 0).sum().to(each.dtype), e.group)
    return ratio(all_sum(each.sum(), e.group), images, empty=0.0)


def voxel_part(
    loss: Float[Tensor, "B K N"],
    e: Evidence,
    *,
    weight: Float[Tensor, "B K N"] | None = None,
) -> Part:
    """The weighted mean over voxels and channels, or what each image adds to it, times the number of images.

    Args:
        loss: Losses of the voxels, 0 where ignored.
        e: How to reduce.
        weight: Weights of the voxels, 0 where ignored.
    """
    size = None
    if weight is not None:
        loss, size = loss * weight, e.pooled(spatial_sum(weight).sum(1))
    return _mean(e.pooled(spatial_sum(loss).sum(1)), size, e, loss.shape[1])


def image_part(total: Float[Tensor, " B"], e: Evidence) -> Part:
    """`voxel_part` of losses that are added up already, over the voxels of each image."""
    return _mean(total, None, e)


def truth_part(
    e: Evidence,
    *,
    price: Float[Tensor, "K C"] | None = None,
    weight: ClassWeight | None = None,
    add: bool = False,
) -> Part:
    """`voxel_part` of the losses that `e` holds by truth, each truth with its price.

    The mean is weighted by the class, or by the channel; with `add` channels are added up, and weights not divided out.
    """
    losses, size, outputs = e.by_truth, None, 1 if add else e.inputs.outputs
    if price is not None:
        losses = losses * price
    if weight is not None:
        weight = class_weight(weight, e.inputs.logits)
        losses = losses * weight
        size = None if add else (e.truths * weight).sum((1, 2))
    return _mean(losses.sum((1, 2)), size, e, outputs)


def _mean(total: Float[Tensor, " B"], size: Float[Tensor, " B"] | None, e: Evidence, outputs: int = 1) -> Part:
    """The mean of losses of which images have `size`; None stands for so many of each voxel."""
    if size is None and e.is_whole:
        batch, _, voxels = e.inputs.logits.shape
        total = total / (voxels * outputs * (batch // total.shape[0]))
        return total.mean() if e.reduction == "mean" else total
    everything = all_sum((e.n[:, 0] * outputs if size is None else size).sum(), e.group)
    if e.reduction == "mean":
        return ratio(all_sum(total.sum(), e.group), everything, empty=0.0)
    images = all_sum((e.n > 0).sum().to(total.dtype), e.group)
    return total * ratio(images, everything, empty=0.0)


def over_parts(loss: Part, e: Evidence) -> Value:
    """Reduce what is made of parts as `e` says."""
    return (all_sum(loss.sum(), e.group) if e.reduction == "sum" else loss).to(e.dtype)
