"""Maps that weight each voxel."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import kept
from segloss.core.inputs import Inputs, can_look_at, compute_dtype

WeightMap = Shaped[Tensor, "B 1 *S"] | Shaped[Tensor, "B *S"]


def flat_weight_map(weight_map: WeightMap, x: Inputs) -> Float[Tensor, "B 1 N"]:
    """A map of weights, checked and laid flat, 0 where ignored."""
    if not isinstance(weight_map, Tensor):
        raise TypeError(f"weight_map must be a tensor, got {type(weight_map).__name__}")
    b, _, *s = x.shape
    if tuple(weight_map.shape) not in ((b, 1, *s), (b, *s)):
        raise ValueError(f"weight_map must have shape {(b, 1, *s)} or {(b, *s)}, got {tuple(weight_map.shape)}")
    if weight_map.is_complex():
        raise ValueError(f"weight_map must hold real numbers, got {weight_map.dtype}")
    if weight_map.device != x.logits.device:
        raise ValueError(f"weight_map is on {weight_map.device}, but logits are on {x.logits.device}")
    flat = kept(weight_map.reshape(b, 1, -1).to(compute_dtype(x.logits.dtype)), x.valid)
    if can_look_at(flat):
        low, high = (v.item() for v in flat.detach().aminmax())
        if not 0 <= low <= high < torch.inf:
            raise ValueError(f"weight_map must hold finite numbers of at least 0, got {low} to {high}")
    return flat
