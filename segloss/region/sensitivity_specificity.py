"""Squared error on the object and beside it, each by its own size."""

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
    evidence,
    not_negative,
    over_classes,
    ratio,
)

MISSED = Term(lambda p, g: (g - p) ** 2 * g, lambda p, g: 2 * (p - g) * g)
FALSE_ALARM = Term(lambda p, g: (g - p) ** 2 * (1 - g), lambda p, g: 2 * (p - g) * (1 - g))


def sensitivity_specificity_loss(
    logits: Logits,
    target: Labels,
    *,
    r: float = 0.05,
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
    r"""Mean squared error inside the object and outside it, mixed by the sensitivity ratio.

    $$L_c = r\,\frac{\sum_i (g_{ic} - p_{ic})^2 g_{ic}}{\sum_i g_{ic} + s}
    + (1 - r)\,\frac{\sum_i (g_{ic} - p_{ic})^2 (1 - g_{ic})}{\sum_i (1 - g_{ic}) + s}$$

    Sums over the voxels $i$ of an image. A term without voxels is 0. The paper has one class and one volume; the
    extension to several classes takes each against the rest.

    Args:
        r: Share $r$ of the error on voxels of the class, from 0 to 1.
        smooth: The constant $s$; the paper has none.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `r` is not from 0 to 1, `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [brosch2015sensitivity]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 0, 0]])
        >>> sensitivity_specificity_loss(logits, target, r=0.05)
        tensor(0.0917)
    """
    not_negative(r=r, smooth=smooth)
    if r > 1:
        raise ValueError(f"r must be at most 1, got {r}")
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=(MISSED, FALSE_ALARM))
    on, off = e.terms
    sensitivity = ratio(on, e.g + smooth, empty=0.0)
    specificity = ratio(off, e.n - e.g + smooth, empty=0.0)
    return over_classes(r * sensitivity + (1 - r) * specificity, e)
