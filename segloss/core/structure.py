"""How far the local structures of a prediction and of the truth are apart."""

from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.local_moments import Weights, local_moments
from segloss.core.looped import looped

Map = Float[Tensor, "B C *S"]
Mask = Bool[Tensor, "B C *S"]


def structural_difference(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    """The difference, without its sign, of (y - μ + s) / (σ + s) at each voxel of `p` and of `g`.

    μ and σ are the moments of `local_moments` in a window of these weights, s is `smooth`.
    """
    return looped("native_structure", "structural_difference", _plain, p, g, weights=weights, smooth=smooth)


def _plain(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    def structure(y: Map) -> Map:
        mean, deviation = local_moments(y, weights)
        return (y - mean + smooth) / (deviation + smooth)

    return (structure(p) - structure(g.to(p.dtype))).abs()
