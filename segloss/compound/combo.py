"""Combo loss: cross-entropy with a price on false negatives, shared with Dice."""

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    HardLabels,
    Logits,
    Mask,
    OfError,
    ProcessGroup,
    Reduction,
    Value,
    check_logits,
    class_part,
    evidence,
    image_part,
    not_negative,
    of_errors,
    over_parts,
    ratio,
)

REJECTED = of_errors(wrong=(OfError.LOG_OF_REST, 0.0), missed=(OfError.NOTHING, 0.0))
"""The log-probability of a class that is not the true one."""


def combo_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    smooth: float = 1.0,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Binary cross-entropy of every class, weighted, plus one minus its Dice coefficient.

    $$L = -\frac{\alpha}{N C} \sum_{i,c} \big[\beta\, g_{ic} \log p_{ic} + (1 - \beta)(1 - g_{ic}) \log(1 - p_{ic})\big]
    + (1 - \alpha) \sum_c \Big(1 - \frac{2 \sum_i p_{ic} g_{ic} + s}{\sum_i p_{ic} + \sum_i g_{ic} + s}\Big)$$

    Sums over the voxels $i$ of an image and its $C$ classes; the Dice losses of the classes are added up. The paper
    subtracts the coefficients, which has the same gradient. The mean is the sum of both parts' means, that of the first
    over all voxels of the batch that count. Under softmax, $1 - p$ is bounded from below by the rounding error of 1.

    Args:
        alpha: Share $\alpha$ of cross-entropy.
        beta: Price $\beta$ of a false negative, one minus it that of a false positive.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `alpha` or `beta` is not from 0 to 1, `smooth` is negative, or an input has the wrong shape, type
            or values.

    References:
        [taghanaki2019combo]

    Examples:
        >>> logits = torch.tensor([[[0.0, 0.0, 0.0, 0.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> combo_loss(logits, target, alpha=0.5, beta=0.5, smooth=0.0)
        tensor(0.4233)
    """
    for name, value in (("alpha", alpha), ("beta", beta)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, got {value}")
    not_negative(smooth=smooth)
    check_logits(logits)
    classes = logits.shape[1]
    how = activation, True, None, "smooth", ignore_index, mask, batch, group, reduction
    rejects = (REJECTED,) if classes > 1 and activation != "sigmoid" else ()
    e = evidence(logits, target, *how, terms=rejects, voxel=CROSS_ENTROPY)
    if e.inputs.is_joint:
        (rejected,) = e.terms
        total = beta * e.by_truth[:, 0].sum(1) - (1 - beta) * rejected.sum(1)
    else:
        yes, no = e.by_truth.unbind(1)
        total = (beta * yes + (1 - beta) * no).sum(1)
    ce = image_part(total / classes, e)
    dice = class_part(1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth), e, add=True)
    return over_parts(alpha * ce + (1 - alpha) * dice, e)
