"""Focal loss with a weight for each voxel."""

from segloss.core import (
    Activation,
    Balance,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    WeightMap,
    check_reduction,
    flat_weight_map,
    focused,
    not_negative,
    over_truths,
    prepare,
)


def weighted_focal_loss(
    logits: Logits,
    target: HardLabels,
    *,
    weight_map: WeightMap,
    gamma: float = 2.0,
    alpha: Balance | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Focal loss of each voxel times its weight.

    $$L_i = -w_i\,\alpha_i\,(1 - p_i)^\gamma \log p_i$$

    $p_i$ is the probability of the truth at voxel $i$: of its class under softmax, of each channel's own yes or no
    under sigmoid. The mean is over voxels (and channels under sigmoid) and does not divide by the weights.

    Args:
        weight_map: Weights $w$ of at least 0, (B, 1, \*S) or (B, \*S). `inverse_weight_map` makes those of the paper.
        gamma: Focusing exponent $\gamma$.
        alpha: A number prices the foreground, one minus it the background: label 0 under softmax, each channel's no
            under sigmoid. A sequence of length C prices each true class under softmax, each channel's yes under
            sigmoid. None stands for 1 everywhere.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); under sigmoid of several channels
        (B, C, \*S).

    Raises:
        ValueError: If `weight_map` has the wrong shape, or negative or infinite values, `gamma` is negative, `alpha` is
            out of range or not of length C, or another input has the wrong shape, type or values.

    References:
        [shirokikh2020universal]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0]])
        >>> weight_map = torch.tensor([[[1.0, 3.0]]])
        >>> weighted_focal_loss(logits, target, weight_map=weight_map, alpha=0.25, reduction="none")
        tensor([[0.0433, 0.3899]])
    """
    not_negative(gamma=gamma)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    return over_truths(focused(gamma), x, alpha, reduction, group, flat_weight_map(weight_map, x))
