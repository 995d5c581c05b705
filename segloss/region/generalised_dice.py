"""Generalised Dice overlap, one ratio of sums over classes weighted by their volumes, and its penalised form."""

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    Evidence,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    evidence,
    not_negative,
    over_images,
    ratio,
)


def generalised_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    volume_power: float = 2.0,
    smooth: float = 0.0,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus a Dice ratio of weighted sums over all classes, the weights falling with the volume of the class.

    $$L = 1 - \frac{2 \sum_c w_c \sum_i p_{ic} g_{ic} + s}{\sum_c w_c \sum_i (p_{ic} + g_{ic}) + s},
    \qquad w_c = \Big(\sum_i g_{ic}\Big)^{-k}$$

    Sums over the voxels $i$ of an image. The weights carry no gradient. A class without ground truth, whose weight the
    formula leaves infinite, gets the largest weight among the classes of the image that have some, as in the authors'
    code; where none has any, all weights are 1.

    Args:
        volume_power: Exponent $k$ of the volume: 2 in the paper, 1 for inverse volumes, 0 for equal weights.
        smooth: The constant $s$, added after weighting; the paper has none. The weighted sums are small, so that even
            $10^{-5}$ changes the loss of large volumes.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `volume_power` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [sudre2017generalised]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, 20.0, 20.0], [-20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1]])
        >>> generalised_dice_loss(logits, target)
        tensor(0.2500)
    """
    not_negative(volume_power=volume_power, smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, None, "smooth", ignore_index, mask, batch, group, reduction
    )
    overlap, size = _weighted_sums(e, volume_power)
    return over_images(1 - ratio(2 * overlap + smooth, size + smooth), e)


def penalised_generalised_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    k: float = 2.5,
    volume_power: float = 2.0,
    smooth: float = 0.0,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus a generalised Dice ratio whose denominator prices false positives and false negatives once more.

    $$L = 1 - \frac{2 \sum_c w_c \mathrm{TP}_c + s}{\sum_c w_c \sum_i (p_{ic} + g_{ic})
    + k \sum_c w_c (\mathrm{FP}_c + \mathrm{FN}_c) + s} = 1 - \frac{GD}{1 + k (1 - GD)},
    \qquad w_c = \Big(\sum_i g_{ic}\Big)^{-v}$$

    $\mathrm{TP}_c = \sum_i p_{ic} g_{ic}$, $\mathrm{FP}_c = \sum_i p_{ic} (1 - g_{ic})$ and
    $\mathrm{FN}_c = \sum_i (1 - p_{ic}) g_{ic}$ are soft counts over the voxels $i$ of an image, and $GD$ is the
    generalised Dice coefficient; $k = 0$ gives the generalised Dice loss. The weights carry no gradient. A class
    without ground truth gets the largest weight among those of the image that have some, as in `generalised_dice_loss`.

    Args:
        k: Penalty $k$ on false positives and false negatives.
        volume_power: Exponent $v$ of the volume.
        smooth: The constant $s$, added after weighting; the paper has none.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `k`, `volume_power` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [yang2019penalty]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, 20.0, 20.0], [-20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 1]])
        >>> penalised_generalised_dice_loss(logits, target, k=2.0)
        tensor(0.5000)
    """
    not_negative(k=k, volume_power=volume_power, smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, None, "smooth", ignore_index, mask, batch, group, reduction
    )
    overlap, size = _weighted_sums(e, volume_power)
    mistakes = size - 2 * overlap
    return over_images(1 - ratio(2 * overlap + smooth, size + k * mistakes + smooth), e)


def _weighted_sums(e: Evidence, volume_power: float) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
    """Overlap and size of all classes, each class weighted by its volume."""
    present = e.g > 0
    w = torch.where(present, e.g, 1.0) ** -volume_power
    rarest = torch.where(present, w, 0.0).amax(1, keepdim=True)
    w = torch.where(present | (rarest == 0), w, rarest)
    return (w * e.tp).sum(1), (w * (e.p + e.g)).sum(1)
