"""Cosine of prediction and truth under a t-vMF similarity."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

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
    can_look_at,
    class_range,
    evidence,
    over_classes,
    power,
    ratio,
    sum_dtype,
)

P_SQUARED = Term(lambda p, g: p**2, lambda p, g: 2 * p)
G_SQUARED = Term(lambda p, g: 0 * p + g**2, lambda p, g: 0 * p)

Kappa = float | Sequence[float] | Float[Tensor, " C"]


def tvmf_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    kappa: Kappa = 32.0,
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
    r"""The squared distance from 1 of a t-vMF similarity, which the cosine of prediction and truth is sharpened to.

    $$L_c = (1 - \phi_c)^2, \qquad \phi_c = \frac{1 + \cos_c}{1 + \kappa_c (1 - \cos_c)} - 1, \qquad
    \cos_c = \frac{\sum_i p_{ic} g_{ic}}{\sqrt{\sum_i p_{ic}^2} \sqrt{\sum_i g_{ic}^2}}$$

    Sums over the voxels $i$ of an image. The larger $\kappa$, the closer to 1 the cosine must come before the loss
    falls; $\kappa = 0$ leaves $(1 - \cos_c)^2$. A class without ground truth has cosine 0 and no gradient: see
    `absent`.

    Args:
        kappa: Concentration $\kappa$ of at least 0: a number, or one a class, of length C, background included.

    Returns:
        A scalar from 0 to 4, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `kappa` is negative or not one a class, or an input has the wrong shape, type or values.

    References:
        [kato2023tvmf]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> tvmf_dice_loss(logits, target, kappa=2.0)
        tensor(1.5625)
    """
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=(P_SQUARED, G_SQUARED))
    kappa = _of_classes(kappa, logits)[..., class_range(logits, include_background).start :]
    p_squared, g_squared = e.terms
    cos = ratio(e.tp, power(p_squared, 0.5) * power(g_squared, 0.5), empty=0.0)
    phi = (1 + cos) / (1 + kappa * (1 - cos)) - 1
    return over_classes((1 - phi) ** 2, e)


def _of_classes(kappa: Kappa, logits: Logits) -> Float[Tensor, " C"]:
    """The concentration of every class."""
    each = torch.as_tensor(kappa, dtype=sum_dtype(logits.device))
    if each.ndim and each.shape != logits.shape[1:2]:
        raise ValueError(f"kappa must be a number or of length {logits.shape[1]}, got shape {tuple(each.shape)}")
    if can_look_at(each) and not bool((each >= 0).all()):
        raise ValueError(f"kappa must be at least 0, got {kappa}")
    return each.to(logits.device, non_blocking=True).expand(logits.shape[1])
