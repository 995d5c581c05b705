"""A small synthetic image whose segmentation goes wrong in known ways, for the pictures of the losses."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

Mask = NDArray[np.bool_]
Field = NDArray[np.float64]
SIDE = 64
Y, X = np.mgrid[:SIDE, :SIDE]


@dataclass(frozen=True)
class State:
    """A prediction, and in words what is wrong with it."""

    name: str
    wrong: str
    predicted: Mask


def beyond(y: float, x: float, radius: float) -> Field:
    """Distance to a circle, negative inside."""
    return np.hypot(Y - y, X - x) - radius


def disc(y: float, x: float, radius: float, stretch: float = 1.0) -> Mask:
    """A disc, or an ellipse that is wider by `stretch`."""
    return (Y - y) ** 2 + ((X - x) / stretch) ** 2 <= radius**2


def organ() -> Mask:
    """A large region."""
    return disc(24, 22, 13, 1.2) | disc(30, 30, 10)


def lesion() -> Mask:
    """A small region apart from it."""
    return disc(14, 52, 4)


def vessel() -> Mask:
    """A curved line, two voxels wide."""
    return np.abs(Y - (52 + 3.5 * np.sin(X / 7))) < 1.2


def truth() -> Mask:
    """The foreground."""
    return organ() | lesion() | vessel()


def states() -> tuple[State, ...]:
    """Five predictions, each with one kind of error."""
    gap = vessel() & (np.abs(X - 34) < 5)
    return (
        State("Miss", "the small region is missed", truth() & ~lesion()),
        State("Over-segmentation", "the large region is drawn too large", truth() | widened(organ(), 4)),
        State("Shift", "everything is shifted by three voxels", np.roll(truth(), (2, 3), (0, 1))),
        State("Broken vessel", "the vessel has a gap", truth() & ~gap),
        State("False hole", "the large region has a hole", truth() & ~disc(26, 24, 4)),
    )


def widened(mask: Mask, radius: float) -> Mask:
    """A mask and all that is within a radius of it."""
    return np.asarray(ndimage.distance_transform_edt(~mask)) <= radius


def noisy(mask: Mask, amplitude: float, seed: int) -> Field:
    """Distance to the contour of a mask, displaced by smooth noise of a standard deviation in voxels."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(mask.shape), 2.5)
    return signed_distance(signed_distance(mask) < amplitude * noise / noise.std())


def signed_distance(mask: Mask) -> Field:
    """Distance to the contour, negative inside."""
    if not mask.any():
        return nothing()
    return np.asarray(ndimage.distance_transform_edt(~mask)) - np.asarray(ndimage.distance_transform_edt(mask))


def nothing() -> Field:
    """The distance to a contour that is nowhere."""
    return np.full((SIDE, SIDE), float(SIDE))


def scores(distance: Field) -> Tensor:
    """Logits (1, 1, H, W) of a prediction that is sure away from its contour."""
    return torch.from_numpy(np.clip(-1.6 * distance, -4, 4)).view(1, 1, *distance.shape)


def labels(mask: Mask) -> Tensor:
    """A mask as class indices (1, H, W)."""
    return torch.from_numpy(mask.astype(np.int64)).unsqueeze(0)


def image(target: Tensor) -> Tensor:
    """Intensities that follow the truth, with a shading and a little noise."""
    noise = torch.randn(target.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    shading = torch.linspace(0, 0.3, target.shape[-1], dtype=torch.float64)
    return (target + shading + 0.05 * noise).unsqueeze(1)


def weight_map(target: Tensor) -> Tensor:
    """Weights that fall with the distance to the contour."""
    distance = torch.from_numpy(np.abs(np.stack([signed_distance(mask) for mask in target.numpy() > 0])))
    return (1 + 4 * torch.exp(-distance / 4)).unsqueeze(1)


EXTRAS: Mapping[str, Callable[[Tensor], Any]] = {
    "image": image,
    "weight_map": weight_map,
    "annotated": lambda target: [[1]] * len(target),
    "partner": lambda target: target,
    "adjacency": lambda target: torch.eye(2, dtype=torch.float64),
    "share": lambda target: 1.0,
}
"""Inputs that a loss may require besides logits and target, by the name of their parameter."""
