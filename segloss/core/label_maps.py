"""Label maps as arrays, for what is computed once an image."""

import numpy as np
import torch
from jaxtyping import Integer, Shaped
from torch import Tensor

LabelMap = Integer[Tensor, "B *S"] | Integer[Tensor, "B 1 *S"] | Shaped[Tensor, "B *S"]


def label_maps(name: str, labels: LabelMap) -> np.ndarray:
    """Labels (B, *S), 0 for the background; `name` is what the argument is called."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(labels).__name__}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"{name} must be integer or boolean, got {labels.dtype}")
    flat = labels.squeeze(1) if labels.ndim > 2 and labels.shape[1] == 1 else labels
    if not 2 <= flat.ndim <= 4 or 0 in flat.shape:
        shape = tuple(labels.shape)
        raise ValueError(f"{name} must be (B, *S) or (B, 1, *S) with one to three spatial axes, got shape {shape}")
    maps = flat.cpu().numpy().astype(np.int64)
    if (least := maps.min()) < 0:
        raise ValueError(f"{name} must be 0 in the background and positive elsewhere, got {least}")
    return maps


def as_weight_map(weights: np.ndarray, like: Tensor) -> Tensor:
    """Weights (B, *S) as a map (B, 1, *S), on the device of `like`."""
    return torch.as_tensor(weights, dtype=torch.get_default_dtype(), device=like.device).unsqueeze(1)
