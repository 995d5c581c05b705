"""Cross-entropy and Dice of mixed images, whose labels keep to the rare class."""

from collections.abc import Collection
from dataclasses import replace

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    can_look_at,
    class_part,
    evidence,
    not_negative,
    over_parts,
    true_mask,
    voxel_part,
)
from segloss.core.blocks import kept
from segloss.core.exclusive import exclusive, focal_dice, focal_log, focal_miss, margin_parts, rare_classes
from segloss.core.inputs import PIECE
from segloss.core.labels import by_label
from segloss.core.margin import lowered

OfLabel = Bool[Tensor, "#B C"]


def asymmetric_mixup_loss(
    logits: Logits,
    target: HardLabels,
    *,
    partner: HardLabels,
    share: float | Float[Tensor, " B"],
    mixup_margin: float = 0.2,
    gamma: float = 0.0,
    margin: float = 0.0,
    rare: Collection[int] | None = None,
    asymmetric: bool = True,
    eps: float = 0.0,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The asymmetric sum of cross-entropy and Dice for images mixed of two.

    $$x = \lambda x_1 + (1 - \lambda) x_2, \qquad L = -\frac1N \sum_i \sum_c y_{ic}\,f_{ic} \log (q_{ic} + \epsilon)
    + L_\mathrm{Dice}(q, y)$$

    The logits are those of the mixed image $x$. The label of either image gives way to that of the other where that
    one is of a rare class, if its share, $\lambda$ or $1 - \lambda$, is below $1 - M$. Where both then agree, $y$ is
    their label; elsewhere $y$ is 0 for all classes, and the voxel is left out of Dice. Without asymmetry
    $y = \lambda g_1 + (1 - \lambda) g_2$, plain mixup. $q$, $f$ and $L_\mathrm{Dice}$ are those of
    `asymmetric_ce_dice_loss`.

    Args:
        partner: Labels $g_2$ of the images that are mixed in, like `target`, which holds $g_1$.
        share: The share $\lambda$ of the image of `target`, from 0 to 1; one number, or one an image.
        mixup_margin: The margin $M$ of mixup.
        gamma: Focusing exponent $\gamma$.
        margin: The margin $m$.
        rare: Labels of the rare classes; None stands for all but the background.
        asymmetric: Whether rare classes are treated apart.
        eps: The constant $\epsilon$, 1e-6 in the authors' code.
        smooth: The constant $s$ of Dice.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `share` is not from 0 to 1 or not one an image, a number is negative, `rare` names an unknown
            class, or an input has the wrong shape, type or values.

    References:
        [li2020overfitting]

    Examples:
        >>> logits = torch.zeros(1, 2, 4)
        >>> target, partner = torch.tensor([[0, 1, 0, 1]]), torch.tensor([[0, 0, 1, 1]])
        >>> asymmetric_mixup_loss(logits, target, partner=partner, share=0.4, include_background=False, smooth=0.0)
        tensor(1.0931)
    """
    not_negative(mixup_margin=mixup_margin, gamma=gamma, margin=margin, eps=eps, smooth=smooth)
    first = exclusive(logits, target, activation, ignore_index, mask)
    try:
        second = exclusive(logits, partner, activation, ignore_index, mask)
    except ValueError as error:
        raise ValueError(f"partner: {error}") from None
    is_rare, is_common = rare_classes(rare, asymmetric, first)
    part = _share(share, first.logits)

    valid = first.valid if second.valid is None else second.valid & (first.valid if first.valid is not None else True)
    x = replace(first, logits=kept(first.logits, valid), valid=valid)
    numbers = {"gamma": gamma, "margin": margin, "eps": eps, "smooth": smooth}
    how = {"include_background": include_background, "batch": batch, "group": group, "reduction": reduction}
    if asymmetric:
        by_other, by_one = (is_rare & (its.view(-1, 1) < 1 - mixup_margin) for its in (part, 1 - part))
        label, agree = _mixed(first.labels, second.labels, by_one, by_other)
        ce, dice, e = margin_parts(x, label, kept(agree, valid), is_rare, is_common, **numbers, **how)
        return over_parts(ce + dice, e).to(logits.dtype)

    one, other = (true_mask(replace(v, valid=valid)).to(x.logits.dtype) for v in (first, second))
    truth = torch.lerp(other, one, part.expand_as(one))
    scores = lowered(x.logits, truth, margin * is_rare)
    e = evidence(
        x.spatial(scores),
        x.spatial(truth),
        "softmax",
        mask=None if valid is None else x.spatial(valid),
        terms=(focal_miss(gamma, eps),),
        **how,
    )
    log = focal_log(scores.log_softmax(1), is_common.view(-1, 1), gamma, eps)
    ce = voxel_part((truth * log).sum(1, keepdim=True), e)
    return over_parts(ce + class_part(focal_dice(e, e.terms[-1], is_common, smooth), e), e).to(logits.dtype)


def _mixed(
    one: Integer[Tensor, "B 1 N"], other: Integer[Tensor, "B 1 N"], by_one: OfLabel, by_other: OfLabel
) -> tuple[Integer[Tensor, "B 1 N"], Bool[Tensor, "B 1 N"]]:
    """The label at each voxel of two images, and whether they agree on it once either has given way to the other.

    The label of one gives way where that of the other is among `by_other`, and the other way round; where both do, or
    neither does, they agree only if they did before.
    """
    label, agree = torch.empty_like(one), torch.empty_like(one, dtype=torch.bool)
    piece = PIECE if can_look_at(one) else one.shape[2]
    for a, b, out, same in zip(*(it.split(piece, 2) for it in (one, other, label, agree)), strict=True):
        gives_way = by_label(by_other, b)
        torch.logical_xor(gives_way, by_label(by_one, a), out=same)
        same.logical_or_(a == b)
        torch.bitwise_xor(kept(a ^ b, gives_way), a, out=out)  # as torch.where, in a third of the time
    return label, agree


def _share(share: float | Float[Tensor, " B"], logits: Tensor) -> Float[Tensor, "#B 1 1"]:
    given = torch.as_tensor(share, dtype=logits.dtype)
    if given.shape not in ((), logits.shape[:1]):
        raise ValueError(f"share must be a number or {tuple(logits.shape[:1])}, got shape {tuple(given.shape)}")
    if can_look_at(given) and not bool(((given >= 0) & (given <= 1)).all()):
        raise ValueError(f"share must be from 0 to 1, got {share}")
    return given.to(logits.device, non_blocking=True).view(-1, 1, 1)
