"""Cross-entropy that asks more of rare classes, and less of voxels that are right."""

from collections.abc import Collection

import torch

from segloss.core import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    check_reduction,
    log_likelihood,
    not_negative,
    over_total,
    over_voxels,
    together,
    voxel_sums,
)
from segloss.core.blocks import kept
from segloss.core.exclusive import exclusive, focal_log_loss, log_loss, rare_classes
from segloss.core.labels import by_label


def asymmetric_focal_margin_loss(
    logits: Logits,
    target: HardLabels,
    *,
    gamma: float = 4.0,
    margin: float = 1.0,
    rare: Collection[int] | None = None,
    asymmetric: bool = True,
    eps: float = 0.0,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy with a margin for rare classes and a focal factor for the others.

    $$L_i = \begin{cases} -\log (q_i + \epsilon) & y_i \text{ rare} \\
    -(1 - q_i + \epsilon)^\gamma \log (q_i + \epsilon) & \text{otherwise} \end{cases}$$

    $q_i$ is the probability of the true class $y_i$ after the margin $m$ is taken from its logit, which is done where
    $y_i$ is rare. At $m = 0$ it is the asymmetric focal loss, at $\gamma = 0$ the asymmetric large-margin loss. Without
    asymmetry margin and focal factor hold for all classes.

    Args:
        gamma: Focusing exponent $\gamma$.
        margin: The margin $m$.
        rare: Labels of the rare classes; None stands for all but the background.
        asymmetric: Whether rare classes are treated apart.
        eps: The constant $\epsilon$. The authors' code has 1e-6, which lets the loss fall to $-\epsilon$.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S).

    Raises:
        ValueError: If `gamma`, `margin` or `eps` is negative, `rare` names an unknown class, or an input has the
            wrong shape, type or values.

    References:
        [li2020overfitting]

    Examples:
        >>> logits = torch.zeros(1, 2, 2)
        >>> target = torch.tensor([[0, 1]])
        >>> asymmetric_focal_margin_loss(logits, target, gamma=2.0, margin=1.0, reduction="none")
        tensor([[0.1733, 1.3133]])
    """
    not_negative(gamma=gamma, margin=margin, eps=eps)
    check_reduction(reduction)
    x = exclusive(logits, target, activation, ignore_index, mask)
    is_rare, is_common = rare_classes(rare, asymmetric, x)
    lowered = margin * is_rare if margin else None
    rare_loss, common_loss = log_loss(eps), focal_log_loss(gamma, eps)
    if reduction == "none":
        log_p = log_likelihood(x, lowered=lowered)
        ours = (loss.value(-log_p.expm1(), -log_p) for loss in (common_loss, rare_loss))
        loss = over_voxels(kept(torch.where(by_label(is_common.unsqueeze(0), x.labels), *ours), x.valid), x, reduction)
    else:
        of_rare, of_common = voxel_sums(x, together(rare_loss, common_loss), lowered=lowered).unbind(1)
        loss = over_total(torch.where(is_common, of_common, of_rare).sum(), 1, x, reduction, group)
    return loss.to(logits.dtype)
