"""Focal loss: cross-entropy that turns away from what is already right."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Inputs,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    can_look_at,
    check_reduction,
    log_likelihood,
    not_negative,
    over_voxels,
    positive,
    power,
    prepare,
    true_mask,
)

Balance = float | Sequence[float] | Float[Tensor, " C"]


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
    under sigmoid. The factor is differentiated. $\gamma = 0$ is cross-entropy. The mean is over voxels (and channels under
    sigmoid); weights $\alpha_i$ are not normalised, and the paper divides the sum by the number of objects instead.

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
    balance = balance_of(alpha, x)
    log_p = log_likelihood(x)
    loss = -power(-log_p.expm1(), gamma) * log_p
    return over_voxels(loss if balance is None else balance * loss, x, reduction, group)


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
    balance = balance_of(alpha, x)
    g = true_mask(x)
    margin = gamma * torch.where(g, x.logits, -x.logits) + shift
    loss = torch.nn.functional.softplus(-margin.to(torch.promote_types(margin.dtype, torch.float32))) / gamma
    if x.valid is not None:
        loss = loss.masked_fill(~x.valid, 0)
    return over_voxels(loss if balance is None else balance * loss, x, reduction, group)


def balance_of(alpha: Balance | None, x: Inputs) -> Tensor | None:
    """The price of every voxel, (B, K, N); None where all cost 1."""
    if alpha is None:
        return None
    classes, exclusive = x.logits.shape[1], x.activation == "softmax"
    each = torch.as_tensor(alpha, dtype=torch.float32, device=x.logits.device)
    if each.ndim and each.shape != (classes,):
        raise ValueError(f"alpha must be a number or of length {classes}, one a class, got shape {tuple(each.shape)}")
    if can_look_at(each) and not bool(((each >= 0) & (each <= 1)).all()) and not (each.ndim and exclusive):
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    if exclusive:
        label = x.labels.long() if x.valid is None else x.labels.long().masked_fill(~x.valid, 0)
        return each[label] if each.ndim else torch.where(label > 0, each, 1 - each)
    each = each.view(-1, 1)
    return torch.where(true_mask(x), each, 1 - each)
