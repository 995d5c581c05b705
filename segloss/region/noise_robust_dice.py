"""Dice loss between mean absolute error and squared Dice, robust to noisy labels."""

from segloss.core import (
    SQUARES,
    Absent,
    Activation,
    ClassWeight,
    Labels,
    Logits,
    Mask,
    OfError,
    ProcessGroup,
    Reduction,
    Term,
    Value,
    evidence,
    not_negative,
    over_classes,
    power,
    ratio,
)


def noise_robust_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    gamma: float = 1.5,
    squared: bool = True,
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
    r"""Noise-robust Dice loss: a power of the error, over the sizes of prediction and truth.

    $$L_c = \frac{\sum_i |p_{ic} - g_{ic}|^\gamma}{\sum_i p_{ic}^2 + \sum_i g_{ic}^2 + \epsilon}$$

    Sums over the voxels $i$ of an image. $\gamma = 2$ is the squared Dice loss at $\epsilon = 0$; towards $\gamma = 1$
    outlying errors count less. The loss may exceed 1. The released code has no squares in the denominator
    (`squared=False`), where $\gamma = 1$ is the Dice loss, and pools the batch.

    Args:
        gamma: Exponent $\gamma$ of the error, from 1 to 2.
        squared: Whether the sums in the denominator are of squares.
        smooth: The constant $\epsilon$, in the denominator only.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `gamma` is not from 1 to 2, `smooth` is negative, or an input has the wrong shape, type or
            values.

    References:
        [wang2020noise]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, -99.0, -99.0]]])
        >>> target = torch.tensor([[1, 0, 0, 0]])
        >>> noise_robust_dice_loss(logits, target, gamma=2.0)
        tensor(0.3333)
    """
    not_negative(smooth=smooth)
    if not 1 <= gamma <= 2:
        raise ValueError(f"gamma must be from 1 to 2, got {gamma}")
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    error = Term(
        lambda p, g: power((p - g).abs(), gamma),
        lambda p, g: gamma * (p - g).abs().clamp(min=1e-24) ** (gamma - 1) * (p - g).sign(),  # roots of 0 take long
        errors=((OfError.POWER, gamma), (OfError.POWER, gamma)),
    )
    e = evidence(logits, target, *how, terms=(error, SQUARES) if squared else (error,))
    size = e.terms[1] if squared else e.p + e.g
    return over_classes(ratio(e.terms[0], size + smooth, empty=0.0), e)
