"""Active contours without edges, with the ground truth in the place of the image."""

from segloss.core import (
    Activation,
    ClassWeight,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    evidence,
    gradient_length,
    not_negative,
    over_classes,
    positive,
    ratio,
)
from segloss.core.blocks import predicted


def active_contour_loss(
    logits: Logits,
    target: Labels,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    smooth: float = 1e-8,
    aligned: bool = True,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Length of the predicted contour, plus what lies on its wrong side.

    $$L_c = \frac{1}{N'} \sum_i \sqrt{\sum_a (\nabla_a p_c)_i^2 + s} +
    \frac{1}{N} \Big(\alpha \sum_i p_{ic} (1 - g_{ic}) + \beta \sum_i (1 - p_{ic})\, g_{ic}\Big)$$

    $\nabla_a$ is the difference to the next of the $N$ voxels along axis $a$; $N'$ voxels have one along every axis. In
    the letters of the paper $\alpha = \lambda \mu$ and $\beta = \lambda$; it has sums where we, and the authors' code,
    have means, and squares $g$ and $1 - g$, which are 0 or 1 there. It is in 2D and for one foreground: several classes
    are each set against the rest.

    Args:
        alpha: Price $\alpha$ of what is wrongly inside.
        beta: Price $\beta$ of what is wrongly outside.
        smooth: The constant $s$; it keeps the gradient of the length finite where the prediction is flat.
        aligned: Whether the differences along all axes start from the same voxel, as the formula says. The authors'
            code starts that along axis $a$ one voxel further along $a$, and leaves two voxels out at the border.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `alpha` or `beta` is negative, `smooth` is not positive, or an input has the wrong shape, type or
            values.

    References:
        [chen2019acm]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, -20.0, -20.0, 20.0]]])
        >>> target = torch.tensor([[1, 1, 0, 0, 0]])
        >>> active_contour_loss(logits, target)
        tensor(0.7000)
    """
    not_negative(alpha=alpha, beta=beta)
    positive(smooth=smooth)
    how = activation, include_background, weight, "smooth", ignore_index, mask, False, group, reduction
    e = evidence(logits, target, *how)
    x = e.inputs
    p = x.spatial(predicted(x.logits, x.valid, x.activation))[:, -e.p.shape[1] :]
    valid = None if x.valid is None else x.spatial(x.valid)
    length = gradient_length(p, valid, smooth, aligned=aligned)
    wrongly_inside, wrongly_outside = (ratio(wrong, e.n, empty=0.0) for wrong in (e.fp, e.fn))
    return over_classes(length + alpha * wrongly_inside + beta * wrongly_outside, e)
