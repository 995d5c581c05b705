"""Overlap losses with a weight for each voxel, and squared sums in the denominator."""

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Term,
    Value,
    WeightMap,
    evidence,
    over_classes,
    positive,
    ratio,
)


def weighted_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    weight_map: WeightMap,
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
    r"""One minus the Dice coefficient of weighted voxels, with squared sums in the denominator.

    $$L_c = 1 - \frac{2 \sum_i w_i p_{ic} g_{ic}}{\sum_i w_i (p_{ic}^2 + g_{ic}^2)}$$

    Sums over the voxels $i$ of an image. A class without ground truth costs 1 with no gradient: see `absent`.

    Args:
        weight_map: Weights $w$ of at least 0, (B, 1, \*S) or (B, \*S). `inverse_weight_map` makes those of the paper.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `weight_map` has the wrong shape, or negative or infinite values, or another input has the wrong
            shape, type or values.

    References:
        [shirokikh2020universal]

    Examples:
        >>> logits = torch.tensor([[[20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 1, 0, 0]])
        >>> weight_map = torch.tensor([[[1.0, 5.0, 1.0, 1.0]]])
        >>> weighted_dice_loss(logits, target, weight_map=weight_map)
        tensor(0.7500)
    """
    return weighted_asymmetric_similarity_loss(
        logits,
        target,
        weight_map=weight_map,
        beta=1.0,
        activation=activation,
        include_background=include_background,
        weight=weight,
        absent=absent,
        ignore_index=ignore_index,
        mask=mask,
        batch=batch,
        group=group,
        reduction=reduction,
    )


def weighted_asymmetric_similarity_loss(
    logits: Logits,
    target: Labels,
    *,
    weight_map: WeightMap,
    beta: float = 1.5,
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
    r"""One minus the F-beta score of weighted voxels, with squared sums in the denominator.

    $$L_c = 1 - \frac{(1 + \beta^2) \sum_i w_i p_{ic} g_{ic}}{\sum_i w_i (\beta^2 g_{ic}^2 + p_{ic}^2)}$$

    Sums over the voxels $i$ of an image. A class without ground truth costs 1 with no gradient: see `absent`.

    Args:
        weight_map: Weights $w$ of at least 0, (B, 1, \*S) or (B, \*S). `inverse_weight_map` makes those of the paper.
        beta: The $\beta$ of the score; its square prices false negatives. Below 1 the loss can fall below 0, short of
            the truth.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `weight_map` has the wrong shape, or negative or infinite values, `beta` is not positive, or
            another input has the wrong shape, type or values.

    References:
        [shirokikh2020universal]

    Examples:
        >>> logits = torch.tensor([[[20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 1, 0, 0]])
        >>> weight_map = torch.tensor([[[1.0, 5.0, 1.0, 1.0]]])
        >>> weighted_asymmetric_similarity_loss(logits, target, weight_map=weight_map, beta=2.0)
        tensor(0.8077)
    """
    positive(beta=beta)
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    overlap = Term(lambda p, g: p * g, lambda p, g: g + 0 * p)
    size = Term(lambda p, g: beta**2 * g**2 + p**2, lambda p, g: 2 * p)
    e = evidence(logits, target, *how, terms=(overlap, size), weights=weight_map)
    tp, squares = e.terms
    return over_classes(1 - ratio((1 + beta**2) * tp, squares), e)
