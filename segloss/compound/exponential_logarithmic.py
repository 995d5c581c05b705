"""Powers of the logarithms of Dice and of the probability of the truth."""

import torch

from segloss.core import (
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
    class_weight,
    evidence,
    not_negative,
    over_parts,
    positive,
    power,
    powered,
    ratio,
    truth_part,
)


def exponential_logarithmic_loss(
    logits: Logits,
    target: HardLabels,
    *,
    dice_weight: float = 0.8,
    ce_weight: float = 0.2,
    gamma_dice: float = 0.3,
    gamma_ce: float = 0.3,
    smooth: float = 1.0,
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
    r"""Powers of minus the logarithms of the Dice coefficients and of the probabilities of the truth.

    $$L = \lambda_D \frac{1}{C} \sum_c (-\ln D_c)^{\gamma_D}
    + \lambda_{CE} \frac{1}{N} \sum_i w_{t_i} (-\ln p_{i, t_i})^{\gamma_{CE}},
    \qquad D_c = \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic} + \sum_i g_{ic} + s}$$

    Sums over the voxels $i$ of an image; $t_i$ is the true class, under sigmoid each channel's own yes or no.
    Exponents below 1 make the slope steep near the truth: it is 0 where a logarithm vanishes to rounding. The class
    weights $w$, in the paper the square roots of the inverse shares of the classes in the training set, are for the
    second part alone and are not divided out. That part covers every class: `include_background` and `absent` are for
    the Dice part. The mean is the sum of both parts' means, that of the second over all voxels of the batch that count.

    Args:
        dice_weight: Weight $\lambda_D$ of the Dice part.
        ce_weight: Weight $\lambda_{CE}$ of the part of the voxels.
        gamma_dice: Exponent $\gamma_D$.
        gamma_ce: Exponent $\gamma_{CE}$.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `gamma_dice` or `gamma_ce` is not positive, `dice_weight`, `ce_weight` or `smooth` is negative,
            or an input has the wrong shape, type or values.

    References:
        [wong2018exponential]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> exponential_logarithmic_loss(logits, target, gamma_dice=1.0, gamma_ce=1.0, smooth=0.0)
        tensor(0.6931)
    """
    positive(gamma_dice=gamma_dice, gamma_ce=gamma_ce)
    not_negative(dice_weight=dice_weight, ce_weight=ce_weight, smooth=smooth)
    how = activation, include_background, None, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, voxel=powered(of_ce=gamma_ce))
    dice = ratio(2 * e.tp + smooth, e.p + e.g + smooth).clamp(min=torch.finfo(e.tp.dtype).tiny)
    of_class = class_part(power(-dice.log(), gamma_dice), e)
    price = None if weight is None else class_weight(weight, logits).unsqueeze(0)
    return over_parts(dice_weight * of_class + ce_weight * truth_part(e, price=price), e)
