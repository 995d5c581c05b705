"""Logits of the truth lowered by a margin before the sums are taken."""

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import At, Block, part
from segloss.core.inputs import compute_dtype
from segloss.core.truth import How, truth


def lowered(x: Block, g: Tensor, margin: Float[Tensor, " C"]) -> Block:
    """Logits less the margin of the true class, of which `g` is the membership or the index."""
    if g.is_floating_point():
        return torch.addcmul(x, g, margin.to(x.dtype).view(-1, 1), value=-1)
    return x.scatter_add(1, g, -margin.to(x.dtype)[g])


def scores_of(logits: Block, labels: Tensor, valid: Tensor | None, how: How, at: At) -> Block:
    """The logits of a block, less a margin if there is one."""
    if how.lowered is None:
        return at.of(logits)
    x = at.of(logits).to(compute_dtype(logits.dtype))
    return lowered(x, truth(x, at.of(labels), part(valid, at), how), how.lowered)
