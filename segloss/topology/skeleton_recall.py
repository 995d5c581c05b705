"""Recall of the thickened centre lines of the truth, and these centre lines."""

import torch
from jaxtyping import Integer
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Inputs,
    LabelMap,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    can_look_at,
    check_reduction,
    erosion,
    evidence,
    hard_skeleton,
    label_maps,
    not_negative,
    over_classes,
    prepare,
    ratio,
)

Tubes = Integer[Tensor, "B *S"]


def skeleton_recall_loss(
    logits: Logits,
    target: HardLabels,
    *,
    skeleton: LabelMap | None = None,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the share of the true centre lines, thickened to tubes, that the prediction covers.

    $$L_c = 1 - \frac{\sum_i k_{ic}\, p_{ic} + s}{\sum_i k_{ic} + s}$$

    Sums over the voxels $i$ of an image; $k_{ic}$ is 1 where voxel $i$ of the foreground class $c$ is part of a tube of
    two voxels around the centre line of all foreground, see `tubed_skeleton`. The background takes no part. It asks
    for recall alone: a prediction of foreground everywhere has loss 0, so that it is added to a loss of overlap.

    Args:
        skeleton: Labels of the tubes, 0 elsewhere, integer (B, \*S) or (B, 1, \*S): what `tubed_skeleton` makes of
            the target. None computes it, with the same result, on the CPU.
        smooth: The constant $s$; the paper has none. Where a class has no centre line, the loss is 0, and 1 if $s$ is
            0; it has no gradient there.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and foreground class, (B, C - 1); (1, C - 1)
        with `batch`. One channel is one foreground class.

    Raises:
        ValueError: If logits do not have two or three spatial axes, the classes may overlap, `smooth` is negative, or
            an input has the wrong shape, type or values.
        ImportError: If `skeleton` is to be computed and scikit-image is not installed.

    References:
        [kirchhoff2024skeleton]

    Examples:
        >>> target = torch.zeros(1, 7, 9, dtype=torch.long)
        >>> target[:, 2:5, 1:8] = 1
        >>> logits = torch.zeros(1, 1, 7, 9)
        >>> skeleton_recall_loss(logits, target, skeleton=tubed_skeleton(target))
        tensor(0.5000)
    """
    not_negative(smooth=smooth)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if logits.ndim == 3:
        raise ValueError(f"logits must have two or three spatial axes, got shape {tuple(logits.shape)}")
    if logits.shape[1] > 1 and (x.dense or x.activation == "sigmoid"):
        raise ValueError(
            f"target must be class indices, of classes that exclude each other, got {target.dtype} "
            f"{tuple(target.shape)} with activation {x.activation!r}"
        )
    k = _of_target(x) if skeleton is None else _given(skeleton, x)
    valid = None if x.valid is None else x.spatial(x.valid)
    foreground = logits.shape[1] == 1
    e = evidence(logits, k, activation, foreground, None, "smooth", None, valid, batch, group, reduction)
    return over_classes(1 - ratio(e.tp + smooth, e.g + smooth, empty=0.0), e)


def tubed_skeleton(target: LabelMap, *, radius: int = 2, ignore_index: int | None = None) -> Tubes:
    r"""The centre line of the foreground, thickened to a tube, with the label of each of its voxels.

    $$k = t \odot \delta^r(\mathrm{skeletonize}(t > 0))$$

    $\delta$ dilates by a voxel along each axis; the product with the labels $t$ keeps the tube within the foreground.
    The centre line is that of all foreground classes together, thinned by scikit-image (Zhang and Suen 1984 in 2D, Lee
    et al. 1994 in 3D): a class inside of another may own no part of it. It depends on the labels alone and is computed
    once an image, on the CPU.

    Args:
        target: Class indices, integer (B, \*S) or (B, 1, \*S), with two or three spatial axes; 0 is the background.
        radius: Number $r$ of dilations; 0 for the centre line itself.
        ignore_index: Label that counts as background here.

    Returns:
        Labels of the tubes, 0 elsewhere, (B, \*S), on the device of `target`.

    Raises:
        ValueError: If `radius` is negative, or `target` has the wrong shape, type or values.
        ImportError: If scikit-image is not installed.

    References:
        [kirchhoff2024skeleton]

    Examples:
        >>> target = torch.zeros(1, 7, 9, dtype=torch.long)
        >>> target[:, 2:5, 1:8] = 2
        >>> tubed_skeleton(target, radius=0)[0, 3]
        tensor([0, 2, 2, 2, 2, 2, 0, 0, 0])
    """
    not_negative(radius=radius)
    if ignore_index is not None and isinstance(target, Tensor):
        target = target.masked_fill(target == ignore_index, 0)
    labels = label_maps("target", target)
    if labels.ndim == 2:
        raise ValueError(f"target must have two or three spatial axes, got shape {tuple(target.shape)}")
    return _tubes(torch.as_tensor(labels, device=target.device).unsqueeze(1), radius).squeeze(1)


def _tubes(labels: Integer[Tensor, "B 1 *S"], radius: int) -> Integer[Tensor, "B 1 *S"]:
    outside = 1 - hard_skeleton(labels > 0).to(labels.dtype)
    for _ in range(radius):
        outside = erosion(outside)
    return labels * (1 - outside)


def _of_target(x: Inputs) -> Integer[Tensor, "B 1 *S"]:
    """The tubes of the true labels, those that are ignored counted as background."""
    labels = x.labels if x.valid is None else x.labels.masked_fill(~x.valid, 0)
    return _tubes(x.spatial(labels.long()), radius=2)


def _given(skeleton: LabelMap, x: Inputs) -> Tensor:
    if not isinstance(skeleton, Tensor):
        raise TypeError(f"skeleton must be a tensor, got {type(skeleton).__name__}")
    b, _, *s = x.shape
    if skeleton.is_floating_point() or skeleton.is_complex():
        raise ValueError(f"skeleton must hold labels, integers, got {skeleton.dtype}")
    if tuple(skeleton.shape) not in ((b, *s), (b, 1, *s)):
        raise ValueError(f"skeleton must have shape {(b, *s)} or {(b, 1, *s)}, got {tuple(skeleton.shape)}")
    if skeleton.device != x.logits.device:
        raise ValueError(f"skeleton is on {skeleton.device}, but logits are on {x.logits.device}")
    top = max(x.logits.shape[1] - 1, 1)
    if can_look_at(skeleton) and not 0 <= skeleton.min() <= skeleton.max() <= top:
        raise ValueError(f"skeleton must hold labels from 0 to {top}, got {skeleton.min()} to {skeleton.max()}")
    return skeleton.reshape(b, 1, *s)
