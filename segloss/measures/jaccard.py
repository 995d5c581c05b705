"""Jaccard index of hard predictions."""

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core import Labels, Logits, Mask, Reduction, Value, class_range, hard_masks, mean_where_defined


def jaccard_index(
    logits: Logits,
    target: Labels,
    *,
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    reduction: Reduction = "mean",
) -> Value:
    r"""Intersection over union of the predicted and the true voxels of each class.

    $$J_c = \frac{C_{cc}}{G_c + P_c - C_{cc}}$$

    $C_{cc}$ counts the voxels of class $c$ that are predicted as such, $G_c$ its voxels, $P_c$ those predicted. The
    prediction is the class with the largest logit; with one channel, the foreground where the logit is above 0. The
    mean is over the classes present in the ground truth of each image, then over the images. Not differentiable.

    Args:
        batch: Whether counts are pooled over the batch, as over a whole dataset, instead of one index an image.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one index an image and class, (B, C); (1, C) with `batch`. It
        is NaN for a class without ground truth, which "mean" and "sum" leave out.

    Raises:
        ValueError: If the target has overlapping labels, or an input has the wrong shape, type or values.

    References:
        [csurka2013measure]

    Examples:
        >>> logits = torch.tensor([[[9.0, 9.0, -9.0, -9.0], [-9.0, -9.0, 9.0, 9.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1]])
        >>> jaccard_index(logits, target, reduction="none")
        tensor([[0.6667, 0.5000]])
    """
    predicted, true = hard_masks(logits, target, ignore_index=ignore_index, mask=mask)
    first = class_range(logits, include_background).start
    overlap, P, G = (_count(y[:, first:], batch) for y in (predicted & true, predicted, true))
    index = torch.where(G > 0, overlap / (G + P - overlap), torch.nan)
    return mean_where_defined(index, reduction, logits.dtype)


def _count(y: Tensor, batch: bool) -> Float[Tensor, "B C"]:
    count: Integer[Tensor, "B C"] = y.flatten(2).sum(2)
    return (count.sum(0, keepdim=True) if batch else count).double()
