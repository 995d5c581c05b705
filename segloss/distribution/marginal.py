"""Cross-entropy and Dice of partial labels, with the probabilities of what is not annotated merged."""

from dataclasses import replace

import torch
from torch import Tensor

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    Evidence,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    check_reduction,
    class_part,
    count,
    image_part,
    not_negative,
    over_parts,
    over_truths,
    prepare,
    ratio,
    truth_part,
)
from segloss.core.partial import Annotated, Partial, excluded_dice, excluded_log, partial_labels


def marginal_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    annotated: Annotated,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy of partial labels, whose background stands for every class that is not annotated.

    $$L_i = -\log \sum_{c \in \Phi(y_i)} p_{ic}$$

    $\Phi(m) = \{m\}$ for an annotated class $m$ of the image; $\Phi(0)$ is the background and all classes that are not
    annotated. Their probabilities are added up, not their logits.

    Args:
        annotated: Labels annotated in each image, as sets, or as boolean (B, C); one set holds for all images. Other
            labels of the target count as background.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S).

    Raises:
        ValueError: If `annotated` names an unknown class, or none besides the background for an image, or an input has
            the wrong shape, type or values.

    References:
        [shi2021marginal]

    Examples:
        >>> logits = torch.zeros(1, 4, 2)
        >>> target = torch.tensor([[0, 2]])
        >>> marginal_cross_entropy_loss(logits, target, annotated=[{2}], reduction="none")
        tensor([[0.2877, 1.3863]])
    """
    check_reduction(reduction)
    partial = partial_labels(logits, target, annotated, activation, ignore_index, mask)
    x = prepare(partial.scores, partial.labels, activation="softmax", mask=partial.mask)
    return over_truths(CROSS_ENTROPY, x, None, reduction, group, known=partial.merges).to(logits.dtype)


def marginal_dice_loss(
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
    r"""Dice loss of partial labels, whose background stands for every class that is not annotated.

    $$L = 1 - \frac{1}{|A|} \sum_{m \in A} \frac{2 \sum_i q_{im} g_{im} + s}{\sum_i q_{im} + \sum_i g_{im} + s},
    \qquad q_{im} = \sum_{c \in \Phi(m)} p_{ic}$$

    $A$ is the background and the classes annotated in the image, $\Phi(m) = \{m\}$ for those classes; $\Phi(0)$ is the
    background and all classes that are not annotated.

    Args:
        annotated: Labels annotated in each image, as sets, or as boolean (B, C); one set holds for all images. Other
            labels of the target count as background. With `batch` the sums of a class are over the images where it is
            annotated.
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `annotated` names an unknown class, or none besides the background for an image, `smooth` is
            negative, or an input has the wrong shape, type or values.

    References:
        [shi2021marginal]

    Examples:
        >>> logits = torch.zeros(1, 4, 2)
        >>> target = torch.tensor([[0, 2]])
        >>> marginal_dice_loss(logits, target, annotated=[{2}], smooth=0.0)
        tensor(0.5333)
    """
    not_negative(smooth=smooth)
    partial = partial_labels(logits, target, annotated, activation, ignore_index, mask)
    e = partial.evidence(include_background, batch, group, reduction, change=partial.merged)
    return over_parts(_dice(e, partial, smooth), e).to(logits.dtype)


def marginal_exclusion_loss(
    logits: Logits,
    target: HardLabels,
    *,
    annotated: Annotated,
    ce_weight: float = 1.0,
    dice_weight: float = 1.0,
    exclusion_ce_weight: float = 0.0,
    exclusion_dice_weight: float = 2.0,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The marginal losses of partial labels plus the exclusion losses.

    $$L = w_1 L_\mathrm{mCE} + w_2 L_\mathrm{mDice} + w_3 L_\mathrm{eCE} + w_4 L_\mathrm{eDice}$$

    The terms are those of `marginal_cross_entropy_loss`, `marginal_dice_loss`, `exclusion_cross_entropy_loss` with the
    constant 1, and `exclusion_dice_loss`. An image in which all classes are annotated has no exclusion terms.

    Args:
        annotated: Labels annotated in each image, as sets, or as boolean (B, C); one set holds for all images. Other
            labels of the target count as background.
        ce_weight: Weight $w_1$.
        dice_weight: Weight $w_2$.
        exclusion_ce_weight: Weight $w_3$.
        exclusion_dice_weight: Weight $w_4$.
        smooth: The constant $s$ of both Dice terms.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `annotated` names an unknown class, or none besides the background for an image, a weight or
            `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [shi2021marginal]

    Examples:
        >>> logits = torch.zeros(1, 4, 2)
        >>> target = torch.tensor([[0, 2]])
        >>> marginal_exclusion_loss(logits, target, annotated=[{2}], include_background=False, smooth=0.0)
        tensor(2.1703)
    """
    not_negative(
        ce_weight=ce_weight,
        dice_weight=dice_weight,
        exclusion_ce_weight=exclusion_ce_weight,
        exclusion_dice_weight=exclusion_dice_weight,
        smooth=smooth,
    )
    partial = partial_labels(logits, target, annotated, activation, ignore_index, mask)
    some = partial.is_partial

    def merged_and_excluded(sums: Tensor) -> Tensor:
        return torch.cat([partial.merged(sums), partial.excluded(sums) * some.view(-1, 1, 1)], 1)

    log = (excluded_log(1.0),) if exclusion_ce_weight else ()
    how = include_background, batch, group, reduction
    e = partial.evidence(*how, change=merged_and_excluded, terms=log, voxel=CROSS_ENTROPY)
    loss = ce_weight * truth_part(e) + dice_weight * _dice(e, partial, smooth)
    p, tp, g, *logs = e.terms
    apart = replace(e, p=p, tp=tp, g=g, n=e.pooled(count(e.inputs) * some.unsqueeze(1)))
    loss = loss + exclusion_dice_weight * class_part(excluded_dice(apart, smooth).mean(1, keepdim=True), e)
    for it in logs:
        loss = loss + exclusion_ce_weight * image_part(it.sum(1), e)
    return over_parts(loss, e).to(logits.dtype)


def _dice(e: Evidence, partial: Partial, smooth: float) -> Tensor:
    """The mean Dice loss over the annotated classes."""
    loss = 1 - ratio(2 * e.tp + smooth, e.p + e.g + smooth)
    counted = (e.pooled(partial.known.to(loss.dtype)) > 0).to(loss.dtype)[:, -loss.shape[1] :]
    return class_part(ratio((loss * counted).sum(1, keepdim=True), counted.sum(1, keepdim=True), empty=0.0), e)
