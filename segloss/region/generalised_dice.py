"""Generalised Dice overlap: one ratio of sums over classes, each weighted by its volume."""

import torch

from segloss.core import (
    Activation,
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
    present = e.g > 0
    w = torch.where(present, e.g, 1.0) ** -volume_power
    rarest = torch.where(present, w, 0.0).amax(1, keepdim=True)
    w = torch.where(present | (rarest == 0), w, rarest)
    overlap, size = (w * e.tp).sum(1), (w * (e.p + e.g)).sum(1)
    return over_images(1 - ratio(2 * overlap + smooth, size + smooth), e)
