"""How far the local structures of a prediction and of the truth are apart."""

from functools import partial
from typing import Any

from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.local_moments import Weights, local_moments
from segloss.core.looped import looped
from segloss.core.per_map import per_map

Map = Float[Tensor, "B C *S"]
Mask = Bool[Tensor, "B C *S"]


def structural_difference(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    """The difference, without its sign, of (y - μ + s) / (σ + s) at each voxel of `p` and of `g`.

    μ and σ are the moments of `local_moments` in a window of these weights, s is `smooth`.
    """
    how: Any = {"weights": weights, "smooth": smooth}
    plain = partial(_plain, **how)
    if loops := loops_for(p, "native_structure"):
        value, slope = partial(loops.structural_difference, **how), partial(loops.structural_difference_slope, **how)
        return looped(value, slope, plain, p, g)
    return per_map(plain, p, g)


def _plain(p: Map, g: Mask, weights: Weights, smooth: float) -> Map:
    def structure(y: Map) -> Map:
        mean, deviation = local_moments(y, weights)
        return (y - mean + smooth) / (deviation + smooth)

    return (structure(p) - structure(g.to(p.dtype))).abs()
