"""Contour Dice coefficient of hard predictions."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch

from segloss.core import (
    Labels,
    Logits,
    Mask,
    Reduction,
    Spacing,
    Value,
    check_spacing,
    contour,
    contour_distances,
    hard_masks,
    mean_where_defined,
    not_negative,
    one_of,
)


def contour_dice(
    logits: Logits,
    target: Labels,
    *,
    tolerance: float = 1.0,
    spacing: Spacing | None = None,
    include_background: bool = False,
    absent: Literal["skip", "smooth"] = "skip",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Share of both contours of each class that lies within a tolerance of the other contour.

    $$\mathrm{CDC}_c = \frac{|\{x \in \partial P_c : d(x, \partial G_c) \le \tau\}|
    + |\{x \in \partial G_c : d(x, \partial P_c) \le \tau\}|}{|\partial P_c| + |\partial G_c|}$$

    $\partial P_c$ and $\partial G_c$ are the contours of the predicted and true class $c$: its voxels with a neighbour
    along an axis that is not of the class; what lies outside the image or is ignored is not. $d$ is the Euclidean
    distance. The prediction is the class with the largest logit; with one channel, the foreground where the logit is
    above 0. The mean is over the classes of each image, then over the images. Not differentiable.

    Args:
        tolerance: The distance $\tau$ in voxels, or in the units of `spacing`. The paper's is not known to us.
        spacing: Size of a voxel along each axis. None stands for 1.
        absent: Score of a class without ground truth: `"skip"`, none; `"smooth"`, 0 where it is predicted, else 1.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one score an image and class, (B, C). It is NaN for a class
        that is skipped, which "mean" and "sum" leave out.

    Raises:
        ValueError: If `tolerance` is negative, `spacing` does not have a positive number for each axis, `absent` is
            another word, the target has overlapping labels, or an input has the wrong shape, type or values.

    References:
        [moltz2020contour]

    Examples:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> target[:, 1:5, 1:5] = 1
        >>> logits = 9.0 * target.roll(2, -1)[:, None] - 4.5
        >>> contour_dice(logits, target, tolerance=1.0)
        tensor(0.6667)
    """
    predicted, true = hard_masks(logits, target, ignore_index=ignore_index, mask=mask)
    not_negative(tolerance=tolerance)
    one_of("absent", absent, ("skip", "smooth"))
    size = check_spacing(spacing, logits.ndim - 2)
    if not include_background and logits.shape[1] > 1:
        predicted, true = predicted[:, 1:], true[:, 1:]

    P, G = predicted.flatten(0, 1).cpu().numpy(), true.flatten(0, 1).cpu().numpy()
    scores = [_score(p, g, tolerance, size, absent) for p, g in zip(P, G, strict=True)]
    score = torch.tensor(scores, dtype=torch.float64).view(true.shape[:2]).to(logits.device)
    return mean_where_defined(score, reduction, logits.dtype)


def _score(p: np.ndarray, g: np.ndarray, tolerance: float, size: Sequence[float], absent: str) -> float:
    if not g.any():
        return math.nan if absent == "skip" else float(not p.any())
    p, g = contour(p), contour(g)
    near = (contour_distances(p, g, size) <= tolerance).sum() + (contour_distances(g, p, size) <= tolerance).sum()
    return float(near / (p.sum() + g.sum()))
