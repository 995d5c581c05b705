"""Focal loss: cross-entropy that turns away from what is already right."""

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    Balance,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    check_reduction,
    focused,
    not_negative,
    over_truths,
    positive,
    prepare,
)
from segloss.core.inputs import compute_dtype


def focal_loss(
    logits: Logits,
    target: HardLabels,
    *,
    gamma: float = 2.0,
    alpha: Balance | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of each voxel times a power of the probability that is still missing.

    $$L_i = -\alpha_i\,(1 - p_i)^\gamma \log p_i$$

    $p_i$ is the probability of the truth at voxel $i$: of its class under softmax, of each channel's own yes or no
    under sigmoid. The factor is differentiated. $\gamma = 0$ is cross-entropy. The mean is over voxels (and channels
    under sigmoid) and does not divide by the weights $\alpha_i$; the paper divides the sum by the number of objects.

    Args:
        gamma: Focusing exponent $\gamma$.
        alpha: A number prices the foreground, one minus it the background: label 0 under softmax, each channel's no
            under sigmoid. A sequence of length C prices each true class under softmax, each channel's yes under
            sigmoid. None stands for 1 everywhere.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); under sigmoid of several channels
        (B, C, \*S).

    Raises:
        ValueError: If `gamma` is negative, `alpha` is not from 0 to 1 or not of length C, or an input has the wrong
            shape, type or values.

    References:
        [lin2017focal]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0]])
        >>> focal_loss(logits, target, gamma=2.0, alpha=0.25, reduction="none")
        tensor([[0.0433, 0.1300]])
    """
    not_negative(gamma=gamma)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    return over_truths(focused(gamma), x, alpha, reduction, group)


def focal_star_loss(
    logits: Logits,
    target: HardLabels,
    *,
    gamma: float = 2.0,
    shift: float = 1.0,
    alpha: Balance | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The focal loss's relative FL*: cross-entropy of a steeper and shifted margin.

    $$L_i = -\frac{\alpha_i}{\gamma} \log \sigma(\gamma x_i + \beta), \qquad x_i = z_i (2 g_i - 1)$$

    $z$ are the logits of a foreground, or of channels that may overlap; $\beta$ is `shift`.

    Args:
        gamma: Steepness $\gamma$.
        shift: Shift $\beta$ of the margin.
        alpha: Price of the foreground, one minus it that of the background; a sequence gives one a channel. None stands
            for 1 everywhere.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); of several channels (B, C, \*S).

    Raises:
        ValueError: If `gamma` is not positive, `alpha` is not from 0 to 1 or not of length C, class indices meet
            several channels, or an input has the wrong shape, type or values.

    References:
        [lin2017focal]

    Examples:
        >>> logits = torch.tensor([[[0.0, 2.0]]])
        >>> target = torch.tensor([[1, 0]])
        >>> focal_star_loss(logits, target, gamma=2.0, shift=0.0)
        tensor(1.1778)
    """
    positive(gamma=gamma)
    check_reduction(reduction)
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    if logits.shape[1] > 1 and not x.dense:
        raise ValueError(f"target must be boolean (B, C, *S) where logits have {logits.shape[1]} channels")

    lowered = logits.new_full((logits.shape[1],), -shift, dtype=compute_dtype(logits.dtype))
    return over_truths(CROSS_ENTROPY, x, alpha, reduction, group, scale=gamma, lowered=lowered) / gamma
