"""The weight map of the U-Net, from instance labels."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from segloss.core import LabelMap, as_weight_map, check_spacing, label_maps, not_negative, one_of, positive

Distance = np.ndarray

NEGLIGIBLE = 9.0  # exp(-9² / 2) is less than 1e-17


def unet_weight_map(
    instances: LabelMap,
    *,
    class_weight: Sequence[float] | Literal["balanced"] | None = None,
    w0: float = 10.0,
    sigma: float = 5.0,
    balance_sigma: float | None = None,
    spacing: Sequence[float] | None = None,
    border: Literal["background", "all"] = "background",
) -> Float[Tensor, "B 1 *S"]:
    r"""Weights that balance the classes and raise the gaps between cells, for `weighted_cross_entropy_loss`.

    $$w_i = w_c + w_0 \exp\left(-\frac{(d_1 + d_2)^2}{2 \sigma^2}\right)$$

    $d_1$ and $d_2$ are the distances from voxel $i$ to the nearest and the second nearest cell, 0 inside. It depends on
    the labels alone and is computed once an image, on the CPU.

    Args:
        instances: Integer (B, \*S) or (B, 1, \*S): 0 for the background, one positive number a cell.
        class_weight: Weights $w_c$ of background and cells. `"balanced"` gives both the same total in each image; None
            stands for 1.
        w0: Height $w_0$ of the border term.
        sigma: Width $\sigma$ of the border term, in voxels or the units of `spacing`.
        balance_sigma: Distance from a cell over which the background's weight falls from that of cells to its own,
            as $\exp(-d_1^2 / 2 \sigma_b^2)$; None for a step.
        spacing: Size of a voxel along each axis. None stands for 1.
        border: Where the border term is added: `"background"`, or `"all"`, also inside of cells.

    Returns:
        The weights, (B, 1, \*S), floating, on the device of `instances`.

    Raises:
        ValueError: If a number is out of range, or `instances` has the wrong shape, type or values.

    References:
        [ronneberger2015unet]

    Examples:
        >>> instances = torch.tensor([[1, 1, 0, 0, 2, 2]])
        >>> unet_weight_map(instances, sigma=3.0)
        tensor([[[1.0000, 1.0000, 7.0653, 7.0653, 1.0000, 1.0000]]])
    """
    positive(sigma=sigma, **({} if balance_sigma is None else {"balance_sigma": balance_sigma}))
    not_negative(w0=w0)
    one_of("border", border, ("background", "all"))
    labels = label_maps("instances", instances)
    size = check_spacing(spacing, labels.ndim - 1)
    weights = np.empty(labels.shape)
    for label, out in zip(labels, weights, strict=True):
        cells, (background, foreground) = label > 0, _class_weights(class_weight, label)
        out[:] = np.where(cells, foreground, background)
        if not cells.any():
            continue
        nearest = _distance(cells, size)
        if balance_sigma is not None:
            out += ~cells * (foreground - background) * np.exp(-(nearest**2) / (2 * balance_sigma**2))
        rise = w0 * np.exp(-((nearest + _second(label, size, NEGLIGIBLE * sigma)) ** 2) / (2 * sigma**2))
        out += rise if border == "all" else ~cells * rise
    return as_weight_map(weights, instances)


def _class_weights(weight: Sequence[float] | Literal["balanced"] | None, label: np.ndarray) -> tuple[float, float]:
    """Weights of background and cells."""
    if weight is None:
        return 1.0, 1.0
    if weight == "balanced":
        share = np.count_nonzero(label) / label.size
        return (0.5 / (1 - share), 0.5 / share) if 0 < share < 1 else (1.0, 1.0)
    if isinstance(weight, str) or len(weight) != 2 or not all(0 <= one < math.inf for one in weight):
        raise ValueError(f'class_weight must be "balanced" or two numbers of at least 0, got {weight!r}')
    return float(weight[0]), float(weight[1])


def _second(label: np.ndarray, size: Sequence[float], reach: float) -> Distance:
    """Distance to the second nearest cell; infinite beyond `reach`."""
    first, second = np.full((2, *label.shape), np.inf)
    for box, cell in _cells(label, [math.ceil(reach / step) for step in size]):
        distance = _distance(cell, size)
        second[box] = np.minimum(second[box], np.maximum(first[box], distance))
        first[box] = np.minimum(first[box], distance)
    return second


def _cells(label: np.ndarray, margin: Sequence[int]) -> Iterator[tuple[tuple[slice, ...], np.ndarray]]:
    """A box around each cell, with a margin, and where the cell is in it."""
    from scipy.ndimage import find_objects

    names, number = np.unique(label, return_inverse=True)
    number = number.reshape(label.shape) + (names[0] > 0)
    for name, found in enumerate(find_objects(number), 1):
        box = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(found, margin, strict=True))
        yield box, number[box] == name


def _distance(there: np.ndarray, size: Sequence[float]) -> Distance:
    """Distance to the voxels of a set that is not empty."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(~there, sampling=size))
