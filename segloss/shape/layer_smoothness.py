"""Cross-entropy with a penalty on gaps and jags along a layer."""

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    HardLabels,
    Inputs,
    Logits,
    Mask,
    ProcessGroup,
    Reduction,
    Value,
    WeightMap,
    check_reduction,
    flat_weight_map,
    log_likelihood,
    not_negative,
    over_voxels,
    per_map,
    prepare,
)
from segloss.core.blocks import predicted

Map = Float[Tensor, "B C Z X"]


def layer_smoothness_loss(
    logits: Logits,
    target: HardLabels,
    *,
    ce_weight: float = 1.0,
    smoothness_weight: float = 1000.0,
    window: int = 5,
    weight_map: WeightMap | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Cross-entropy, plus how far the probabilities are from their mean along the layer.

    $$L_i = -\lambda_{CE}\,w_i \log p_i + s \left|\frac{1 + \bar y_i}{1 + y_i} - 1\right|, \qquad
    \bar y_{z,x} = \frac{1}{n} \sum_{d=-h}^{h} y_{z,x+d}, \qquad n = 2h + 1$$

    $y$ is the probability of the layer, $p$ that of the truth. The image has two axes: depth $z$ and, last, the axis
    $x$ along which the layer runs. Steps in depth cost nothing. A pixel whose window leaves the image, or reaches what
    is ignored, has no smoothness term. Channels are layers, each of which may overlap the others. The paper adds up the
    pixels, which is `reduction="sum"`.

    Args:
        ce_weight: Weight $\lambda_{CE}$ of cross-entropy; 0 leaves the smoothness term.
        smoothness_weight: Weight $s$ of the smoothness term.
        window: Width $n$ of the window in pixels, odd.
        weight_map: Weights $w$ of at least 0, (B, 1, \*S) or (B, \*S), such as those of `layer_weight_map`. None stands
            for 1.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss a pixel, (B, \*S); of several channels (B, C, \*S).

    Raises:
        ValueError: If a weight is negative, `window` is not an odd number of pixels, logits do not have two spatial
            axes, class indices meet several channels, or an input has the wrong shape, type or values.

    References:
        [gerl2020distance]

    Examples:
        >>> logits = torch.tensor([[[[20.0, 20.0, -20.0, 20.0, 20.0]]]])
        >>> target = torch.tensor([[[1, 1, 1, 1, 1]]])
        >>> layer_smoothness_loss(logits, target, ce_weight=0.0, smoothness_weight=1.0, window=3, reduction="none")
        tensor([[[0.0000, 0.1667, 0.6667, 0.1667, 0.0000]]])
    """
    not_negative(ce_weight=ce_weight, smoothness_weight=smoothness_weight)
    check_reduction(reduction)
    if window < 1 or window % 2 == 0:
        raise ValueError(f"window must be an odd number of pixels, got {window}")
    x = prepare(logits, target, activation="sigmoid", ignore_index=ignore_index, mask=mask, soft=False)
    if logits.ndim != 4:
        raise ValueError(f"logits must have two spatial axes, depth and the layer's, got shape {tuple(logits.shape)}")
    if logits.shape[1] > 1 and not x.dense:
        raise ValueError(f"target must be boolean (B, C, *S) where logits have {logits.shape[1]} channels")

    ce = -log_likelihood(x)
    if weight_map is not None:
        ce = flat_weight_map(weight_map, x) * ce
    y = x.spatial(predicted(x.logits, x.valid, x.activation))
    there = _has_window(x, window).expand(len(y), -1, -1, -1)
    smoothness = per_map(lambda y, there: torch.where(there, (_excess(y, window) / (1 + y)).abs(), 0), y, there)
    return over_voxels(ce_weight * ce + smoothness_weight * smoothness.flatten(2), x, reduction, group)


def _excess(y: Map, window: int) -> Map:
    """The mean along the last axis less the value itself, exactly 0 where all are the same; it wraps around."""
    steps = range(1, window // 2 + 1)
    return sum((y.roll(d, -1) + y.roll(-d, -1) - 2 * y for d in steps), start=torch.zeros_like(y)) / window


def _has_window(x: Inputs, window: int) -> Bool[Tensor, "B 1 Z X"]:
    """Whether a window lies in the image and meets nothing that is ignored."""
    ones = x.logits.new_ones(1, 1, *x.shape[2:], dtype=torch.float32)
    there = ones if x.valid is None else x.spatial(x.valid).float()
    share = F.avg_pool2d(there, (1, window), 1, (0, window // 2))
    return share > 1 - 0.5 / window
