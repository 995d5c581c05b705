"""Boundary F1 as a loss, on soft boundaries found by dilation."""

from jaxtyping import Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    Labels,
    Logits,
    Mask,
    Reduction,
    Value,
    class_reducer,
    dilation,
    not_negative,
    prepare,
    soft_masks,
    spatial_sum,
)

Map = Float[Tensor, "B C *S"]


def boundary_f1_loss(
    logits: Logits,
    target: Labels,
    *,
    boundary_width: int = 3,
    tolerance_width: int = 5,
    smooth: float = 1e-7,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the F1 score of boundaries, each boundary matched within a tolerance of the other.

    $$L_c = 1 - \frac{2 P_c R_c}{P_c + R_c + \epsilon}, \qquad
    P_c = \frac{\sum_i b^p_{ic}\,\mathrm{pool}_\theta(b^g)_{ic}}{\sum_i b^p_{ic} + \epsilon}, \qquad
    R_c = \frac{\sum_i b^g_{ic}\,\mathrm{pool}_\theta(b^p)_{ic}}{\sum_i b^g_{ic} + \epsilon}$$

    $b^y = \mathrm{pool}_{\theta_0}(1 - y) - (1 - y)$ is the inner rim of the probabilities $y = p$ or of the truth
    $y = g$, and $\mathrm{pool}_w$ the maximum over a window of $w$ voxels along each axis, clipped at the border of the
    image and of what is ignored: an object has no boundary there. A class without ground truth, or a flat prediction,
    has loss 1 and no gradient. The paper is in 2D; windows in 1D and 3D are an extension.

    Args:
        boundary_width: The window $\theta_0$ in voxels, odd.
        tolerance_width: The window $\theta$ in voxels, odd.
        smooth: The constant $\epsilon$; it keeps empty boundaries from 0/0.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If a window is not an odd number of voxels, `smooth` is negative, or an input has the wrong shape,
            type or values.

    References:
        [bokhovkin2019boundary]

    Examples:
        >>> logits = torch.tensor([[[-20.0, 20.0, 20.0, 20.0, -20.0, -20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 0]])
        >>> boundary_f1_loss(logits, target, tolerance_width=3)
        tensor(0.5000)
    """
    not_negative(smooth=smooth)
    for name, width in (("boundary_width", boundary_width), ("tolerance_width", tolerance_width)):
        if width < 1 or width % 2 == 0:
            raise ValueError(f"{name} must be an odd number of voxels, got {width}")
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask)
    reduce = class_reducer(x, include_background, weight, reduction)

    p, g = (x.spatial(y) for y in soft_masks(x))
    valid = None if x.valid is None else x.spatial(x.valid)
    b_p, b_g = (_rim(y, boundary_width, valid) for y in (p, g))
    precision = spatial_sum(b_p * dilation(b_g, width=tolerance_width)) / (spatial_sum(b_p) + smooth)
    recall = spatial_sum(b_g * dilation(b_p, width=tolerance_width)) / (spatial_sum(b_g) + smooth)
    return reduce(1 - 2 * precision * recall / (precision + recall + smooth))


def _rim(y: Map, width: int, valid: Tensor | None) -> Map:
    """The inner boundary of a soft mask; what is ignored is no part of any window."""
    outside = 1 - y
    rim = dilation(outside, valid, width=width) - outside
    return rim if valid is None else rim.masked_fill(~valid, 0)
