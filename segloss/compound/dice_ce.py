"""Dice and cross-entropy added up."""

from segloss.core import (
    CROSS_ENTROPY,
    Absent,
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_part,
    evidence,
    not_negative,
    over_parts,
    ratio,
    truth_part,
)


def dice_ce_loss(
    logits: Logits,
    target: HardLabels,
    *,
    dice_weight: float = 1.0,
    ce_weight: float = 1.0,
    log_dice: bool = False,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the soft Dice coefficient, plus cross-entropy.

    $$L = \lambda_D \Big(1 - \frac{1}{C} \sum_c
    \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic} + \sum_i g_{ic} + s}\Big)
    - \lambda_{CE} \frac{1}{N} \sum_i \log p_{i, t_i}$$

    Sums over the voxels $i$ of an image; $t_i$ is the true class. Under sigmoid the second part is binary
    cross-entropy, averaged over the channels too. It covers every class: `include_background` and `absent` are for
    the Dice part alone, and `weight` is for both. The mean is the sum of both parts' means, that of the second over all
    voxels of the batch that count.

    Args:
        dice_weight: Weight $\lambda_D$ of the Dice part.
        ce_weight: Weight $\lambda_{CE}$ of cross-entropy.
        log_dice: Whether minus the logarithm of the mean coefficient takes the place of one minus it.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `dice_weight`, `ce_weight` or `smooth` is negative, or an input has the wrong shape, type or
            values.

    References:
        [isensee2018nnunet], [ma2021odyssey]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> dice_ce_loss(logits, target, smooth=0.0)
        tensor(1.1931)
    """
    not_negative(dice_weight=dice_weight, ce_weight=ce_weight, smooth=smooth)
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, voxel=CROSS_ENTROPY)
    dice = class_part(1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth), e)
    if log_dice:
        dice = -(1 - dice).clamp(min=1e-30).log()
    ce = truth_part(e, weight=weight)
    return over_parts(dice_weight * dice + ce_weight * ce, e)
