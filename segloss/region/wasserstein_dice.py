"""Generalised Wasserstein Dice: overlap under a distance between labels."""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    can_look_at,
    check_logits,
    evidence,
    not_negative,
    one_of,
    over_images,
    ratio,
    sum_dtype,
)

LabelDistance = Float[Tensor, "C C"] | Sequence[Sequence[float]]


def generalised_wasserstein_dice_loss(
    logits: Logits,
    target: Labels,
    *,
    label_distance: LabelDistance | None = None,
    weighting: Literal["default", "generalised"] = "default",
    smooth: float = 0.0,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus a Dice score in which a mistake costs the distance between the labels it confuses.

    $$L = 1 - \frac{2\,\mathrm{TP} + s}{2\,\mathrm{TP} + \sum_i W_i + s}, \qquad
    W_i = \sum_c M_{g_i c}\,p_{ic}, \qquad \mathrm{TP} = \sum_{i:\,g_i \neq 0} (M_{g_i 0} - W_i)$$

    $g_i$ is the label of voxel $i$, 0 the background, $M$ the distance between labels divided by its maximum. Since the
    truth is a single label, $W_i$ is the Wasserstein distance in closed form. An image without foreground has loss 1
    and no gradient under the default weighting.

    With `weighting="generalised"` (Tilborghs et al., 2020) every class, background included, weighs
    $\alpha_c = 1 / (1 + \sum_i [g_i = c])$, without gradient:

    $$L = 1 - \frac{2 \sum_i \alpha_{g_i} (1 - W_i) + s}{\sum_i \alpha_{g_i} (2 - W_i) + s}$$

    Args:
        label_distance: The matrix $M$, (C, C), as a tensor or as rows; not negative, with a zero diagonal. None stands
            for distance 1 between any two labels.
        weighting: `"default"` or `"generalised"`.
        smooth: The constant $s$; the paper has none.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `label_distance` is not (C, C), negative or has a diagonal that is not zero; if there is one
            channel, `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [fidon2017wasserstein]

    Examples:
        >>> logits = torch.tensor([[[-20.0, -20.0], [20.0, -20.0], [-20.0, 20.0]]])
        >>> target = torch.tensor([[1, 1]])
        >>> tree = [[0.0, 1.0, 1.0], [1.0, 0.0, 0.4], [1.0, 0.4, 0.0]]
        >>> generalised_wasserstein_dice_loss(logits, target, label_distance=tree)
        tensor(0.1111)
    """
    not_negative(smooth=smooth)
    one_of("weighting", weighting, ("default", "generalised"))
    M = _normalised(label_distance, logits)
    e = evidence(logits, target, activation, True, None, "smooth", ignore_index, mask, batch, group, reduction, cost=M)
    (W,) = e.terms
    if weighting == "default":
        hits = (M[:, 0] * e.g - W)[:, 1:].sum(1)
        score = ratio(2 * hits + smooth, 2 * hits + W.sum(1) + smooth)
    else:
        alpha = 1 / (1 + e.g)
        score = ratio(2 * (alpha * (e.g - W)).sum(1) + smooth, (alpha * (2 * e.g - W)).sum(1) + smooth)
    return over_images(1 - score, e)


def _normalised(distance: LabelDistance | None, logits: Logits) -> Float[Tensor, "C C"]:
    """The distance between labels divided by its maximum."""
    check_logits(logits)
    classes = logits.shape[1]
    if classes == 1:
        raise ValueError("logits must have a channel for every label, background included; got one channel")
    like = {"dtype": sum_dtype(logits.device), "device": logits.device}
    M = 1 - torch.eye(classes, **like) if distance is None else torch.as_tensor(distance, **like)
    if M.shape != (classes, classes):
        raise ValueError(f"label_distance must be ({classes}, {classes}), got {tuple(M.shape)}")
    if can_look_at(M) and bool((M < 0).any() | M.diagonal().any()):
        raise ValueError("label_distance must not be negative, and its diagonal must be zero")
    return M / M.amax()
