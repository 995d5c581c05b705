"""Cross-entropy with a penalty on the share of the image that each class takes."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from segloss.core import (
    CROSS_ENTROPY,
    Activation,
    HardLabels,
    Inputs,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_part,
    evidence,
    image_part,
    not_negative,
    one_of,
    over_parts,
    positive,
    prepare,
    sums_by_scale,
    truth_part,
    voxel_sums,
)
from segloss.core.inputs import compute_dtype


def label_marginal_loss(
    logits: Logits,
    target: HardLabels,
    *,
    divergence: Literal["kl", "l1"] = "kl",
    temperature: float = 1.0,
    ce_weight: float = 1.0,
    marginal_weight: float = 1.0,
    smooth: float = 1e-10,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy plus the distance between the true and the predicted share of every class.

    $$L = w_1\,\mathrm{CE} + w_2\,D(\pi, \hat\pi), \qquad
    \pi_c = \frac{\sum_i g_{ic} + s}{N + s}, \qquad
    \hat\pi_c = \frac{\sum_i \mathrm{softmax}(T z_i)_c + s}{N + s}$$

    Sums over the $N$ voxels $i$ of an image; cross-entropy is the mean over voxels, at temperature 1. The distances are

    $$D_\mathrm{KL} = \sum_c \pi_c \log \frac{\pi_c}{\hat\pi_c}, \qquad
    D_1 = \frac1C \sum_c |\pi_c - \hat\pi_c|$$

    Under sigmoid each channel has its own distance, and the mean over channels is taken: $D_\mathrm{KL}$ over its yes
    and no, $D_1$ of its yes alone.

    Args:
        divergence: `"kl"` or `"l1"`.
        temperature: The factor $T$ on the logits in the predicted shares. A large one counts decisions instead of
            probabilities, and then sure voxels have no gradient from the distance.
        ce_weight: Weight $w_1$ of cross-entropy; 0 leaves the distance alone.
        marginal_weight: Weight $w_2$ of the distance.
        smooth: The constant $s$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,).

    Raises:
        ValueError: If `divergence` is unknown, `temperature` or `smooth` is not positive, a weight is negative, or an
            input has the wrong shape, type or values.

    References:
        [liu2021hidden]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 0, 0]])
        >>> label_marginal_loss(logits, target, divergence="l1", ce_weight=0.0)
        tensor(0.2500)
    """
    one_of("divergence", divergence, ("kl", "l1"))
    positive(temperature=temperature, smooth=smooth)
    not_negative(ce_weight=ce_weight, marginal_weight=marginal_weight)
    common = {"ignore_index": ignore_index, "mask": mask, "group": group, "reduction": reduction}
    x, find, voxel = None, None, None
    if temperature == 1:
        voxel = CROSS_ENTROPY
    elif activation != "none":
        find = partial(sums_by_scale, scale=temperature, voxel=CROSS_ENTROPY)
    else:
        x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
        logits, activation = _scores(x)
    e = evidence(logits, target, activation, **common, scale=temperature, voxel=voxel, find=find, soft=False)
    ce = truth_part(e) if x is None else image_part(voxel_sums(x, CROSS_ENTROPY).sum((1, 2)) / x.outputs, e)
    x = e.inputs if x is None else x
    if divergence == "l1":
        apart = class_part(((e.g - e.p) / (e.n + smooth)).abs(), e)
    elif not e.inputs.is_joint:
        no = _divergence(e.n - e.g, (e.n - e.p).clamp(min=0), e.n, smooth)
        apart = class_part(_divergence(e.g, e.p, e.n, smooth) + no, e)
    else:
        apart = class_part(_divergence(e.g, e.p, e.n, smooth), e, add=True)
    return over_parts(ce_weight * ce + marginal_weight * apart, e).to(x.logits.dtype)


def _scores(x: Inputs) -> tuple[Tensor, Literal["softmax", "sigmoid"]]:
    """The logits of what are probabilities, (B, C, *S), and their activation."""
    z = x.logits.to(compute_dtype(x.logits.dtype))
    if x.valid is not None:
        z = z.masked_fill(~x.valid, 0.5)
    tiny = torch.finfo(z.dtype).tiny
    score = z.clamp(min=tiny).log()
    if not x.dense and z.shape[1] > 1:
        return x.spatial(score), "softmax"
    return x.spatial(score - (1 - z).clamp(min=tiny).log()), "sigmoid"


def _divergence(true: Tensor, predicted: Tensor, n: Tensor, smooth: float) -> Tensor:
    """What each class adds to the Kullback-Leibler divergence."""
    true, predicted = true + smooth, predicted + smooth
    return true / (n + smooth) * (true / predicted).log()
