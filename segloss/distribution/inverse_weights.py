"""Weights that give every lesion the same total, whatever its size."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from segloss.core import LabelMap, as_weight_map, label_maps, not_negative


def inverse_weight_map(target: LabelMap, *, w_min: float = 1.0, w_max: float | None = 2e5) -> Float[Tensor, "B 1 *S"]:
    r"""Weights inverse to the size of the connected components, for the weighted losses.

    $$w_i = \frac{N}{(K + 1)\,|C_j|} \quad \text{for } i \in C_j$$

    $C_0$ is the background of an image of $N$ voxels, $C_1$ to $C_K$ are the connected components of the foreground,
    joined across faces, edges and corners. It depends on the labels alone and is computed on the CPU, for each patch
    that is trained with.

    Args:
        target: Foreground, boolean or integer with every label above 0, (B, \*S) or (B, 1, \*S).
        w_min: Least weight. The value of the authors' code raises the weight of most backgrounds; 0 is the formula.
        w_max: Greatest weight; None for no limit, as in the formula.

    Returns:
        The weights, (B, 1, \*S), floating, on the device of `target`.

    Raises:
        ValueError: If `w_min` is negative or greater than `w_max`, or `target` has the wrong shape, type or values.

    References:
        [shirokikh2020universal]

    Examples:
        >>> target = torch.tensor([[1, 0, 0, 0, 1, 1]])
        >>> inverse_weight_map(target, w_min=0.0)
        tensor([[[2.0000, 0.6667, 0.6667, 0.6667, 1.0000, 1.0000]]])
    """
    not_negative(w_min=w_min)
    top = math.inf if w_max is None else w_max
    if not w_min <= top:
        raise ValueError(f"w_max must be at least w_min={w_min}, got {w_max}")
    weights = np.stack([_weights(image > 0) for image in label_maps("target", target)])
    return as_weight_map(weights.clip(w_min, top), target)


def _weights(foreground: np.ndarray) -> np.ndarray:
    """Every component, the background too, gets the same total."""
    from scipy.ndimage import label

    component = np.empty(foreground.shape, np.int64)
    label(foreground, np.ones((3,) * foreground.ndim), output=component)
    sizes = np.bincount(component.ravel())
    return (foreground.size / (len(sizes) * sizes.clip(1)))[component]
