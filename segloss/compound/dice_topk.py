"""Dice and the cross-entropy of the hardest voxels added up."""

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    class_part,
    count,
    evidence,
    hardest,
    not_negative,
    over_parts,
    ratio,
    share_of,
    voxel_part,
    weight_of,
)


def dice_topk_loss(
    logits: Logits,
    target: HardLabels,
    *,
    k: float = 0.1,
    dice_weight: float = 1.0,
    topk_weight: float = 1.0,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the soft Dice coefficient, plus the cross-entropy of the hardest voxels.

    $$L = \lambda_D \Big(1 - \frac{1}{C} \sum_c
    \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic} + \sum_i g_{ic} + s}\Big)
    - \lambda_T \frac{1}{n} \sum_{i=1}^{n} \log p_{(i)}, \qquad n = \max(1, \lfloor k N \rfloor)$$

    Sums over the voxels $i$ of an image. $p_{(1)} \le p_{(2)} \le \dots$ are the probabilities of the truth at the $N$
    voxels of the batch that count, in order, as in `topk_cross_entropy_loss`. They are those of every class:
    `include_background` and `absent` are for the Dice part alone. `weight` is for both: the voxels that were chosen
    are averaged with the weights of their classes. They are chosen from the whole batch, whether Dice is pooled or
    not, which is why there is no `group`.

    Args:
        k: Share of the voxels that count in the second part.
        dice_weight: Weight $\lambda_D$ of the Dice part.
        topk_weight: Weight $\lambda_T$ of the cross-entropy.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,), with what its voxels add to the
        second part, times the number of images; (1,) with `batch`.

    Raises:
        ValueError: If `k` is not above 0 and at most 1, `dice_weight`, `topk_weight` or `smooth` is negative, or an
            input has the wrong shape, type or values.

    References:
        [ma2021adam], [ma2021odyssey]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> dice_topk_loss(logits, target, k=0.5, smooth=0.0)
        tensor(1.1931)
    """
    if not 0 < k <= 1:
        raise ValueError(f"k must be above 0 and at most 1, got {k}")
    not_negative(dice_weight=dice_weight, topk_weight=topk_weight, smooth=smooth)
    how = activation, include_background, weight, absent, ignore_index, mask, batch, None, reduction
    if weight is None and reduction == "mean":
        e = evidence(logits, target, *how, hardest=k)
        topk = e.of_hardest
    else:
        e = evidence(logits, target, *how, likelihood=True)
        of_class = weight_of(weight, e.inputs)
        kept = hardest(e.log_p, share_of(count(e.inputs).sum() * e.log_p.shape[1], k))
        topk = voxel_part(e.log_p, e, weight=kept if of_class is None else of_class * kept)
    dice = class_part(1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth), e)
    return over_parts(dice_weight * dice - topk_weight * topk, e)
