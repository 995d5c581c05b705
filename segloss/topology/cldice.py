"""Overlap of masks with the soft skeletons of each other, and its sum with soft Dice."""

from jaxtyping import Float
from torch import Tensor, uint8

from segloss.core import (
    Activation,
    Evidence,
    Labels,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    class_range,
    evidence,
    not_negative,
    over_images,
    ratio,
    soft_masks,
    soft_skeleton,
    spatial_sum,
)


def soft_cldice_loss(
    logits: Logits,
    target: Labels,
    *,
    iterations: int = 10,
    smooth: float = 1.0,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the soft clDice coefficient, which asks for the centre line of each mask to lie within the other.

    $$L = 1 - \frac{2\, T_p T_s}{T_p + T_s}, \qquad
    T_p = \frac{\sum_{i,c} S(p)_{ic}\, g_{ic} + s}{\sum_{i,c} S(p)_{ic} + s}, \qquad
    T_s = \frac{\sum_{i,c} S(g)_{ic}\, p_{ic} + s}{\sum_{i,c} S(g)_{ic} + s}$$

    Sums over the voxels $i$ and the classes $c$ of an image. The soft skeleton joins what openings take away,
    $S(y) = 1 - \prod_{k=0}^{n} (1 - \Delta_k)$ with $\Delta_k = \max(I_k - D(E(I_k)), 0)$, $I_0 = y$ and
    $I_{k+1} = E(I_k)$. The erosion $E$ is the minimum over a voxel and its neighbours along the axes, the dilation $D$
    the maximum over a box of three voxels a side. Windows end at the border of the image and of what is ignored. Where
    all voxels of a window are equal, no opening takes anything away: a flat prediction has no skeleton.

    Args:
        iterations: Number of erosions $n$, at least the radius in voxels of the thickest structure.
        smooth: The constant $s$.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `iterations` or `smooth` is negative, or an input has the wrong shape, type or values.

    References:
        [shit2021cldice]

    Examples:
        >>> target = torch.zeros(1, 5, 7, dtype=torch.long)
        >>> target[:, 1:4, 1:6] = 1
        >>> logits = 40.0 * target[:, None] - 20
        >>> logits[..., 3] = -20.0
        >>> soft_cldice_loss(logits, target, iterations=3, smooth=0.0)
        tensor(0.2000)
    """
    not_negative(iterations=iterations, smooth=smooth)
    e = evidence(
        logits, target, activation, include_background, None, "smooth", ignore_index, mask, batch, group, reduction
    )
    return over_images(1 - _cldice(e, iterations, smooth, include_background), e)


def soft_dice_cldice_loss(
    logits: Logits,
    target: Labels,
    *,
    alpha: float = 0.5,
    iterations: int = 10,
    smooth: float = 1.0,
    dice_smooth: float = 1.0,
    activation: Activation = "auto",
    include_background: bool = True,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""The soft Dice loss and the soft clDice loss in shares that add up to one.

    $$L = (1 - \alpha)
    \Big(1 - \frac{2 \sum_{i,c} p_{ic} g_{ic} + s_D}{\sum_{i,c} p_{ic} + \sum_{i,c} g_{ic} + s_D}\Big)
    + \alpha\, L_{clDice}$$

    Sums over the voxels $i$ and the classes $c$ of an image; $L_{clDice}$ is that of `soft_cldice_loss`.

    Args:
        alpha: Share $\alpha$ of the clDice loss, from 0 to 1; the paper tries 0 to 0.5.
        iterations: Number of erosions of the skeleton, at least the radius in voxels of the thickest structure.
        smooth: The constant of the clDice loss.
        dice_smooth: The constant $s_D$ of the Dice loss.

    Returns:
        A scalar from 0 to 1, or with `reduction="none"` one loss an image, (B,); (1,) with `batch`.

    Raises:
        ValueError: If `alpha` is not from 0 to 1, `iterations`, `smooth` or `dice_smooth` is negative, or an input has
            the wrong shape, type or values.

    References:
        [shit2021cldice]

    Examples:
        >>> target = torch.zeros(1, 5, 7, dtype=torch.long)
        >>> target[:, 1:4, 1:6] = 1
        >>> logits = 40.0 * target[:, None] - 20
        >>> logits[..., 3] = -20.0
        >>> soft_dice_cldice_loss(logits, target, iterations=3, smooth=0.0, dice_smooth=0.0)
        tensor(0.1556)
    """
    not_negative(iterations=iterations, smooth=smooth, dice_smooth=dice_smooth)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be from 0 to 1, got {alpha}")
    e = evidence(
        logits, target, activation, include_background, None, "smooth", ignore_index, mask, batch, group, reduction
    )
    tp, p, g = (sums.sum(1) for sums in (e.tp, e.p, e.g))
    dice = ratio(2 * tp + dice_smooth, p + g + dice_smooth)
    cldice = _cldice(e, iterations, smooth, include_background)
    return over_images((1 - alpha) * (1 - dice) + alpha * (1 - cldice), e)


def _cldice(e: Evidence, iterations: int, smooth: float, include_background: bool) -> Float[Tensor, " B"]:
    x = e.inputs
    first = class_range(x.logits, include_background).start
    p, g = (x.spatial(y[:, first:]) for y in soft_masks(x))
    valid = None if x.valid is None else x.spatial(x.valid)
    exact = g if x.dense and x.labels.is_floating_point() else g.to(uint8)
    s_p, s_g = soft_skeleton(p, iterations, valid), soft_skeleton(exact, iterations, valid)
    t_p = ratio(_sum(s_p * g, e) + smooth, _sum(s_p, e) + smooth)
    t_s = ratio(_sum(s_g * p, e) + smooth, _sum(s_g, e) + smooth)
    return ratio(2 * t_p * t_s, t_p + t_s, empty=0.0)


def _sum(y: Tensor, e: Evidence) -> Float[Tensor, " B"]:
    return e.pooled(spatial_sum(y).sum(1))
