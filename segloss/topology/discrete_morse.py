"""Cross-entropy on the ridges of the likelihood, which discrete Morse theory finds."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    log_likelihood,
    not_negative,
    one_of,
    over_voxels,
    prepare,
    ratio,
    sum_dtype,
)
from segloss.core.cubical import (
    OUTSIDE,
    Index,
    cell_values,
    cells,
    corners,
    edge_ends,
    facet_sides,
    merge,
    reduce_columns,
    square_edges,
)

Height = Float[np.ndarray, "*S"]
Cells = Float[np.ndarray, " E"]


def discrete_morse_loss(
    logits: Logits,
    target: HardLabels,
    *,
    threshold: float = 0.2,
    levels: int | None = None,
    normalise: Literal["image", "skeleton"] = "image",
    ridges: Shaped[Tensor, "B C *S"] | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Binary cross-entropy on the voxels of the Morse skeleton of the prediction.

    $$L = -\frac{1}{N} \sum_{i \in M} \big(g_i \log p_i + (1 - g_i) \log(1 - p_i)\big)$$

    $M$ are the ridges of $p$ that `morse_skeleton` finds, those of a connection that is missing and those of one that
    is too much; they are constant, the gradient goes through $p$ alone. It is for a foreground, or for channels
    that may overlap. The mean is over all $N$ voxels and channels, those outside of $M$ have loss 0.

    Args:
        threshold: Persistence above which a ridge counts, as a difference of probabilities.
        levels: Number of steps to which probabilities are rounded down before; None takes them as they are.
        normalise: `"skeleton"` divides by the number of voxels in $M$ in place of $N$.
        ridges: $M$ where it is known, boolean (B, C, \*S); None computes it from the prediction, on the CPU.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); of several channels (B, C, \*S).

    Raises:
        ValueError: If `threshold` is negative, `levels` is less than 1, `ridges` have the wrong shape or type, classes
            exclude each other, or an input has the wrong shape, type or values.

    References:
        [hu2021dmt]

    Examples:
        >>> logits = torch.tensor([[[[-4.0, -4.0, -4.0], [2.0, 0.0, 2.0], [-4.0, -4.0, -4.0]]]])
        >>> target = torch.tensor([[[0, 0, 0], [1, 1, 1], [0, 0, 0]]])
        >>> discrete_morse_loss(logits, target, reduction="none")
        tensor([[[0.0000, 0.0000, 0.0000],
                 [0.1269, 0.6931, 0.1269],
                 [0.0000, 0.0000, 0.0000]]])
    """
    _check(threshold, levels)
    one_of("normalise", normalise, ("image", "skeleton"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if x.activation == "softmax" or (logits.shape[1] > 1 and not x.dense):
        raise ValueError(
            f"target must be boolean (B, C, *S) of channels that may overlap where logits have {logits.shape[1]} "
            f"channels, got {target.dtype} {tuple(target.shape)} with activation {x.activation!r}"
        )
    valid = None if x.valid is None else x.spatial(x.valid)
    if ridges is None:
        z = logits.detach()
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        p = z if x.activation == "none" else z.sigmoid()
        found: Tensor = _skeletons(p, valid, threshold, levels)
    elif ridges.shape != logits.shape or ridges.dtype != torch.bool or ridges.device != logits.device:
        raise ValueError(
            f"ridges must be boolean of shape {tuple(logits.shape)} on {logits.device}, got {ridges.dtype} "
            f"{tuple(ridges.shape)} on {ridges.device}"
        )
    else:
        found = ridges
    there = found.flatten(2) if x.valid is None else found.flatten(2) & x.valid
    loss = -log_likelihood(x) * there
    if normalise == "skeleton" and reduction == "mean":
        dtype = sum_dtype(loss.device)
        return ratio(loss.sum(dtype=dtype), there.sum(dtype=dtype), empty=0.0).to(logits.dtype)
    return over_voxels(loss, x, reduction)


def morse_skeleton(
    likelihood: Float[Tensor, "B C *S"],
    *,
    threshold: float = 0.2,
    levels: int | None = None,
    mask: Mask | None = None,
) -> Bool[Tensor, "B C *S"]:
    r"""The ridges of a likelihood map that discrete Morse theory keeps, for `discrete_morse_loss`.

    $$M = \bigcup_{e:\ \mathrm{pers}(e) > \theta} \mathrm{path}(e), \qquad
    \mathrm{pers}(e) = |p(e) - p(\sigma)|$$

    Voxels are vertices, and an edge has the likelihood of its lower end. As the likelihood falls, each edge $e$ either
    joins two components, and is paired with the lower of their peaks, or closes a cycle, and is paired with the square
    that fills it; $p(\sigma)$ is the likelihood there. An edge of persistence above $\theta$ is a saddle that counts,
    and the path follows the ridge from both its ends up to the peak, along edges that do not. Of equal likelihoods
    that comes first whose place does, the first axis changing fastest. It is computed on the CPU, each image and
    channel for itself.

    Args:
        likelihood: Probabilities, (B, C, \*S) with one to three spatial axes.
        threshold: Persistence $\theta$ above which a saddle counts.
        levels: Number of steps to which probabilities are rounded down before; None takes them as they are.
        mask: Voxels that count, boolean (B, 1, \*S); the others are left out as if the image ended there.

    Returns:
        The ridges, boolean (B, C, \*S), on the device of `likelihood`.

    Raises:
        ValueError: If `threshold` is negative, `levels` is less than 1, or `likelihood` or `mask` has the wrong shape,
            type or values.

    References:
        [hu2021dmt]

    Examples:
        >>> likelihood = torch.tensor([[[0.9, 0.2, 0.3, 0.1, 0.8, 0.0]]])
        >>> morse_skeleton(likelihood, threshold=0.5)
        tensor([[[ True,  True,  True,  True,  True, False]]])
    """
    _check(threshold, levels)
    if not isinstance(likelihood, Tensor):
        raise TypeError(f"likelihood must be a tensor, got {type(likelihood).__name__}")
    if not likelihood.is_floating_point() or not 3 <= likelihood.ndim <= 5 or 0 in likelihood.shape:
        raise ValueError(
            "likelihood must be floating (B, C, *S) with one to three spatial axes, got "
            f"{likelihood.dtype} {tuple(likelihood.shape)}"
        )
    p = likelihood.detach()
    if not bool(((p >= 0) & (p <= 1)).all()) and mask is None:
        raise ValueError(f"likelihood must hold probabilities from 0 to 1, got {p.min().item()} to {p.max().item()}")
    x = prepare(p, torch.zeros_like(p, dtype=torch.bool), activation="none", mask=mask)
    return _skeletons(p, None if x.valid is None else x.spatial(x.valid), threshold, levels)


def _check(threshold: float, levels: int | None) -> None:
    not_negative(threshold=threshold)
    if levels is not None and levels < 1:
        raise ValueError(f"levels must be at least 1, got {levels}")


@torch.library.custom_op("segloss::morse_skeletons", mutates_args=())
def _skeletons(p: Tensor, valid: Tensor | None, threshold: float, levels: int | None) -> Tensor:
    """The skeleton of every image and channel; one operator to a compiler, which cannot look into it."""
    height = -p.cpu().double().numpy()
    if levels is not None:
        height = np.trunc(levels * height)
    if valid is not None:
        height = np.where(valid.cpu().numpy(), height, np.inf)
    maps = [_skeleton(one, threshold, levels or 1) for one in height.reshape(-1, *height.shape[2:])]
    return torch.from_numpy(np.stack(maps)).reshape(p.shape).to(p.device)


@_skeletons.register_fake
def _(p: Tensor, valid: Tensor | None, threshold: float, levels: int | None) -> Tensor:
    return torch.empty_like(p, dtype=torch.bool, memory_format=torch.contiguous_format)


def _skeleton(height: Height, threshold: float, scale: int) -> Bool[np.ndarray, "*S"]:
    """The vertices on the paths from saddles of a persistence above the threshold down to the minima."""
    shape = height.shape
    ends, age = edge_ends(shape), _order(height, 0)
    at_vertex, at_edge = height.ravel(), cell_values(height, 1)
    tree, persistence = _edges(height, ends, age)
    with np.errstate(invalid="ignore"):  # infinity minus itself, where masked
        persistence = persistence / scale
    there = np.isfinite(at_edge)
    saddle, flat = there & (persistence > threshold), tree & there & (persistence <= threshold)
    above = _towards_minima(ends[:, flat], age, len(at_vertex))
    found = np.zeros(len(at_vertex) + 1, bool)
    found[-1] = True
    front = np.unique(ends[:, saddle])
    while len(front := front[~found[front]]):
        found[front] = True
        front = np.unique(above[front])
    return found[:-1].reshape(shape)


def _edges(height: Height, ends: Index, age: Index) -> tuple[Bool[np.ndarray, " E"], Cells]:
    """Which edges join two components, and the persistence of every edge."""
    at_edge, time = cell_values(height, 1), _order(height, 1)
    persistence = np.zeros(len(at_edge))

    joins, ended = merge(ends, time, [age]).pairs
    tree = np.zeros(len(at_edge), bool)
    tree[joins] = True
    with np.errstate(invalid="ignore"):
        persistence[joins] = at_edge[joins] - height.ravel()[ended]
        if height.ndim > 1:
            closes, fills = _cycles(height, time, np.flatnonzero(~tree))
            persistence[closes] = cell_values(height, 2)[fills] - at_edge[closes]
    return tree, persistence


def _cycles(height: Height, time: Index, closing: Index) -> tuple[Index, Index]:
    """Edges that close a cycle, and the square that fills it."""
    shape, filling = height.shape, _order(height, 2)
    if height.ndim == 2:
        joins, ended = merge(facet_sides(shape)[:, closing], -time[closing], [np.append(-filling, OUTSIDE)]).pairs
        return closing[joins], ended
    cavities = merge(facet_sides(shape), -filling, [np.append(-_order(height, 3), OUTSIDE)]).pairs[0]
    fills = np.delete(np.arange(len(filling)), cavities)
    return reduce_columns(square_edges(shape), fills, filling, time)


def _towards_minima(ends: Index, age: Index, number: int) -> Index:
    """The next vertex on the way of each vertex to the eldest one of its tree, which leads to `number`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    graph = coo_array((np.ones(ends.shape[1]), ends), (number, number))
    trees, tree = connected_components(graph, directed=False)
    by_age = np.argsort(age)
    root = by_age[np.unique(tree[by_age], return_index=True)[1]]
    ends = np.concatenate([ends, np.stack([np.full(trees, number), root])], 1)
    graph = coo_array((np.ones(ends.shape[1]), ends), (number + 1, number + 1)).tocsr()
    return breadth_first_order(graph, number, directed=False)[1]


def _order(height: Height, dim: int) -> Index:
    """When each cell of a dimension comes: by its height, then by its place, the first axis changing fastest."""
    by_place = _by_place(height.shape, dim)
    rank = np.empty(len(by_place), np.int64)
    rank[by_place[np.argsort(cell_values(height, dim)[by_place], kind="stable")]] = np.arange(len(by_place))
    return rank


@lru_cache(maxsize=16)
def _by_place(shape: tuple[int, ...], dim: int) -> Index:
    """The cells of a dimension in the order of their places in a grid of cells of all dimensions."""
    steps = [math.prod(2 * size - 1 for size in shape[:axis]) for axis in range(len(shape))]
    vertices = 2 * np.tensordot(steps, np.indices(shape), 1)
    places = [corners(vertices, axes)[0] + sum(steps[axis] for axis in axes) for axes in cells(len(shape), dim)]
    return np.argsort(np.concatenate(places))
