"""Betti matching: the features of prediction and truth, matched by where they are."""

from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    class_range,
    count,
    mean_over_classes,
    one_of,
    prepare,
    soft_masks,
    sum_dtype,
)
from segloss.core.induced_matching import Cubes, matched_intervals

Filtration = Literal["superlevel", "sublevel", "bothlevel"]
Comparison = Literal["union", "intersection"]
Map = Float[Tensor, "B C *S"]


def betti_matching_loss(
    logits: Logits,
    target: HardLabels,
    *,
    filtration: Filtration = "superlevel",
    construction: Cubes = "V",
    comparison: Comparison = "union",
    relative: bool = False,
    essential: bool = True,
    unmatched_target: bool = True,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared distance between the persistence intervals of prediction and truth, matched by where they are.

    $$L = \sum_{(I, J)} 2 \big((b_I - b_J)^2 + (e_I - e_J)^2\big) + \sum_{I} (b_I - e_I)^2 + \sum_{J} (b_J - e_J)^2$$

    As the level falls, components and holes of the superlevel sets of $p_c$ come at a birth $b$ and go at a death $e$;
    so do those of $g_c$. Interval $I$ of the prediction and $J$ of the truth are matched, first sum, if both go on as
    the same interval of $\max(p_c, g_c)$, by induced matchings; the other sums are over those left alone. Each birth
    and death is the value of a voxel, which gets the gradient. Each class is taken against all others, each image and
    class for itself, on the CPU.

    Args:
        filtration: `"superlevel"`; `"sublevel"`, whose components are those of the background; or the sum of both.
        construction: `"V"`: components of superlevel sets are connected through faces, holes through all neighbours.
            `"T"`: the other way round, in 2D only.
        comparison: `"union"` compares through $\max(p_c, g_c)$, `"intersection"` through $\min(p_c, g_c)$; for sublevel
            sets it is the other way round.
        relative: Whether the image is framed by voxels that come first, so that what meets the border is joined.
        essential: Whether the component that never dies counts, with a death at 0, or 1 for sublevel sets.
        unmatched_target: Whether the last sum counts, which has no gradient.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If a word is unknown, `construction="T"` meets another number of axes than two, or an input has the
            wrong shape, type or values.

    References:
        [stucki2023betti]

    Examples:
        >>> p = torch.tensor([[[0.9, 0.3, 0.8, 0.1, 0.6]]])
        >>> target = torch.tensor([[1, 1, 1, 0, 0]])
        >>> betti_matching_loss(p, target, activation="none")  # 2 (0.9 - 1)² + (0.8 - 0.3)² + (0.6 - 0.1)²
        tensor(0.5200)
    """
    one_of("filtration", filtration, ("superlevel", "sublevel", "bothlevel"))
    one_of("construction", construction, ("V", "T"))
    one_of("comparison", comparison, ("union", "intersection"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if construction == "T" and logits.ndim != 4:
        raise ValueError(f'construction="T" is for two spatial axes, got logits of shape {tuple(logits.shape)}')
    classes = slice(class_range(logits, include_background).start, None)
    p, g = (x.spatial(y[:, classes]) for y in soft_masks(x))
    valid = None if x.valid is None else x.spatial(x.valid)

    loss = torch.zeros(p.shape[:2], dtype=sum_dtype(p.device), device=p.device)
    union = comparison == "union"
    for level in ("superlevel", "sublevel") if filtration == "bothlevel" else (filtration,):
        last = 0.0 if level == "superlevel" else 1.0
        shown_p, shown_g = (_outside_left_out(y, valid, last, relative) for y in (p, g))
        loss = loss + _distance(shown_p, shown_g, last, construction, union, essential, unmatched_target)
    return mean_over_classes(loss, (count(x) > 0).expand_as(loss).to(loss.dtype), reduction, logits.dtype)


def _outside_left_out(y: Map, valid: Tensor | None, last: float, relative: bool) -> Map:
    """The map with all that is ignored at the level which comes last, or with a frame first, as the frame is."""
    if valid is not None:
        y = y.masked_fill(~valid, last)
    if not relative:
        return y
    axes = tuple(range(2, y.ndim))
    first = y.amax(axes, keepdim=True) if last == 0 else y.amin(axes, keepdim=True)
    inside = torch.ones_like(y[:, :1], dtype=torch.bool) if valid is None else valid
    frame = (1, 1) * len(axes)
    return torch.where(F.pad(inside, frame), F.pad(y, frame), first)


def _distance(
    p: Map, g: Map, last: float, construction: Cubes, union: bool, essential: bool, unmatched_target: bool
) -> Float[Tensor, "B C"]:
    """The loss of every image and class."""
    of_p, of_g = (y.flatten(0, 1).to(sum_dtype(y.device)) for y in (p, g))
    sign = -1 if last == 0 else 1
    found = matched_intervals(sign * of_p, sign * of_g, construction, union=union)

    first_p, first_g = (y.flatten(1).amax(1) if last == 0 else y.flatten(1).amin(1) for y in (of_p, of_g))
    total = 2 * (first_p - first_g) ** 2 if essential else of_p.new_zeros(len(of_p))
    of_p, of_g = of_p.flatten(), of_g.flatten()
    image, b_i, e_i, b_j, e_j = found.both
    total = total.index_add(0, image, 2 * ((of_p[b_i] - of_g[b_j]) ** 2 + (of_p[e_i] - of_g[e_j]) ** 2))
    image, b_i, e_i = found.first
    total = total.index_add(0, image, (of_p[b_i] - of_p[e_i]) ** 2)
    if unmatched_target:
        image, b_j, e_j = found.second
        total = total.index_add(0, image, (of_g[b_j] - of_g[e_j]) ** 2)
    return total.view(p.shape[:2])
