"""Dice and the focal loss added up."""

from typing import Literal

from segloss.core import (
    SQUARES,
    Absent,
    Activation,
    Balance,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_part,
    evidence,
    focused,
    not_negative,
    one_of,
    over_parts,
    prices_of,
    ratio,
    truth_part,
)


def dice_focal_loss(
    logits: Logits,
    target: HardLabels,
    *,
    dice_weight: float = 1.0,
    focal_weight: float = 1.0,
    gamma: float = 2.0,
    alpha: Balance | None = None,
    squared: bool = False,
    clamp: float = 0.0,
    class_reduction: Literal["mean", "sum"] = "mean",
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
    r"""One minus the soft Dice coefficient, plus the focal loss.

    $$L = \lambda_D \frac{1}{C} \sum_c \Big(1 -
    \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic}^r + \sum_i g_{ic}^r + s}\Big)
    - \lambda_F \frac{1}{N} \sum_i \alpha_{t_i} (1 - p_{i, t_i})^\gamma \log p_{i, t_i}$$

    Sums over the voxels $i$ of an image; $t_i$ is the true class, under sigmoid each channel's own yes or no, and then
    the second part is averaged over the channels too. It covers every class: `include_background` and `absent` are for
    the Dice part alone, and `weight` is for both. The mean is the sum of both parts' means, that of the second over all
    voxels of the batch that count.

    Args:
        dice_weight: Weight $\lambda_D$ of the Dice part.
        focal_weight: Weight $\lambda_F$ of the focal part.
        gamma: Focusing exponent $\gamma$.
        alpha: Prices $\alpha$ of the focal part, as in `focal_loss`; they are not divided out.
        squared: Whether the denominator holds squares, $r = 2$, or not, $r = 1$.
        clamp: The probabilities of the focal part are kept this far from 0 and 1, and have no gradient beyond.
        class_reduction: `"mean"`, or `"sum"`: the losses of the classes are added up in both parts, each times its
            `weight`, which is then not divided out.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `dice_weight`, `focal_weight`, `gamma` or `smooth` is negative, `clamp` is not from 0 to 1/2,
            `alpha` is not from 0 to 1 or not of length C, or an input has the wrong shape, type or values.

    References:
        [zhu2019anatomynet], [iantsen2021squeeze], [ma2021odyssey]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> dice_focal_loss(logits, target, smooth=0.0)
        tensor(0.6733)
    """
    not_negative(dice_weight=dice_weight, focal_weight=focal_weight, gamma=gamma, smooth=smooth)
    one_of("class_reduction", class_reduction, ("mean", "sum"))
    if not 0 <= clamp < 0.5:
        raise ValueError(f"clamp must be at least 0 and below 1/2, got {clamp}")
    terms = (SQUARES,) if squared else ()
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=terms, voxel=focused(gamma, clamp))
    size, add = e.terms[0] if squared else e.p + e.g, class_reduction == "sum"
    dice = class_part(1 - ratio(2 * e.tp + smooth, size + smooth), e, add=add)
    voxels = truth_part(e, price=prices_of(alpha, e.inputs), weight=weight, add=add)
    return over_parts(dice_weight * dice + focal_weight * voxels, e)
