"""The parts of a compound, a loss of classes and a loss of voxels, brought to one unit.

That unit is the batch under reduction="mean", and else the image, or all images pooled.
"""

from jaxtyping import Float
from torch import Tensor

from segloss.core.distributed import all_sum
from segloss.core.inputs import Value, sum_dtype
from segloss.core.overlap import Evidence
from segloss.core.reduce import counted_classes, ratio

Part = Float[Tensor, "..."]


def class_part(loss: Float[Tensor, "B C"], e: Evidence, *, add: bool = False) -> Part:
    """The weighted mean over the classes, or with `add` their weighted sum, and for the batch the mean over images."""
    loss, counted = counted_classes(loss, e)
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
    also: Float[Tensor, " B"] | float = 0.0,
    channels: int | None = None,
) -> Part:
    """The weighted mean over voxels and channels, or what each image adds to it, times the number of images.

    Args:
        loss: Losses of the voxels, 0 where ignored.
        e: How to reduce.
        weight: Weights of the voxels, 0 where ignored.
        also: What is added to the sum of each image, or of the pooled batch.
        channels: What the number of voxels is multiplied with, K if None; without `weight` only.
    """
    dtype = sum_dtype(loss.device)
    if weight is None:
        size = e.n[:, 0] * (channels or loss.shape[1])
    else:
        loss, size = loss * weight, e.pooled(weight.sum((1, 2), dtype=dtype))
    total = e.pooled(loss.sum((1, 2), dtype=dtype)) + also
    everything = all_sum(size.sum(), e.group)
    if e.reduction == "mean":
        return ratio(all_sum(total.sum(), e.group), everything, empty=0.0)
    images = all_sum((e.n > 0).sum().to(dtype), e.group)
    return total * ratio(images, everything, empty=0.0)


def over_parts(loss: Part, e: Evidence) -> Value:
    """Reduce what is made of parts as `e` says."""
    return (all_sum(loss.sum(), e.group) if e.reduction == "sum" else loss).to(e.dtype)
