"""Cross-entropy that costs more at mistaken voxels, the further the predicted contour is from the true one."""

from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    DistanceMap,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Spacing,
    Value,
    can_look_at,
    check_reduction,
    check_spacing,
    flat_contour,
    flat_distance,
    log_likelihood,
    mask_distance,
    over_voxels,
    predicted_mask,
    prepare,
    ratio,
    spatial_sum,
    true_mask,
)


def shape_aware_cross_entropy_loss(
    logits: Logits,
    target: HardLabels,
    *,
    contour_distance: DistanceMap | None = None,
    spacing: Spacing | None = None,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy, raised at mistaken voxels by the mean distance between predicted and true contour.

    $$L_i = -\big(1 + E\,[\hat y_i \ne y_i]\big) \log p_i, \qquad
    E = \frac{1}{|\hat C|} \sum_{j \in \hat C} d(j, C)$$

    $\hat y$ is the predicted mask, of the more probable class, and $y$ the true one. $\hat C$ and $C$ are their
    contours: their voxels with a neighbour along an axis that is not of the mask; what lies outside the image or is
    ignored is no neighbour. $d$ is the Euclidean distance; $E$ is one number an image, and 0 where a contour is empty.
    $p_i$ is the probability of the truth. $E$ and the mistaken voxels follow the prediction without a gradient. With
    two channels, or one, there is one region; under sigmoid each channel is a region with its own $E$.

    Args:
        contour_distance: Distance of every voxel to the true contour of each class, (B, C, \*S), from
            `precompute.contour_distance_map`; of two channels under softmax that of channel 1 counts. None computes it,
            with the same result.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S); under sigmoid of several channels
        (B, C, \*S).

    Raises:
        ValueError: If logits have more than two channels under softmax, `spacing` does not have a positive number for
            each axis, `contour_distance` has the wrong shape or is
            not 0 on the contour, or an input has the wrong shape, type or values.

    References:
        [alarif2017shape]

    Examples:
        >>> logits = torch.tensor([[[-3.0, -3.0, -3.0, 3.0, 3.0, 3.0, -3.0]]])
        >>> target = torch.tensor([[0, 1, 1, 1, 0, 0, 0]])
        >>> shape_aware_cross_entropy_loss(logits, target, reduction="none")
        tensor([[0.0486, 6.0972, 6.0972, 0.0486, 6.0972, 6.0972, 0.0486]])
    """
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    steps = check_spacing(spacing, logits.ndim - 2)
    log_p = log_likelihood(x)
    regions = slice(logits.shape[1] - log_p.shape[1], None)
    if regions.start > 1:
        raise ValueError(f"logits must have one or two channels under a softmax, got {logits.shape[1]}")
    y, y_hat = true_mask(x)[:, regions], predicted_mask(x)[:, regions]
    C, C_hat = flat_contour(y, x), flat_contour(y_hat, x)
    if contour_distance is None:
        d = mask_distance(C, x, steps, side="outside")
    else:
        d = flat_distance(contour_distance, x, "contour_distance")[:, regions]
        if can_look_at(d) and bool((d < 0).any() | (d * C).any()):
            raise ValueError("contour_distance must be 0 on the true contour and positive elsewhere")
    E = ratio(_sum(d * C_hat), _sum(C_hat), empty=0.0).to(log_p.dtype)
    return over_voxels(-(1 + E * (y_hat != y)) * log_p, x, reduction, group)


def _sum(of_voxels: Tensor) -> Float[Tensor, "B K 1"]:
    return spatial_sum(of_voxels).unsqueeze(2)
