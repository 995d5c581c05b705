"""Adjacency of classes that never touch."""

import itertools

import numpy as np
import torch
from jaxtyping import Integer, Shaped
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    LabelMap,
    Logits,
    Mask,
    Reduction,
    Value,
    can_look_at,
    check_logits,
    check_reduction,
    count,
    label_maps,
    mean_over_images,
    prepare,
    ratio,
    sum_dtype,
    window_mean,
)
from segloss.core.blocks import predicted

Adjacency = Shaped[Tensor, "C C"]


def adjacency_matrix(
    labels: LabelMap, radius: int = 1, *, classes: int | None = None, ignore_index: int | None = None
) -> Integer[Tensor, "C C"]:
    r"""How often the classes of label maps are neighbours, for `non_adjacency_loss`.

    $$N_{ij} = \#\{(x, v) : g(x) = i,\ g(x + v) = j,\ v \in V,\ v \neq 0\}$$

    $V$ is the box of $2 r + 1$ voxels along each axis; pairs within a class stand on the diagonal. It depends on the
    labels alone. That of a training set is the sum of those of its images, which may differ in size:
    `sum(adjacency_matrix(labels, classes=4) for labels in training_set)`.

    Args:
        labels: Class indices, integer (B, \*S) or (B, 1, \*S).
        radius: Radius $r$ of the box, in voxels.
        classes: Number of classes C. None stands for the largest label plus one.
        ignore_index: Label of voxels that are nobody's neighbours.

    Returns:
        The numbers of pairs, integer (C, C), symmetric, on the device of `labels`; 0 for classes that never touch.

    Raises:
        ValueError: If `radius` or `classes` is less than 1, there is a label outside of the classes, or `labels` has
            the wrong shape, type or values.

    References:
        [ganaye2019nonadjacency]

    Examples:
        >>> adjacency_matrix(torch.tensor([[0, 0, 1, 2, 2]]))
        tensor([[2, 1, 0],
                [1, 0, 1],
                [0, 1, 2]])
    """
    if radius < 1 or (classes is not None and classes < 1):
        raise ValueError(f"radius and classes must be at least 1, got radius={radius} and classes={classes}")
    ignored = None
    if ignore_index is not None and isinstance(labels, Tensor):
        ignored = labels == ignore_index
        labels = labels.masked_fill(ignored, 0)
    maps = label_maps("labels", labels)
    if ignored is not None:
        maps[ignored.reshape(maps.shape).cpu().numpy()] = -1
    top = max(int(maps.max()), 0)
    size = top + 1 if classes is None else classes
    if top >= size:
        raise ValueError(
            f"labels holds {top}, but there are classes 0 to {size - 1}; name a label to leave out with ignore_index"
        )
    maps[maps < 0] = size

    pairs = np.zeros((size + 1) ** 2, dtype=np.int64)
    for step in itertools.product(range(-radius, radius + 1), repeat=maps.ndim - 1):
        if step > (0,) * len(step):
            here = tuple(slice(max(0, -n), max(0, s - max(0, n))) for n, s in zip(step, maps.shape[1:], strict=True))
            there = tuple(slice(max(0, n), max(0, s + min(0, n))) for n, s in zip(step, maps.shape[1:], strict=True))
            both = maps[:, *here] * (size + 1) + maps[:, *there]
            pairs += np.bincount(both.ravel(), minlength=pairs.size)
    found = pairs.reshape(size + 1, size + 1)[:size, :size]
    return torch.as_tensor(found + found.T, device=labels.device)


def non_adjacency_loss(
    logits: Logits,
    target: HardLabels | None,
    *,
    adjacency: Adjacency,
    radius: int = 1,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The soft adjacency of classes that must not touch.

    $$L = \frac{\sum_{ij} G_{ij} A_{ij}}{\sum_{ij} G_{ij}}, \qquad
    A_{ij} = \frac{1}{|\Omega|} \sum_{x \in \Omega} p_i(x)\,\frac{1}{|V|} \sum_{v \in V} p_j(x + v)$$

    $G_{ij}$ is 1 where `adjacency` is 0, and 0 elsewhere. $V$ is the box of $2 r + 1$ voxels along each axis, the
    centre among them, so that forbidden neighbours that share a voxel are priced too; outside of the image and where
    ignored, $p$ is 0. If no pair is forbidden the loss is 0. The truth is not looked at but for what is ignored:
    images without labels have `target=None`. The paper's layer is in 2D; 1D and 3D are an extension.

    Args:
        adjacency: Where classes may touch, (C, C): numbers of neighbours in a training set, which `adjacency_matrix`
            counts, or ones and zeros. 0 forbids.
        radius: Radius $r$ of the box, in voxels.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,).

    Raises:
        ValueError: If there are no exclusive classes, `adjacency` is not (C, C) or negative, `radius` is less than 1,
            `ignore_index` meets no target, or an input has the wrong shape, type or values.

    References:
        [ganaye2019nonadjacency]

    Examples:
        >>> logits = torch.tensor([[[9.0, 9.0, -9.0, -9.0], [-9.0, -9.0, 9.0, -9.0], [-9.0, -9.0, -9.0, 9.0]]])
        >>> target = torch.tensor([[0, 0, 1, 1]])
        >>> non_adjacency_loss(logits, target, adjacency=adjacency_matrix(target, classes=3))
        tensor(0.0500)
    """
    check_reduction(reduction)
    check_logits(logits)
    if radius < 1:
        raise ValueError(f"radius must be at least 1, got {radius}")
    if target is None:
        if ignore_index is not None:
            raise ValueError(f"ignore_index={ignore_index} needs a target; without one use mask")
        target = torch.zeros_like(logits[:, 0], dtype=torch.uint8)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    if x.activation == "sigmoid":
        raise ValueError(
            "logits must be of classes that exclude each other, got "
            f"{logits.shape[1]} channels with activation {activation!r}"
        )
    G = _forbidden(adjacency, logits)

    p = x.spatial(predicted(x.logits, x.valid, x.activation))
    A = torch.einsum("bin,bjn->bij", p.flatten(2), window_mean(p, 2 * radius + 1).flatten(2)).to(G.dtype)
    n = count(x)[:, 0]
    loss = ratio((G * A).sum((1, 2)), n * G.sum(), empty=0.0)
    return mean_over_images(loss, n, reduction, logits.dtype)


def _forbidden(adjacency: Adjacency, logits: Logits) -> Shaped[Tensor, "C C"]:
    """1 for classes that must not touch."""
    if not isinstance(adjacency, Tensor):
        raise TypeError(f"adjacency must be a tensor, got {type(adjacency).__name__}")
    classes = logits.shape[1]
    if adjacency.shape != (classes, classes):
        raise ValueError(f"adjacency must be ({classes}, {classes}), one row a class, got {tuple(adjacency.shape)}")
    if adjacency.is_complex():
        raise ValueError(f"adjacency must hold real numbers, got {adjacency.dtype}")
    if can_look_at(adjacency) and not bool((adjacency >= 0).all()):
        raise ValueError(f"adjacency must hold numbers of at least 0, got {adjacency.tolist()}")
    return (adjacency == 0).to(logits.device, sum_dtype(logits.device))
