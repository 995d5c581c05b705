"""Tversky index as a loss, its F-beta parametrisation and its focal power."""

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    Evidence,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    evidence,
    not_negative,
    over_classes,
    positive,
    power,
    ratio,
)
from segloss.core.sums import Sums


def tversky_loss(
    logits: Logits,
    target: Labels,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    smooth: float = 0.0,
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
    r"""One minus the Tversky index, which prices false positives and false negatives apart.

    $$L_c = 1 - \frac{\mathrm{TP}_c + s}{\mathrm{TP}_c + \alpha\,\mathrm{FP}_c + \beta\,\mathrm{FN}_c + s}$$

    $\mathrm{TP}_c = \sum_i p_{ic} g_{ic}$, $\mathrm{FP}_c = \sum_i p_{ic} (1 - g_{ic})$ and
    $\mathrm{FN}_c = \sum_i (1 - p_{ic}) g_{ic}$ are soft counts over the voxels $i$ of an image.
    $\alpha = \beta = 1/2$ is the Dice loss, $\alpha = \beta = 1$ the Jaccard loss.

    Args:
        alpha: Price $\alpha$ of a false positive.
        beta: Price $\beta$ of a false negative.
        smooth: The constant $s$. At 0, an absent class that is predicted has loss 1 and no gradient: see `absent`.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `alpha`, `beta` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [salehi2017tversky], [eelbode2020optimization]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0, 1]])
        >>> tversky_loss(logits, target, alpha=0.3, beta=0.7)
        tensor(0.3333)
    """
    not_negative(alpha=alpha, beta=beta, smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    )
    return over_classes(1 - _index(e, alpha, beta, smooth), e)


def f_beta_loss(
    logits: Logits,
    target: Labels,
    *,
    beta: float = 1.5,
    smooth: float = 0.0,
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
    r"""One minus the $F_\beta$ score, the asymmetric similarity loss.

    $$L_c = 1 - \frac{(1 + \beta^2)\,\mathrm{TP}_c}{(1 + \beta^2)\,\mathrm{TP}_c + \beta^2\,\mathrm{FN}_c
    + \mathrm{FP}_c}$$

    The Tversky loss with prices $1 / (1 + \beta^2)$ of a false positive and $\beta^2 / (1 + \beta^2)$ of a false
    negative; $\beta = 1$ is the Dice loss. Soft counts as in `tversky_loss`.

    Args:
        beta: Weight $\beta$ of recall against precision; above 1 false negatives cost more.
        smooth: Constant added to numerator and denominator of the form divided by $1 + \beta^2$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `beta` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [hashemi2019asymmetric]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0, 1]])
        >>> f_beta_loss(logits, target, beta=2.0)
        tensor(0.3333)
    """
    not_negative(beta=beta, smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    )
    alpha = 1 / (1 + beta**2)
    return over_classes(1 - _index(e, alpha, 1 - alpha, smooth), e)


def focal_tversky_loss(
    logits: Logits,
    target: Labels,
    *,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 4 / 3,
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
    r"""A power of the Tversky loss, which keeps the gradient of hard classes large.

    $$L_c = (1 - \mathrm{TI}_c)^{1/\gamma}, \qquad
    \mathrm{TI}_c = \frac{\mathrm{TP}_c + s}{\mathrm{TP}_c + \alpha\,\mathrm{FP}_c + \beta\,\mathrm{FN}_c + s}$$

    Soft counts as in `tversky_loss`; $\gamma = 1$ is the Tversky loss. The paper's letters $\alpha$ and $\beta$ are
    exchanged: there $\alpha$ prices false negatives. The paper adds the classes (`reduction="sum"`), and its code pools
    the batch. The derivative of the power is infinite at $\mathrm{TI}_c = 1$; there the gradient is 0.

    Args:
        alpha: Price $\alpha$ of a false positive.
        beta: Price $\beta$ of a false negative.
        gamma: Focal parameter; the exponent is $1/\gamma$.
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `alpha`, `beta` or `smooth` is negative, `gamma` is not positive, or an input has the
            wrong shape, type or values.

    References:
        [abraham2019focal]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0, 1]])
        >>> focal_tversky_loss(logits, target, gamma=4 / 3)
        tensor(0.3536)
    """
    not_negative(alpha=alpha, beta=beta, smooth=smooth)
    positive(gamma=gamma)
    e = evidence(
        logits, target, activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    )
    return over_classes(power(1 - _index(e, alpha, beta, smooth), 1 / gamma), e)


def _index(e: Evidence, alpha: float, beta: float, smooth: float) -> Sums:
    return ratio(e.tp + smooth, e.tp + alpha * e.fp + beta * e.fn + smooth)
