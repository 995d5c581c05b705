"""The weight map of a layer, from its mask."""

import numpy as np
from jaxtyping import Float
from torch import Tensor

from segloss.core import LabelMap, as_weight_map, label_maps


def layer_weight_map(target: LabelMap) -> Float[Tensor, "B 1 Z X"]:
    r"""Weights that rise with the distance in depth from a layer, for `layer_smoothness_loss`.

    $$w_{z,x} = \begin{cases} a_x - z & z < a_x \\ 1 & a_x \le z \le b_x \\ 1 + z - b_x & z > b_x \end{cases}$$

    $a_x$ and $b_x$ are the first and the last pixel of the layer in column $x$, with depth $z$ on the first spatial
    axis. The weight is 1 in a column without layer. Above, the count starts beside the layer, below on its last pixel,
    as in the authors' code.

    Args:
        target: The layer, integer or boolean (B, Z, X) or (B, 1, Z, X): 0 outside.

    Returns:
        The weights, (B, 1, Z, X), floating, on the device of `target`.

    Raises:
        ValueError: If `target` does not have two spatial axes, or the wrong type or values.

    References:
        [gerl2020distance]

    Examples:
        >>> target = torch.tensor([[[0], [0], [1], [1], [0], [0]]])
        >>> layer_weight_map(target).flatten()
        tensor([2., 1., 1., 1., 2., 3.])
    """
    layer = label_maps("target", target) > 0
    if layer.ndim != 3:
        raise ValueError(f"target must be (B, Z, X) or (B, 1, Z, X), got {tuple(target.shape)}")
    z, depth = np.arange(layer.shape[1])[:, None], layer.shape[1]
    first = layer.argmax(1)[:, None]
    last = depth - 1 - layer[:, ::-1].argmax(1)[:, None]
    weights = np.where(z < first, first - z, 1 + (z - last).clip(0))
    return as_weight_map(np.where(layer.any(1, keepdims=True), weights, 1.0), target)
