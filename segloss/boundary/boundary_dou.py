"""Difference of two masks over their union, less of what they share where a class is mostly interior."""

from segloss.core import (
    SQUARES,
    Absent,
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_range,
    evidence,
    inner_boundary,
    not_negative,
    over_classes,
    ratio,
    true_mask,
)


def boundary_dou_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha_max: float = 0.8,
    smooth: float = 1e-5,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The difference of prediction and truth over their union without a part of what they share.

    $$L_c = \frac{\sum_i p_{ic}^2 + \sum_i g_{ic}^2 - 2 \sum_i p_{ic} g_{ic} + s}
    {\sum_i p_{ic}^2 + \sum_i g_{ic}^2 - (1 + \alpha_c) \sum_i p_{ic} g_{ic} + s}, \qquad
    \alpha_c = \min\Big(1 - 2\,\frac{C_c + s}{S_c + s},\ \alpha_{\max}\Big)$$

    Sums over the voxels $i$ of an image. $S_c$ is the number of voxels of the class and $C_c$ that of its boundary:
    those with a neighbour along an axis that is not of the class; what lies outside of the image or is ignored is not.
    The larger the interior, the more of the intersection is taken from the union, so that the errors at the boundary
    keep their price. $\alpha_c$ has no gradient, and nothing to do with the prices of false positives. The paper is in
    2D; 1D and 3D are an extension.

    Args:
        alpha_max: The largest $\alpha_c$, from -1 to 1.
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image and class, (B, C); (1, C) with `batch`.

    Raises:
        ValueError: If `alpha_max` is not from -1 to 1, `smooth` is negative, or an input has the wrong shape, type or
            values.

    References:
        [sun2023boundarydou]

    Examples:
        >>> logits = torch.tensor([[[-20.0, 20.0, 20.0, 20.0, 20.0, 20.0, 20.0, -20.0]]])
        >>> target = torch.tensor([[0, 1, 1, 1, 1, 1, 0, 0]])
        >>> boundary_dou_loss(logits, target)
        tensor(0.2000)
    """
    not_negative(smooth=smooth)
    if not -1 <= alpha_max <= 1:
        raise ValueError(f"alpha_max must be from -1 to 1, got {alpha_max}")
    how = activation, include_background, weight, absent, ignore_index, mask, batch, group, reduction
    e = evidence(logits, target, *how, terms=(SQUARES,), soft=False)
    (squares,) = e.terms
    g = e.inputs.spatial(true_mask(e.inputs)[:, class_range(logits, include_background).start :])
    boundary = e.pooled(inner_boundary(g, outside=True).flatten(2).sum(2, dtype=squares.dtype))
    alpha = (1 - 2 * (boundary + smooth) / (e.g + smooth)).clamp(max=alpha_max)
    return over_classes(ratio(squares - 2 * e.tp + smooth, squares - (1 + alpha) * e.tp + smooth), e)
