"""Losses of where a class is known not to be."""

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    check_reduction,
    class_range,
    not_negative,
    over_classes,
    over_total,
    over_voxels,
    positive,
    prepare,
    soft_masks,
)
from segloss.core.partial import Annotated, excluded_dice, excluded_log, partial_labels


def exclusion_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    annotated: Annotated,
    smooth: float = 1.0,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The logarithm of the probability of every class where it is known not to be.

    $$L_i = \sum_c e_{ic} \log (p_{ic} + s)$$

    $e_{ic}$ is 1 where class $c$ is excluded at voxel $i$: everywhere but in its own region if it is annotated in the
    image, within the regions of all annotated classes if it is not, or is the background. Probabilities are those of
    single classes, not merged.

    Args:
        annotated: Labels annotated in each image, as sets, or as boolean (B, C); one set holds for all images. Other
            labels of the target count as background.
        smooth: The constant $s$; from 1 on the loss is not negative.

    Returns:
        A scalar of at least 0 for $s = 1$, or with `reduction="none"` one loss a voxel, (B, \*S).

    Raises:
        ValueError: If `annotated` names an unknown class, or none besides the background for an image, `smooth` is not
            positive, or an input has the wrong shape, type or values.

    References:
        [shi2021marginal]

    Examples:
        >>> logits = torch.zeros(1, 4, 2)
        >>> target = torch.tensor([[0, 2]])
        >>> exclusion_cross_entropy_loss(logits, target, annotated=[{2}], reduction="none")
        tensor([[0.2231, 0.6694]])
    """
    positive(smooth=smooth)
    check_reduction(reduction)
    partial = partial_labels(logits, target, annotated, activation, ignore_index, mask)
    log = excluded_log(smooth)
    if reduction == "none":
        x = prepare(partial.scores, partial.excluded_masks(), activation="softmax", mask=partial.mask)
        first = class_range(logits, include_background).start
        p, excluded = soft_masks(x)
        loss = over_voxels(log.value(p, 1 - excluded)[:, first:].sum(1, keepdim=True), x, reduction)
    else:
        e = partial.evidence(include_background, change=partial.excluded, terms=(log,))
        loss = over_total(e.terms[0].sum(), 1, e.inputs, reduction, group)
    return loss.to(logits.dtype)


def exclusion_dice_loss(
    logits: Logits,
    target: HardLabels,
    *,
    annotated: Annotated,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The Dice coefficient of every class with where it is known not to be.

    $$L_c = \frac{2 \sum_i p_{ic} e_{ic} + s}{\sum_i p_{ic} + \sum_i e_{ic} + s}$$

    $e_{ic}$ is 1 where class $c$ is excluded at voxel $i$: everywhere but in its own region if it is annotated in the
    image, within the regions of all annotated classes if it is not, or is the background. Probabilities are those of
    single classes, not merged. The sums are over the voxels of an image.

    Args:
        annotated: Labels annotated in each image, as sets, or as boolean (B, C); one set holds for all images. Other
            labels of the target count as background.
        smooth: The constant $s$. A class that is excluded nowhere and predicted nowhere costs 1, unless $s$ is 0.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `annotated` names an unknown class, or none besides the background for an image, `smooth` is
            negative, or an input has the wrong shape, type or values.

    References:
        [shi2021marginal]

    Examples:
        >>> logits = torch.zeros(1, 4, 2)
        >>> target = torch.tensor([[0, 2]])
        >>> exclusion_dice_loss(logits, target, annotated=[{2}], smooth=0.0, reduction="none")
        tensor([[0.3333, 0.3333, 0.3333, 0.3333]])
    """
    not_negative(smooth=smooth)
    partial = partial_labels(logits, target, annotated, activation, ignore_index, mask)
    e = partial.evidence(include_background, batch, group, reduction, change=partial.excluded)
    return over_classes(excluded_dice(e, smooth), e).to(logits.dtype)
