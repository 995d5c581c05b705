"""Weighted Hausdorff distance between a probability map and a set of points."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Inputs,
    Logits,
    Mask,
    Reduction,
    Spacing,
    Value,
    check_reduction,
    check_spacing,
    class_range,
    class_weight,
    count,
    counted_box,
    least_quotients,
    mean_over_classes,
    positive,
    power_means,
    predicted,
    prepare,
    spatial_sum,
    sum_dtype,
    true_mask,
)


def weighted_hausdorff_loss(
    logits: Logits,
    target: HardLabels,
    *,
    exponent: float = -1.0,
    max_distance: float | None = None,
    smooth: float = 1e-6,
    spacing: Spacing | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Average Hausdorff distance in which each voxel counts as much as it is predicted.

    $$L_c = \frac{1}{S + \epsilon} \sum_{x \in \Omega} p_x \min_{y \in Y} d(x, y)
    + \frac{1}{|Y|} \sum_{y \in Y} \underset{x \in \Omega}{M_\alpha} \left[p_x\, d(x, y) + (1 - p_x)\, D\right], \qquad
    \underset{x \in \Omega}{M_\alpha}[a_x] =
    \Bigl(\frac{1}{|\Omega|} \sum_{x \in \Omega} (a_x + \epsilon)^\alpha\Bigr)^{1 / \alpha}$$

    $Y$ are the voxels of the class, usually one an object: its centre. $S = \sum_x p_x$, $d$ is the Euclidean distance,
    $D$ the largest distance there can be. The first term draws what is predicted to the points; the second asks for a
    prediction near every point. It is a soft minimum: the lower $\alpha$, the sharper. Without points the loss is $D$,
    with no gradient.

    Time grows with the number of points times that of voxels, memory does not. A target that marks too large a part of
    a large image is refused.

    Args:
        exponent: The exponent $\alpha$, negative.
        max_distance: The distance $D$. None stands for the diagonal of the image, or of the box around what counts.
        spacing: Size of a voxel along each axis. None stands for 1.
        smooth: The constant $\epsilon$, positive.

    Returns:
        A scalar of at least 0, in voxels or in the units of `spacing`, or with `reduction="none"` one loss an image and
        class, (B, C).

    Raises:
        ValueError: If `exponent` is not negative, `max_distance` or `smooth` is not positive, `spacing` does not have a
            positive number for each axis, there are too many pairs of point and voxel, or an input has the wrong shape,
            type or values.

    References:
        [ribera2019weighted]

    Examples:
        >>> logits = torch.tensor([[[-20.0, -20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 0, 0, 0]])
        >>> weighted_hausdorff_loss(logits, target)
        tensor(5.8462)
    """
    if not exponent < 0:
        raise ValueError(f"exponent must be negative, for a soft minimum, got {exponent}")
    return _from_minima(
        power_means,
        logits,
        target,
        exponent,
        max_distance,
        spacing,
        smooth,
        activation,
        include_background,
        weight,
        ignore_index,
        mask,
        reduction,
    )


def quotient_hausdorff_loss(
    logits: Logits,
    target: HardLabels,
    *,
    exponent: float = 4.0,
    max_distance: float | None = None,
    smooth: float = 1e-6,
    spacing: Spacing | None = None,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The weighted Hausdorff distance as it was first published, with a hard minimum over quotients.

    $$L_c = \frac{1}{S + \epsilon} \sum_{x \in \Omega} p_x \min_{y \in Y} d(x, y)
    + \frac{1}{|Y|} \sum_{y \in Y} \min_{x \in \Omega} \frac{d(x, y) + \epsilon}{p_x^\alpha + \epsilon / D}$$

    In the letters of `weighted_hausdorff_loss`, which superseded it: of the second term, only the voxel where the least
    quotient is found has a gradient. No quotient is above $D$.

    Args:
        exponent: The exponent $\alpha$, at least 1.
        max_distance: The distance $D$. None stands for the diagonal of the image, or of the box around what counts.
        spacing: Size of a voxel along each axis. None stands for 1.
        smooth: The constant $\epsilon$, positive.

    Returns:
        A scalar of at least 0, in voxels or in the units of `spacing`, or with `reduction="none"` one loss an image and
        class, (B, C).

    Raises:
        ValueError: If `exponent` is less than 1, `max_distance` or `smooth` is not positive, `spacing` does not have a
            positive number for each axis, there are too many pairs of point and voxel, or an input has the wrong shape,
            type or values.

    References:
        [ribera2019weighted]

    Examples:
        >>> logits = torch.tensor([[[-20.0, -20.0, 20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[1, 0, 0, 0, 0]])
        >>> quotient_hausdorff_loss(logits, target)
        tensor(4.0000)
    """
    if not exponent >= 1:
        raise ValueError(f"exponent must be at least 1, got {exponent}")
    return _from_minima(
        least_quotients,
        logits,
        target,
        exponent,
        max_distance,
        spacing,
        smooth,
        activation,
        include_background,
        weight,
        ignore_index,
        mask,
        reduction,
    )


def _from_minima(
    minima: Callable[..., tuple[Tensor, Tensor]],
    logits: Logits,
    target: HardLabels,
    exponent: float,
    max_distance: float | None,
    spacing: Spacing | None,
    smooth: float,
    activation: Activation,
    include_background: bool,
    weight: ClassWeight | None,
    ignore_index: int | None,
    mask: Mask | None,
    reduction: Reduction,
) -> Value:
    """Either loss, from the sum over points of one kind of minimum."""
    positive(smooth=smooth)
    if max_distance is not None:
        positive(max_distance=max_distance)
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    size = check_spacing(spacing, logits.ndim - 2)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]
    D = _reach(x, size, max_distance)

    p = x.spatial(predicted(x.logits, x.valid, x.activation)[:, classes])
    points = x.spatial(true_mask(x)[:, classes])
    valid = None if x.valid is None else x.spatial(x.valid)
    minima_at_points, nearest = minima(p, points, valid, D, size, exponent, smooth)
    S, Y = spatial_sum(p), spatial_sum(points)
    loss = spatial_sum(p * nearest) / (S + smooth) + torch.where(Y > 0, minima_at_points / Y.clamp(min=1), D[:, None])
    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (count(x) > 0), reduction, logits.dtype)


def _reach(x: Inputs, size: tuple[float, ...], given: float | None) -> Float[Tensor, " B"]:
    """The largest distance of each image: what is given, or the diagonal of the box around the voxels that count."""
    like = {"dtype": sum_dtype(x.logits.device), "device": x.logits.device}
    if given is not None:
        return torch.full(x.shape[:1], given, **like)
    return (counted_box(x)[1] * torch.tensor(size, **like)).square().sum(1).sqrt()
