"""Boundary F1 score of hard predictions."""

import math
from collections.abc import Sequence

import numpy as np
import torch

from segloss.core import (
    Labels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_spacing,
    contour,
    contour_distances,
    hard_masks,
    mean_where_defined,
    not_negative,
)


def boundary_f1(
    logits: Logits,
    target: Labels,
    *,
    tolerance: float | None = None,
    spacing: Sequence[float] | None = None,
    include_background: bool = False,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""F1 score of the boundary of each class, matched where the other boundary is nearer than a tolerance.

    $$F_c = \frac{2 P_c R_c}{P_c + R_c}, \qquad
    P_c = \frac{1}{|B^p_c|} \sum_{z \in B^p_c} [d(z, B^g_c) < \theta], \qquad
    R_c = \frac{1}{|B^g_c|} \sum_{z \in B^g_c} [d(z, B^p_c) < \theta]$$

    $B^p_c$ and $B^g_c$ are the boundaries of the predicted and true class $c$: its voxels with a neighbour along an
    axis that is not of the class; what lies outside the image or is ignored is not. $d$ is the Euclidean distance. The
    prediction is the class with the largest logit; with one channel, the foreground where the logit is above 0. The
    mean is over the classes present in the ground truth of each image, then over the images. Not differentiable.

    Args:
        tolerance: The distance $\theta$ in voxels, or in the units of `spacing`. None stands for 0.75 % of the diagonal
            of the image; on small images that is less than a voxel.
        spacing: Size of a voxel along each axis. None stands for 1.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one score an image and class, (B, C). It is NaN for a class
        without ground truth, which "mean" and "sum" leave out.

    Raises:
        ValueError: If logits do not have two or three spatial axes, `tolerance` is negative, `spacing` does not have a
            positive number for each axis, the target has overlapping labels, or an input has the wrong shape, type or
            values.

    References:
        [csurka2013measure]

    Examples:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> target[:, 2:6, 2:6] = 1
        >>> logits = 9.0 * target.roll(1, -1)[:, None] - 4.5
        >>> boundary_f1(logits, target, tolerance=1.5)
        tensor(1.)
    """
    predicted, true = hard_masks(logits, target, ignore_index=ignore_index, mask=mask)
    axes = logits.shape[2:]
    if len(axes) == 1:
        raise ValueError(f"logits must have two or three spatial axes, got shape {tuple(logits.shape)}")
    sampling = check_spacing(spacing, len(axes))
    if tolerance is None:
        tolerance = 0.0075 * math.hypot(*(n * size for n, size in zip(axes, sampling, strict=True)))
    not_negative(tolerance=tolerance)
    if not include_background and logits.shape[1] > 1:
        predicted, true = predicted[:, 1:], true[:, 1:]

    p, g = predicted.flatten(0, 1).cpu().numpy(), true.flatten(0, 1).cpu().numpy()
    scores = [_score(one, other, tolerance, sampling) for one, other in zip(p, g, strict=True)]
    score = torch.tensor(scores, dtype=torch.float64).view(true.shape[:2]).to(logits.device)
    return mean_where_defined(score, reduction, logits.dtype)


def _score(predicted: np.ndarray, true: np.ndarray, tolerance: float, sampling: Sequence[float]) -> float:
    if not true.any():
        return math.nan
    b_p, b_g = contour(predicted), contour(true)
    precision, recall = _near(b_p, b_g, tolerance, sampling), _near(b_g, b_p, tolerance, sampling)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _near(of: np.ndarray, to: np.ndarray, tolerance: float, sampling: Sequence[float]) -> float:
    """The share of the boundary `of` that is nearer than the tolerance to the boundary `to`."""
    return float(np.mean(contour_distances(of, to, sampling) < tolerance)) if of.any() else 0.0
