"""Topological prior: how many components, loops and cavities there should be."""

import itertools
from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Integer
from torch import Tensor

from segloss.core import (
    Activation,
    Construction,
    HardLabels,
    Inputs,
    Logits,
    Mask,
    Reduction,
    Value,
    barcode,
    check_reduction,
    count,
    features,
    mean_over_images,
    one_of,
    positive,
    prepare,
    soft_masks,
    true_mask,
    undefined,
)

Betti = Sequence[int]
Prior = Mapping[int, Betti] | Mapping[tuple[int, ...], Betti] | Mapping[int | tuple[int, ...], Betti]


def topological_prior_loss(
    logits: Logits,
    target: HardLabels,
    *,
    prior: Prior | None = None,
    exponent: float = 1.0,
    construction: Construction = "V",
    max_bars: int | None = None,
    threshold: float | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""How far the features of each label, and of labels together, are from the numbers that anatomy gives.

    $$L = \sum_J \sum_d \Big(\sum_{l \le \beta^J_d} (1 - \ell_l^q) + \sum_{l > \beta^J_d} \ell_l^q\Big)$$

    $J$ is a label or several; $\ell_1 \ge \ell_2 \ge \dots$ are the lengths of the bars of dimension $d$ of the map
    $s_J = \sum_{c \in J} p_c$: the probability at which a component, a loop or, in 3D, a cavity appears as the
    threshold falls, less that at which it merges or closes. The $\beta^J_d$ longest are to last from 1 to 0, all others
    are shortened to nothing; a bar that is missing costs 1. The component that never dies is left out, and one of the
    components that are wanted with it. Gradient reaches two voxels a bar.

    With a prior, the labels of `target` do not matter, only where it is ignored. A feature that closes over ignored
    voxels is no feature. Computed on the CPU, with gudhi (extra `topology`) or cripser (extra `fast`);
    `segloss.homology_backend` chooses.

    Args:
        prior: Betti numbers, one an axis of space (components, loops, cavities), by label, or by a tuple of labels
            that exclude each other: `{1: (1, 0), 2: (1, 1), (1, 2): (1, 0)}`. The label of a single channel is 1.
            Labels that are not named are free. None stands for the numbers that each image of `target` has, for every
            label but the background and, where they exclude each other, every pair.
        exponent: The exponent $q$ of the lengths.
        construction: `"V"`: a voxel is connected along the axes; `"T"`: also across corners; `"freudenthal"`: along the
            axes and one diagonal.
        max_bars: How many bars of each dimension count, the longest; None for all.
        threshold: Probability of the foreground from which on voxels span the box that is looked at; None for the
            whole image.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image, (B,).

    Raises:
        ValueError: If `prior` names no label, one there is not, or several that may overlap, or has other than one
            number an axis; if a number is out of range, or an input has the wrong shape, type or values.
        ImportError: If neither gudhi nor cripser is installed.

    References:
        [byrne2021persistent], [clough2020topological]

    Examples:
        >>> logits = torch.tensor([[[2.0, -2.0, 1.0, -3.0, 3.0]]])
        >>> target = torch.zeros(1, 5, dtype=torch.int64)
        >>> topological_prior_loss(logits, target, prior={1: [2]})
        tensor(0.7785)
    """
    positive(exponent=exponent, **({} if max_bars is None else {"max_bars": max_bars}))
    one_of("construction", construction, ("V", "T", "freudenthal"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    together, beta = (_pairs(x), None) if prior is None else _checked(prior, x)

    p = soft_masks(x)[0]
    s = x.spatial(torch.stack([p[:, list(channels)].sum(1) for channels in together], 1)).flatten(0, 1)
    valid = None if x.valid is None else x.spatial(x.valid)
    if threshold is not None:
        foreground = p[:, 1:] if x.is_joint else p
        box = _box(x.spatial(foreground.sum(1, keepdim=True) >= threshold))
        valid = box if valid is None else box & valid
    if valid is not None:
        valid = valid.expand(-1, len(together), *s.shape[1:]).flatten(0, 1)
    if beta is None:
        g = true_mask(x)
        g = x.spatial(torch.stack([g[:, list(channels)].any(1) for channels in together], 1)).flatten(0, 1)
        beta = features(g, construction=construction, valid=valid).clamp(min=0)
    else:
        beta = beta.to(s.device).repeat(len(logits), 1)

    bars = barcode(s, construction=construction, valid=valid)
    length = (s.flatten()[bars.birth] - s.flatten()[bars.death]) ** exponent
    cost = torch.where(bars.rank < beta[bars.look, bars.dimension], -length, length)
    if max_bars is not None:
        cost = torch.where(bars.rank < max_bars, cost, 0)
    # 1 for each bar that is wanted, whether it is there or not
    loss = (beta.sum(1) + bars.total(cost, len(beta)) + undefined(s)).view(len(logits), -1).sum(1)

    n = count(x)[:, 0]
    return mean_over_images(loss * (n > 0), n, reduction, logits.dtype)


def _pairs(x: Inputs) -> list[tuple[int, ...]]:
    """Every channel but the background, and every pair of them, where they exclude each other; else every channel."""
    channels = range(1 if x.is_joint else 0, x.shape[1])
    pairs = itertools.combinations(channels, 2) if x.is_joint else ()
    return [*itertools.combinations(channels, 1), *pairs]


def _checked(prior: Prior, x: Inputs) -> tuple[list[tuple[int, ...]], Integer[Tensor, "J D"]]:
    """Channels that are taken together, and how many bars that die are wanted of them in each dimension."""
    if not isinstance(prior, Mapping) or not prior:
        raise ValueError(f"prior must map labels to Betti numbers, got {prior!r}")
    axes, first, found = len(x.shape) - 2, int(x.shape[1] == 1), {}
    labels = range(first, first + x.shape[1])
    for key, betti in prior.items():
        several = key if isinstance(key, tuple) else (key,)
        channels = tuple(sorted(label - first for label in several if label in labels))
        if not channels or len({*channels}) < len(several) or channels in found:
            raise ValueError(f"prior must name labels from {labels[0]} to {labels[-1]}, each once, got {list(prior)}")
        if len(channels) > 1 and not x.is_joint:
            raise ValueError(f"prior can take labels together only where they exclude each other, got {key!r}")
        if not _are_betti(betti, axes):
            raise ValueError(f"prior must give {axes} numbers of features, one an axis, got {betti!r} for {key!r}")
        found[channels] = [max(betti[0] - 1, 0), *betti[1:]]
    return list(found), torch.tensor(list(found.values()))


def _are_betti(betti: object, axes: int) -> bool:
    if not isinstance(betti, Sequence) or len(betti) != axes:
        return False
    return all(isinstance(number, int) and number >= 0 for number in betti)


def _box(there: Bool[Tensor, "B 1 *S"]) -> Bool[Tensor, "B 1 *S"]:
    """The smallest boxes around some voxels."""
    box = torch.ones_like(there)
    for axis in range(2, there.ndim):
        seen = there.movedim(axis, -1).flatten(1, -2).any(1).long()
        between = (seen.cummax(1).values * seen.flip(1).cummax(1).values.flip(1)).bool()
        box = box & between.view(len(there), *[-1 if a == axis else 1 for a in range(1, there.ndim)])
    return box
