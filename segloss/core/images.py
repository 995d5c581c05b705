"""The image that was segmented, for losses that look at it."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.inputs import Inputs, can_look_at, compute_dtype

Image = Shaped[Tensor, "B K *S"]


def checked_image(image: Image, x: Inputs) -> Float[Tensor, "B K *S"]:
    """The image in the type voxels are computed in, 0 where ignored."""
    if not isinstance(image, Tensor):
        raise TypeError(f"image must be a tensor, got {type(image).__name__}")
    b, _, *s = x.shape
    if image.ndim != len(x.shape) or image.shape[0] != b or list(image.shape[2:]) != s or image.shape[1] == 0:
        expected = ", ".join(map(str, (b, "K", *s)))
        raise ValueError(f"image must have shape ({expected}) with any number of channels K, got {tuple(image.shape)}")
    if image.is_complex():
        raise ValueError(f"image must hold real numbers, got {image.dtype}")
    if image.device != x.logits.device:
        raise ValueError(f"image is on {image.device}, but logits are on {x.logits.device}")
    intensity = image.to(compute_dtype(x.logits.dtype))
    if x.valid is not None:
        intensity = intensity.masked_fill(~x.spatial(x.valid), 0)
    if can_look_at(intensity) and not bool(torch.isfinite(intensity).all()):
        raise ValueError("image must hold finite numbers where it counts, got NaN or infinity")
    return intensity
