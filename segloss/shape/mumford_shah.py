"""Mumford-Shah functional of the predicted regions."""

from collections.abc import Sequence
from functools import reduce

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    HardLabels,
    Image,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    check_logits,
    check_reduction,
    checked_image,
    difference,
    forward_steps,
    not_negative,
    over_voxels,
    per_map,
    prepare,
    ratio,
)
from segloss.core.blocks import kept, predicted

Map = Float[Tensor, "B C *S"]


def mumford_shah_loss(
    logits: Logits,
    target: HardLabels | None,
    *,
    image: Image,
    tv_weight: float = 1e-3,
    squared: bool = False,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""How much the image varies within the predicted regions, plus the total variation of the regions.

    $$L_i = \sum_c \Big(p_{ic}\, \lVert I_i - m_c \rVert^2 + \lambda \sum_a |(\nabla_a p_c)_i|\Big), \qquad
    m_c = \frac{\sum_i p_{ic}\, I_i}{\sum_i p_{ic}}$$

    $I_i$ are the intensities of the image at voxel $i$, in all its channels, and $m_c$ their mean in the region of
    class $c$; $\nabla_a$ is the difference to the next voxel along axis $a$. The paper adds up over the voxels,
    `reduction="sum"`. No label enters: `target` only says, with `ignore_index`, which voxels count, and may be None.
    Of one channel, $1 - p$ is the second region.

    Args:
        image: The image that was segmented, (B, K, \*S) with any number of channels K.
        tv_weight: Weight $\lambda$ of the total variation.
        squared: Whether the differences are squared, in place of their absolute values.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a voxel, (B, \*S).

    Raises:
        ValueError: If `tv_weight` is negative, classes may overlap, or an input has the wrong shape, type or values.

    References:
        [kim2019mumford]

    Examples:
        >>> logits = torch.tensor([[[20.0, 20.0, 20.0, -20.0]]])
        >>> image = torch.tensor([[[1.0, 1.0, 4.0, 0.0]]])
        >>> mumford_shah_loss(logits, None, image=image, tv_weight=0.5).round(decimals=4)
        tensor(1.7500)
    """
    not_negative(tv_weight=tv_weight)
    check_reduction(reduction)
    check_logits(logits)
    if activation == "sigmoid" and logits.shape[1] > 1:
        raise ValueError('activation must not be "sigmoid" where logits have several channels: regions do not overlap')
    if target is None:
        target = logits.new_zeros((), dtype=torch.uint8).expand(logits.shape[0], *logits.shape[2:])
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    channels = checked_image(image, x).split(1, 1)
    valid = None if x.valid is None else x.spatial(x.valid)

    def energy(p: Map, valid: Bool[Tensor, "B 1 *S"] | None, *channels: Map) -> Map:
        fit = [p * (i - _mean(i, p)) ** 2 for i in channels]
        steps = forward_steps(p.ndim - 2)
        variation = [_at_start(difference(p, step, valid), step) for step in steps]
        return reduce(torch.add, fit) + tv_weight * reduce(torch.add, [d**2 if squared else d.abs() for d in variation])

    p = x.spatial(predicted(x.logits, x.valid, x.activation))
    if logits.shape[1] == 1:
        p = torch.cat([kept(1 - p, valid), p], 1)
    loss = per_map(energy, p, valid, *channels).sum(1, keepdim=True)
    return over_voxels(loss.flatten(2), x, reduction, group)


def _mean(i: Map, p: Map) -> Map:
    """Mean intensity of each region."""
    total, size = (y.flatten(2).sum(2) for y in (p * i, p))
    mean = ratio(total, size, empty=0.0)
    return mean.view(*p.shape[:2], *[1] * (p.ndim - 2))


def _at_start(d: Map, step: Sequence[int]) -> Map:
    """Differences in the place of the voxel they start from, 0 where there is none."""
    return F.pad(d, [size for s in reversed(step) for size in (0, s)])
