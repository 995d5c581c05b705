"""Perimeter loss: the length of the contour, by soft erosion and dilation."""

import torch

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    check_reduction,
    class_range,
    class_weight,
    contour_length,
    count,
    mean_over_classes,
    predicted,
    prepare,
    ratio,
    true_mask,
)


def perimeter_loss(
    logits: Logits,
    target: HardLabels,
    *,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared difference between the predicted and the true length of the contour.

    $$L_c = \frac{1}{|\Omega|} \Bigl(\sum_{x \in \Omega} C(p)_{xc} - \sum_{x \in \Omega} C(g)_{xc}\Bigr)^2, \qquad
    C(y) = \max_3(\min_3 y) - \min_3 y$$

    $\min_3$ and $\max_3$ are the least and the largest value in a window of three voxels along each axis, clipped at
    the border of the image and of what is ignored: an object has no contour there. $C$ is a ring of one voxel just
    outside of the eroded object. An object thinner than three voxels has none, and length 0. Where the contour lies
    plays no part. The paper is in 2D; windows in 1D and 3D are an extension.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If an input has the wrong shape, type or values.

    References:
        [eljurdi2021perimeter]

    Examples:
        >>> target = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> target[:, 1:6, 1:6] = 1
        >>> logits = 40.0 * target[:, None] - 20
        >>> logits[..., 5, :] = -20
        >>> perimeter_loss(logits, target)
        tensor(0.0625)
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    p = x.spatial(predicted(x.logits, x.valid, x.activation)[:, classes])
    g = x.spatial(true_mask(x)[:, classes]).to(torch.uint8)
    valid = None if x.valid is None else x.spatial(x.valid)
    n = count(x)
    loss = ratio((contour_length(p, valid) - contour_length(g, valid)).square(), n, empty=0.0)
    counted = torch.ones_like(loss) if of_class is None else of_class.expand_as(loss)
    return mean_over_classes(loss, counted * (n > 0), reduction, logits.dtype)
