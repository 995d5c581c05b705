"""Cross-entropy of the hardest voxels only."""

import math

import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    HowMany,
    Inputs,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    count,
    hardest,
    log_likelihood,
    not_negative,
    over_voxels,
    prepare,
    share_of,
    sums_of_hardest,
)


def bootstrapped_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    threshold: float = 0.6,
    min_kept: int = 512,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of the voxels whose truth is less likely than a threshold, of a minimum number in any case.

    $$L = -\frac{\sum_i [p_i < t'] \log p_i}{\sum_i [p_i < t']}, \qquad t' = \max(t, p_{(m + 1)})$$

    $p_i$ is the probability of the truth at voxel $i$ of the batch, $p_{(1)} \le p_{(2)} \le \dots$ the same in order,
    $m$ the minimum number. Under sigmoid every channel of a voxel is a candidate of its own. Which voxels are kept is
    not differentiated. Voxels that tie for the last places share them, and one voxel at least is kept.

    Args:
        threshold: Threshold $t$ of the probability.
        min_kept: Minimum number $m$. Where no more voxels than that count, the easiest is left out.

    Returns:
        A scalar of at least 0, a mean or sum of the voxels kept. With `reduction="none"` one loss a voxel, (B, \*S), 0
        where not kept; under sigmoid of several channels (B, C, \*S).

    Raises:
        ValueError: If `threshold` is not above 0 and at most 1, `min_kept` is negative, or an input has the wrong
            shape, type or values.

    References:
        [wu2016topk]

    Examples:
        >>> logits = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
        >>> target = torch.tensor([[1, 1, 1, 1]])
        >>> bootstrapped_cross_entropy_loss(logits, target, threshold=0.6, min_kept=1)
        tensor(0.6931)
        >>> bootstrapped_cross_entropy_loss(logits, target, threshold=0.6, min_kept=2)
        tensor(0.5032)
    """
    _at_most_one(threshold=threshold)
    not_negative(min_kept=min_kept)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)

    def number(log_p: Float[Tensor, "B K N"]) -> Integer[Tensor, ""]:
        below = torch.count_nonzero(log_p < math.log(threshold))
        least = (_candidates(log_p, x) - 1).clamp(max=min_kept).long()
        return torch.maximum(least, below).clamp(min=1)

    return _of_hardest(x, number, reduction)


def topk_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    k: float = 0.1,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of a fixed share of the voxels, the hardest.

    $$L = -\frac{1}{n} \sum_{i=1}^{n} \log p_{(i)}, \qquad n = \max(1, \lfloor k N \rfloor)$$

    $p_{(1)} \le p_{(2)} \le \dots$ are the probabilities of the truth at the $N$ voxels of the batch that count, in
    order. Under sigmoid every channel of a voxel is a candidate of its own. Which voxels are kept is not
    differentiated. Voxels that tie for the last places share them.

    Args:
        k: Share of the voxels that count; 1 is cross-entropy.

    Returns:
        A scalar of at least 0, a mean or sum of the voxels kept. With `reduction="none"` one loss a voxel, (B, \*S), 0
        where not kept; under sigmoid of several channels (B, C, \*S).

    Raises:
        ValueError: If `k` is not above 0 and at most 1, or an input has the wrong shape, type or values.

    References:
        [wu2016topk]

    Examples:
        >>> logits = torch.tensor([[[0.0, 1.0, 2.0, 3.0]]])
        >>> target = torch.tensor([[1, 1, 1, 1]])
        >>> topk_cross_entropy_loss(logits, target, k=0.5)
        tensor(0.5032)
    """
    _at_most_one(k=k)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    return _of_hardest(x, lambda log_p: share_of(_candidates(log_p, x), k), reduction)


def _candidates(log_p: Float[Tensor, "B K N"], x: Inputs) -> Float[Tensor, ""]:
    """How many voxels and channels count."""
    return count(x).sum() * log_p.shape[1]


def _of_hardest(x: Inputs, number: HowMany, reduction: Reduction) -> Value:
    """Reduce the cross-entropy of the hardest voxels."""
    if reduction == "none":
        log_p = log_likelihood(x)
        return over_voxels(-log_p * hardest(log_p, number(log_p.detach())), x, "none")
    _, total, many = sums_of_hardest(x, number, sums=False)
    return (-total / many if reduction == "mean" else -total).to(x.logits.dtype)


def _at_most_one(**values: float) -> None:
    """Refuse a share that is not above 0 and at most 1."""
    for name, value in values.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, got {value}")
