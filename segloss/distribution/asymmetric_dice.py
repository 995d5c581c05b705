"""Cross-entropy and Dice that treat rare classes apart: to train with, and to find what disturbs them most."""

from collections.abc import Collection
from dataclasses import replace

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_part,
    count,
    evidence,
    image_part,
    not_negative,
    over_parts,
    ratio,
)
from segloss.core.blocks import kept
from segloss.core.exclusive import exclusive, log_loss, margin_parts, rare_classes
from segloss.core.labels import by_label


def asymmetric_ce_dice_loss(
    logits: Logits,
    target: HardLabels,
    *,
    gamma: float = 4.0,
    margin: float = 1.0,
    rare: Collection[int] | None = None,
    asymmetric: bool = True,
    ce_weight: float = 1.0,
    dice_weight: float = 1.0,
    eps: float = 0.0,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The asymmetric focal and margin loss, plus Dice with the same margin and focal factor.

    $$L = w_1 L_\mathrm{CE} + w_2 \frac1C \sum_c \frac{\mathrm{FP}_c + \sum_i (1 - q_{ic})\,g_{ic}\,f_{ic} + s}
    {2\,\mathrm{TP}_c + \mathrm{FP}_c + \mathrm{FN}_c + s}$$

    $L_\mathrm{CE}$ is `asymmetric_focal_margin_loss`; $q$ are the probabilities after its margin, of which TP, FP and
    FN are the soft counts. $f_{ic} = (1 - q_{ic} + \epsilon)^\gamma$ for common classes, 1 for rare ones.

    Args:
        gamma: Focusing exponent $\gamma$.
        margin: The margin $m$.
        rare: Labels of the rare classes; None stands for all but the background.
        asymmetric: Whether rare classes are treated apart.
        ce_weight: Weight $w_1$.
        dice_weight: Weight $w_2$.
        eps: The constant $\epsilon$, 1e-6 in the authors' code.
        smooth: The constant $s$. It is added to the errors: an absent class that is not predicted costs 1.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If a number is negative, `rare` names an unknown class, or an input has the wrong shape, type or
            values.

    References:
        [li2020overfitting]

    Examples:
        >>> logits = torch.zeros(1, 2, 2)
        >>> target = torch.tensor([[0, 1]])
        >>> asymmetric_ce_dice_loss(logits, target, gamma=2.0, margin=0.0, ce_weight=0.0)
        tensor(0.4063)
    """
    not_negative(gamma=gamma, margin=margin, ce_weight=ce_weight, dice_weight=dice_weight, eps=eps, smooth=smooth)
    x = exclusive(logits, target, activation, ignore_index, mask)
    ce, dice, e = margin_parts(
        x,
        x.labels,
        x.valid,
        *rare_classes(rare, asymmetric, x),
        gamma=gamma,
        margin=margin,
        eps=eps,
        smooth=smooth,
        include_background=include_background,
        batch=batch,
        group=group,
        reduction=reduction,
    )
    return over_parts(ce_weight * ce + dice_weight * dice, e).to(logits.dtype)


def asymmetric_adversarial_loss(
    logits: Logits,
    target: HardLabels,
    *,
    rare: Collection[int] | None = None,
    asymmetric: bool = True,
    eps: float = 0.0,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy and Dice of the voxels of rare classes, whose gradient is an adversarial direction.

    $$L = -\frac1N \sum_{i \in R} \log (p_i + \epsilon) + 1 - \frac1C \sum_c \frac{2 \sum_{i \in R} p_{ic} g_{ic} + s}
    {\sum_{i \in R} p_{ic} + \sum_{i \in R} g_{ic} + s}$$

    $R$ are the voxels whose true class is rare, all of them without asymmetry; $N$ counts all voxels, $p_i$ is the
    probability of the truth. The paper disturbs the image along the gradient of this loss, and trains on the result
    with another.

    Args:
        rare: Labels of the rare classes; None stands for all but the background.
        asymmetric: Whether only voxels of rare classes enter.
        eps: The constant $\epsilon$, 1e-6 in the authors' code.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `eps` or `smooth` is negative, `rare` names an unknown class, or an input has the wrong shape,
            type or values.

    References:
        [li2020overfitting]

    Examples:
        >>> logits = torch.zeros(1, 2, 2)
        >>> target = torch.tensor([[0, 1]])
        >>> asymmetric_adversarial_loss(logits, target, smooth=0.0, include_background=False)
        tensor(0.6799)
    """
    not_negative(eps=eps, smooth=smooth)
    x = exclusive(logits, target, activation, ignore_index, mask)
    is_rare, _ = rare_classes(rare, asymmetric, x)
    counted = kept(by_label(is_rare.unsqueeze(0), x.labels), x.valid)
    e = evidence(
        x.spatial(x.logits),
        x.spatial(x.labels),
        "softmax",
        include_background,
        mask=x.spatial(counted),
        batch=batch,
        group=group,
        reduction=reduction,
        voxel=log_loss(eps),
    )
    e = replace(e, n=e.pooled(count(x)))
    ce = image_part(e.by_truth[:, 0].sum(1), e)
    dice = 1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth)
    return over_parts(ce + class_part(dice, e), e).to(logits.dtype)
