"""Cross-entropy with a weight for each voxel."""

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    WeightMap,
    check_reduction,
    flat_weight_map,
    over_truths,
    prepare,
)


def weighted_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    weight_map: WeightMap,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of each voxel times its weight.

    $$L_i = -w_i \log p_i$$

    $p_i$ is the probability of the truth at voxel $i$: of its class under softmax, of each channel's own yes or no
    under sigmoid. The mean is over voxels (and channels under sigmoid) and does not divide by the weights.

    Args:
        weight_map: Weights $w$ of at least 0, (B, 1, \*S) or (B, \*S). `unet_weight_map` and `inverse_weight_map` make
            two kinds.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); under sigmoid of several channels
        (B, C, \*S).

    Raises:
        ValueError: If `weight_map` has the wrong shape, or negative or infinite values, or another input has the wrong
            shape, type or values.

    References:
        [ronneberger2015unet], [shirokikh2020universal]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 0, 1]])
        >>> weight_map = torch.tensor([[[1.0, 3.0, 3.0, 1.0]]])
        >>> weighted_cross_entropy_loss(logits, target, weight_map=weight_map, reduction="none")
        tensor([[0.6931, 2.0794, 2.0794, 0.6931]])
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    return over_truths(CROSS_ENTROPY, x, None, reduction, group, flat_weight_map(weight_map, x))
