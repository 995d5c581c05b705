"""Topograph: the regions where prediction and truth differ, and which of them change the topology."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
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
    power,
    prepare,
    soft_masks,
    sum_dtype,
    true_mask,
)
from segloss.core.components import connected_components
from segloss.core.cubical import Index, corners

Aggregation = Literal["mean", "sum", "rms", "max", "min", "ce"]
Code = Int[np.ndarray, "H W"]
Area = Bool[np.ndarray, "H W"]
Edges = Int[np.ndarray, "2 N"]

OUTSIDE, BACKGROUND, FALSE_POSITIVE, FALSE_NEGATIVE, TRUE_POSITIVE = range(-1, 4)


def topograph_loss(
    logits: Logits,
    target: HardLabels,
    *,
    aggregation: Aggregation = "mean",
    eight_connectivity: bool = True,
    sphere: bool = False,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Probability of the predicted class in every region whose correction would change the topology.

    $$L_c = \sum_{R \in \mathrm{Crit}_c} \operatorname*{mean}_{i \in R}\, p_{i, \hat y_i}$$

    $\hat y_i$ is the most probable class. Prediction and truth of class $c$ divide the image into connected regions of
    true and false positives and negatives. A region of false ones is critical unless it borders on one region of true
    negatives, and, of the other label map's foreground, on one connected part: filling or clearing it is then a mere
    change of thickness. Regions are constant, the gradient goes through $p$ alone, and lowers it. Where no region
    is critical the loss is 0. It is computed on the CPU.

    Args:
        aggregation: What becomes of the probabilities in a region: their `"mean"`, `"sum"`, root mean square `"rms"`,
            `"max"` or `"min"`; or `"ce"`, cross-entropy with the probabilities as logits, as in the authors' code.
        eight_connectivity: Whether the foreground is connected through corners and the background through sides, or
            the other way round.
        sphere: Whether a frame of background is laid around the image. Else a region that meets only the border and
            foreground is critical.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `aggregation` is unknown, or an input has the wrong shape, type or values, or another number of
            spatial axes than two.

    References:
        [lux2024topograph]

    Examples:
        >>> logits = torch.tensor([[[[2.0, 2.0, -1.0, 2.0, 2.0], [-2.0, -2.0, -2.0, -2.0, -2.0]]]])
        >>> target = torch.tensor([[[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]]])
        >>> topograph_loss(logits, target)  # the gap divides the line: 1 - sigmoid(-1)
        tensor(0.7311)
    """
    one_of("aggregation", aggregation, ("mean", "sum", "rms", "max", "min", "ce"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if logits.ndim != 4:
        raise ValueError(f"logits must be (B, C, H, W), since the loss is for two spatial axes, got {logits.ndim - 2}")
    classes = class_range(logits, include_background)
    p, g = soft_masks(x)[0], true_mask(x)
    exclusive = not x.dense and logits.shape[1] > 1
    if exclusive:
        best = p.argmax(1, keepdim=True)
        predicted = best == torch.arange(logits.shape[1], device=p.device).view(1, -1, 1)
        at_best = p.gather(1, best).expand_as(p)
    else:
        predicted = p > 0.5
        at_best = torch.where(predicted, p, 1 - p)

    code = predicted + 2 * g.long()
    code = code if x.valid is None else code.masked_fill(~x.valid, OUTSIDE)
    code = x.spatial(code)[:, classes.start :].flatten(0, 1)
    frames = [TRUE_POSITIVE if exclusive and c == 0 else BACKGROUND for c in classes] * len(logits) if sphere else []
    value = (_cross_entropy(p, g, exclusive) if aggregation == "ce" else at_best)[:, classes.start :]
    voxel, region, number = _critical_regions(code, frames, eight_connectivity)
    each = _aggregated(value.flatten()[voxel].to(sum_dtype(value.device)), region, number, aggregation)
    loss = each.new_zeros(len(code)).index_add(0, number, each).view(value.shape[:2])
    return mean_over_classes(loss, (count(x) > 0).expand_as(loss).to(loss.dtype), reduction, logits.dtype)


def _cross_entropy(p: Float[Tensor, "B C N"], g: Bool[Tensor, "B C N"], exclusive: bool) -> Float[Tensor, "B C N"]:
    """Cross-entropy of every voxel, with the probabilities as logits; of a channel alone with those of yes and no."""
    if exclusive:
        return (p.logsumexp(1, keepdim=True) - (p * g).sum(1, keepdim=True)).expand_as(p)
    return torch.logaddexp(p, 1 - p) - torch.where(g, p, 1 - p)


def _aggregated(
    value: Float[Tensor, " N"], region: Int[Tensor, " N"], number: Int[Tensor, " R"], aggregation: Aggregation
) -> Float[Tensor, " R"]:
    """What becomes of the values in each region."""
    nothing = torch.zeros_like(number, dtype=value.dtype)
    if aggregation in ("max", "min"):
        return nothing.scatter_reduce(0, region, value, f"a{aggregation}", include_self=False)
    total = nothing.index_add(0, region, value**2 if aggregation == "rms" else value)
    if aggregation == "sum":
        return total
    mean = total / nothing.index_add(0, region, torch.ones_like(value))
    return power(mean, 0.5) if aggregation == "rms" else mean


@torch.library.custom_op("segloss::critical_regions", mutates_args=())
def _critical_regions(code: Tensor, frames: Sequence[int], eight_connectivity: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Voxels in critical regions of all maps together, the region of each, and the map of each region.

    One operator to a compiler, which cannot look into it.
    """
    voxels, regions, numbers = ([np.empty(0, np.int64)] for _ in range(3))
    before = 0
    for number, (one, frame) in enumerate(zip(code.cpu().numpy(), frames or [None] * len(code), strict=True)):
        region = _critical(one, frame, eight_connectivity).ravel().astype(np.int64)
        there = np.flatnonzero(region)
        voxels.append(there + number * region.size)
        regions.append(region[there] - 1 + before)
        numbers.append(np.full(region.max(), number))
        before += region.max()
    found = (torch.from_numpy(np.concatenate(row)).to(code.device) for row in (voxels, regions, numbers))
    voxel, region, number = found
    return voxel, region, number


@_critical_regions.register_fake
def _(code: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    voxels, regions = (torch.library.get_ctx().new_dynamic_size() for _ in range(2))
    return code.new_empty(voxels), code.new_empty(voxels), code.new_empty(regions)


def _critical(code: Code, frame: int | None, eight_connectivity: bool) -> Code:
    """The critical regions of a map, numbered from 1; 0 is elsewhere."""
    if frame is not None:
        code = np.pad(np.where(code == OUTSIDE, frame, code), 1, constant_values=frame)
    label, number = connected_components(code + 1)
    kind = np.full(number + 1, OUTSIDE)
    kind[label] = code
    edges, special = _adjacent(label, code, eight_connectivity)
    joined = np.concatenate([edges, special], 1)

    alike = (kind[edges] == kind[edges][0]).all(0) & (kind[edges[0]] != BACKGROUND)
    region = _parts(edges[:, alike], number)
    nodes = region.max() + 1
    edges, joined = _distinct(region[edges], nodes), _distinct(region[joined], nodes)
    of_region = np.full(nodes, OUTSIDE)
    of_region[region] = kind
    one, other = np.concatenate([edges, edges[::-1]], 1)

    critical = np.zeros(nodes, bool)
    for error, opposite in ((FALSE_POSITIVE, FALSE_NEGATIVE), (FALSE_NEGATIVE, FALSE_POSITIVE)):
        foreground = np.isin(of_region, (opposite, TRUE_POSITIVE))
        part = _parts(joined[:, foreground[joined].all(0)], nodes - 1)
        behind = of_region[other] == BACKGROUND
        backgrounds = np.bincount(one[behind], minlength=nodes)
        meeting = np.unique(one[~behind] * nodes + part[other[~behind]]) // nodes
        parts = np.bincount(meeting, minlength=nodes)
        critical |= (of_region == error) & ((backgrounds != 1) | (parts != 1))
    critical &= np.isin(np.arange(nodes), joined)
    found = np.where(critical, np.cumsum(critical), 0)[region[label]]
    return found if frame is None else found[1:-1, 1:-1]


def _adjacent(label: Code, code: Code, eight_connectivity: bool) -> tuple[Edges, Edges]:
    """Pairs of components that touch, and pairs that meet at a corner without being one region."""
    weight = np.array((-4, 1, 2, 16) if eight_connectivity else (16, 1, 2, -4))[code]
    across = weight[:-1, :-1] - weight[:-1, 1:] - weight[1:, :-1] + weight[1:, 1:]
    across[(corners(label, (0, 1)) == 0).any(0).reshape(across.shape)] = 0
    falling, rising = (label[:-1, :-1], label[1:, 1:]), (label[:-1, 1:], label[1:, :-1])
    number = label.max() + 1

    def pairs(*chosen: tuple[tuple[Code, Code], Area]) -> Edges:
        found = np.concatenate([np.stack([a[where], b[where]]) for (a, b), where in chosen], 1).astype(np.int64)
        return _distinct(found[:, (found > 0).all(0)], number)

    sides = [(label[:-1], label[1:]), (label[:, :-1], label[:, 1:])]
    edges = pairs(*((side, side[0] != side[1]) for side in sides), (falling, across > 7), (rising, across < -7))
    special = pairs((falling, (across == 4) | (across == 7)), (rising, (across == -4) | (across == -7)))
    overruled = np.isin(edges[0] * number + edges[1], special[0] * number + special[1])
    return edges[:, ~overruled], special


def _distinct(pairs: Edges, number: int) -> Edges:
    """Pairs of different nodes, each once, the lower number first."""
    low, high = np.sort(pairs, 0)
    return np.stack(np.divmod(np.unique((low * number + high)[low != high]), number))


def _parts(pairs: Edges, number: int) -> Index:
    """For each of the nodes 0 to `number` the part of the graph it is in."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components as parts_of

    graph = coo_array((np.ones(pairs.shape[1]), pairs), (number + 1, number + 1))
    return parts_of(graph, directed=False)[1].astype(np.int64)
