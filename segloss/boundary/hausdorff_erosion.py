"""The Hausdorff distance by erosions: errors priced by how many erosions they survive."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    class_reducer,
    count,
    per_map,
    positive,
    predicted,
    prepare,
    ratio,
    recomputed,
    spatial_sum,
    true_mask,
)

Map = Float[Tensor, "B C *S"]
Valid = Bool[Tensor, "B 1 *S"] | None


def hausdorff_erosion_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    erosions: int = 10,
    normalise: bool = True,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared error eroded again and again, each time priced higher.

    $$L_c = \frac{1}{N} \sum_{k=1}^{K} k^\alpha \sum_i e^{(k)}_{ic}, \qquad
    e^{(k)} = \nu\big(\max(B * e^{(k-1)} - \tfrac12, 0)\big), \qquad e^{(0)}_{ic} = (p_{ic} - g_{ic})^2$$

    $B$ is a cross of $2d + 1$ equal weights in $d$ dimensions that sum up to 1, and $\nu$ stretches the map of each
    image and class to the interval from 0 to 1, where it is not flat. Without $\nu$, as the formula is usually printed,
    one erosion leaves nothing above a half, and all further ones leave nothing. Everything is differentiated. Beyond
    the image, and where voxels are ignored, the error is 0.

    Args:
        alpha: Exponent $\alpha$ of the number of erosions.
        erosions: Number of erosions $K$.
        normalise: Whether each eroded map is stretched, $\nu$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `alpha` or `erosions` is not positive, or an input has the wrong shape, type or values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, 20.0, 20.0, 20.0, -20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 0, 0, 0]])
        >>> hausdorff_erosion_loss(logits, target, erosions=2, alpha=1.0)
        tensor(1.3148)
    """
    positive(alpha=alpha, erosions=erosions)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)
    valid = None if x.valid is None else x.spatial(x.valid)

    def survived(p: Map, g: Bool[Tensor, "B C *S"], valid: Valid) -> Float[Tensor, "B C"]:
        def step(e: Map) -> Map:
            eroded = _eroded(e, valid)
            return _stretched(eroded, valid) if normalise else eroded

        e, costs = (p - g.to(p.dtype)).square(), []
        for k in range(1, erosions + 1):
            e = recomputed(step, e)
            costs.append(k**alpha * spatial_sum(e))
        return torch.stack(costs).sum(0)

    p, g = x.spatial(predicted(x.logits, x.valid, x.activation)), x.spatial(true_mask(x))
    return reduce(ratio(per_map(survived, p, g, valid), count(x), empty=0.0))


def _eroded(e: Map, valid: Valid) -> Map:
    """The mean over a cross, and what of it is above a half."""
    axes = range(2, e.ndim)
    padded = F.pad(e, [1, 1] * len(axes))
    middle = tuple(slice(1, -1) for _ in axes)
    total = e
    for axis in range(len(axes)):
        for side in (slice(None, -2), slice(2, None)):
            total = total + padded[(..., *middle[:axis], side, *middle[axis + 1 :])]
    above = (total / (2 * len(axes) + 1) - 0.5).clamp(min=0)
    return above if valid is None else above.masked_fill(~valid, 0)


def _stretched(e: Map, valid: Valid) -> Map:
    """From 0 to 1, image by image and class by class; as it is where all voxels that count are the same."""
    axes = tuple(range(2, e.ndim))
    low = (e if valid is None else e.masked_fill(~valid, torch.inf)).amin(axes, keepdim=True)
    high = e.amax(axes, keepdim=True)
    there = high > low
    stretched = (e - torch.where(there, low, 0)) / torch.where(there, high - low, 1)
    return stretched if valid is None else stretched.masked_fill(~valid, 0)
