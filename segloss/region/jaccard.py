"""Jaccard index (intersection over union) as a loss."""

from segloss.core import (
    Absent,
    Activation,
    ClassWeight,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    evidence,
    not_negative,
    over_classes,
    ratio,
)


def jaccard_loss(
    logits: Logits,
    target: Labels,
    *,
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
    r"""One minus the soft Jaccard index, intersection over union.

    $$L_c = 1 - \frac{\sum_i p_{ic} g_{ic} + s}{\sum_i (p_{ic} + g_{ic} - p_{ic} g_{ic}) + s}$$

    Sums over the voxels $i$ of an image; of all images of the batch in the paper (`batch=True`). At $s = 0$ the index
    is $D / (2 - D)$ of the soft Dice coefficient $D$.

    Args:
        smooth: The constant $s$. At 0, an absent class that is predicted has loss 1 and no gradient: see `absent`.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [rahman2016iou], [eelbode2020optimization]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> jaccard_loss(logits, target)
        tensor(0.6667)
    """
    not_negative(smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    )
    return over_classes(1 - ratio(e.tp + smooth, e.p + e.g - e.tp + smooth), e)
