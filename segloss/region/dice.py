"""Dice overlap as a loss, with plain and with squared sums in the denominator."""

from segloss.core import (
    SQUARES,
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


def dice_loss(
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
    r"""One minus the soft Dice coefficient.

    $$L_c = 1 - \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic} + \sum_i g_{ic} + s}$$

    Sums over the voxels $i$ of an image. Papers that minimise minus the coefficient have the same gradient.

    Args:
        smooth: The constant $s$. At 0, an absent class that is predicted has loss 1 and no gradient: see `absent`.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [drozdzal2016dice], [eelbode2020optimization]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> dice_loss(logits, target)
        tensor(0.5000)
    """
    not_negative(smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    )
    return over_classes(1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth), e)


def squared_dice_loss(
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
    r"""One minus the Dice coefficient with squared sums in the denominator.

    $$L_c = 1 - \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic}^2 + \sum_i g_{ic}^2 + s}$$

    Sums over the voxels $i$ of an image. With soft labels it is least at $p = g$, unlike the form
    without squares.

    Args:
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [milletari2016vnet]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> squared_dice_loss(logits, target)
        tensor(0.3333)
    """
    not_negative(smooth=smooth)
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=(SQUARES,))
    (squares,) = e.terms
    return over_classes(1 - ratio(2 * e.tp + smooth, squares + smooth), e)
