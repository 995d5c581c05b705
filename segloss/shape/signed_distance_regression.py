"""Regression of signed distance maps, with a Dice loss on their sign."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    ClassWeight,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Spacing,
    Value,
    check_reduction,
    class_range,
    class_weight,
    count,
    flat_contour,
    mean_over_classes,
    not_negative,
    one_of,
    per_map,
    positive,
    prepare,
    ratio,
    signed_distance,
    spatial_sum,
    true_mask,
)
from segloss.core.blocks import kept
from segloss.core.distributed import all_sum

Map = Float[Tensor, "B C N"]
TINY = 1e-30
"""What no square of a distance or of a share is as small as, but 0."""


def signed_distance_regression_loss(
    logits: Logits,
    target: HardLabels,
    *,
    dice_weight: float = 1.0,
    product_weight: float = 10.0,
    l1_weight: float = 10.0,
    level: Literal["voxel", "image"] = "voxel",
    steepness: float = 1500.0,
    smooth: float = 1e-5,
    spacing: Spacing | None = None,
    distance: DistanceMap | None = None,
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Regression of the signed distance to the boundary of each class, plus Dice on its sign.

    $$L = \lambda_D \Big(1 - \frac{2 \sum_i h_i g_i + s}{\sum_i h_i^2 + \sum_i g_i + s}\Big)
    - \frac{\lambda_P}{N} \sum_i \frac{y_i p_i + s}{y_i p_i + p_i^2 + y_i^2 + s}
    + \frac{\lambda_1}{N} \sum_i |p_i - y_i|$$

    $p = \tanh z$ is the predicted map of a class, negative inside, from the logits $z$ of a network without an
    activation at its end: it is not a probability, and a class lies where $z < 0$. $h = \sigma(-k p)$ makes a soft mask
    of it and $g$ is the true mask. $y$ is the true map: the distance to the other side, negative inside, each side
    divided by its largest value in the image, and 0 on the inner boundary, the voxels of the class with a neighbour
    along an axis that is not of it. A class without a voxel, or without another beside it, has $y = 0$ everywhere. Sums
    over the $N$ voxels of an image.

    Args:
        dice_weight: Weight $\lambda_D$ of the Dice part.
        product_weight: Weight $\lambda_P$ of the part with the product.
        l1_weight: Weight $\lambda_1$ of the part with the absolute difference.
        level: `"voxel"`: the product's ratio is taken at each voxel, as in the formula. `"image"`: one ratio of sums
            over the voxels.
        steepness: Steepness $k$ of the soft mask. Where $|p|$ is above about $10 / k$, Dice has no gradient.
        smooth: The constant $s$.

    Returns:
        A scalar from $-\lambda_P$ to $\lambda_D + \lambda_P + 2 \lambda_1$, or with `reduction="none"` one loss an
        image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If a weight or `smooth` is negative, `steepness` is not positive, `spacing` does not have a positive
            number for each axis, `distance` has the wrong shape, or an input has the wrong shape, type or values.

    References:
        [xue2020shape]

    Examples:
        >>> logits = torch.tensor([[[9.0, 9.0, 0.0, -9.0, 0.0]]])
        >>> target = torch.tensor([[0, 0, 1, 1, 1]])
        >>> signed_distance_regression_loss(logits, target, l1_weight=1.0, product_weight=0.0, dice_weight=0.0)
        tensor(0.3667)
    """
    not_negative(dice_weight=dice_weight, product_weight=product_weight, l1_weight=l1_weight, smooth=smooth)
    positive(steepness=steepness)
    one_of("level", level, ("voxel", "image"))
    check_reduction(reduction)
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    def pooled(of_images: Tensor) -> Tensor:
        return all_sum(of_images.sum(0, keepdim=True), group) if batch else of_images

    s = max(smooth, TINY)  # 0 by 0 is 1

    def sums(z: Map, y: Map, g: Mask, valid: Mask | None) -> Float[Tensor, "B C K"]:
        p = kept(z.to(y.dtype), valid).tanh()
        h = torch.sigmoid(-steepness * p)
        yp, squares = y * p, p.square() + y.square()
        products = [(yp + s) / (yp + squares + s)] if level == "voxel" else [yp, squares]
        maps = [h * g, h.square(), *products, (p - y).abs()]
        return torch.stack([spatial_sum(kept(it, valid)) for it in maps], 2)

    g = true_mask(x)[:, classes]
    D = signed_distance(x, spacing, distance, background=include_background)[:, classes].abs()
    inside, outside = (kept(D, side).amax(2, keepdim=True).clamp(min=TINY) for side in (g, ~g))
    y = kept(D / torch.where(g, -inside, outside), ~flat_contour(g, x))
    of_images = per_map(sums, x.logits[:, classes], y, g, x.valid)
    tp, h2, *products, l1 = pooled(of_images).unbind(2)

    N = pooled(count(x)).clamp(min=1)
    dice = 1 - ratio(2 * tp + smooth, h2 + pooled(spatial_sum(g)) + smooth)
    if level == "voxel":
        product = -products[0] / N
    else:
        yp, squares = products
        product = -ratio(yp + smooth, yp + squares + smooth)
    loss = dice_weight * dice + product_weight * product + l1_weight * l1 / N

    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    counted = counted * (pooled(count(x)) > 0)
    return mean_over_classes(loss, counted, reduction, logits.dtype, None if batch else group)
