"""The topological loss: a distance between the persistence diagrams of prediction and truth."""

from collections.abc import Sequence

import torch

from segloss.core import (
    Activation,
    ClassWeight,
    Construction,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    barcode,
    check_reduction,
    class_range,
    class_weight,
    count,
    features,
    mean_over_classes,
    not_negative,
    one_of,
    prepare,
    soft_masks,
    undefined,
)


def topological_loss(
    logits: Logits,
    target: HardLabels,
    *,
    patch_size: int | Sequence[int] | None = 65,
    dimensions: Sequence[int] | None = None,
    threshold: float = 0.0,
    construction: Construction = "T",
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared distance of each bar of the prediction to the bar of the truth it is matched with, or to vanishing.

    $$L_c = \sum_{l \le n} \big(b_l^2 + (1 - d_l)^2\big) + \sum_{l > n} \tfrac12 (d_l - b_l)^2$$

    Bar $l$ is a feature of the map $f = 1 - p_c$: a component or a loop, in 3D also a cavity, that is there from the
    threshold $b_l$, the value of $f$ at its voxel of birth, to $d_l$, that at its voxel of death. The truth has $n$
    features, all from 0 to 1: the $n$ longest bars are drawn there, all others are shortened to nothing. Sums over the
    bars of each dimension and patch. The component that never dies is left out, of the truth too; so a truth of one
    component has none in dimension 0. Gradient reaches two voxels a bar.

    A patch whose truth is empty or full adds nothing, nor does a flat prediction. A feature that closes over ignored
    voxels is no feature. Class by class, one against the rest; 1D and 3D are an extension. Computed on the CPU, with
    gudhi (extra `topology`) or cripser (extra `fast`); `segloss.homology_backend` chooses.

    Args:
        patch_size: Side of the patches, one number or one an axis; those at the far border may be smaller. None takes
            the image whole.
        dimensions: Dimensions of the features: 0 for components, 1 for loops, 2 for cavities. None stands for all.
        threshold: Length above which a bar of no counterpart costs anything.
        construction: `"T"`: a voxel is a closed cube, the foreground is connected across corners; `"V"`: along the axes
            only; `"freudenthal"`: along the axes and one diagonal.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `patch_size`, `dimensions` or `threshold` is out of range, or an input has the wrong shape, type
            or values.
        ImportError: If neither gudhi nor cripser is installed.

    References:
        [hu2019topology]

    Examples:
        >>> logits = torch.tensor([[[2.0, -2.0, 1.0, -3.0, 3.0]]])
        >>> target = torch.tensor([[1, 1, 1, 0, 1]])
        >>> topological_loss(logits, target)
        tensor(0.2036)
    """
    not_negative(threshold=threshold)
    one_of("construction", construction, ("T", "V", "freudenthal"))
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    patch, dims = _patch(patch_size, logits.ndim - 2), _dimensions(dimensions, logits.ndim - 2)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    p, g = (x.spatial(y[:, classes]).flatten(0, 1) for y in soft_masks(x))
    valid = (
        None if x.valid is None else x.spatial(x.valid).expand(-1, len(p) // len(logits), *p.shape[1:]).flatten(0, 1)
    )
    n = features(g > 0, patch=patch, construction=construction, valid=valid)
    bars = barcode(p, patch=patch, construction=construction, valid=valid, where=n[:, 0] >= 0, dimensions=dims)
    f = 1 - p.flatten()
    b, d = f[bars.birth], f[bars.death]
    to_truth, to_nothing = b**2 + (1 - d) ** 2, torch.where(d - b > threshold, (d - b) ** 2 / 2, 0)
    loss = bars.total(torch.where(bars.rank < n[bars.look, bars.dimension], to_truth, to_nothing), len(n))
    loss = loss.view(len(logits), len(p) // len(logits), -1).sum(2) + undefined(p).view(len(logits), -1)

    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (count(x) > 0), reduction, logits.dtype)


def _patch(size: int | Sequence[int] | None, axes: int) -> list[int]:
    """Side of the patches along each axis; empty for the whole image."""
    if size is None:
        return []
    sides = list(size) if isinstance(size, Sequence) else [size] * axes
    if len(sides) != axes or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"patch_size must be a positive number of voxels, or {axes} of them, got {size!r}")
    return sides


def _dimensions(dimensions: Sequence[int] | None, axes: int) -> list[int]:
    """Dimensions of the features, in order."""
    known = list(range(axes))
    if dimensions is None:
        return known
    if not isinstance(dimensions, Sequence) or not dimensions or not all(d in known for d in dimensions):
        raise ValueError(f"dimensions must be some of 0 to {axes - 1}, got {dimensions!r}")
    return sorted(set(dimensions))
