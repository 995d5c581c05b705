"""Logits as they are changed before the sums are taken: times a factor, and those of the truth less a margin."""

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import At, Block, part
from segloss.core.inputs import compute_dtype
from segloss.core.truth import How, truth


def changed(x: Block, g: Tensor, how: How) -> Block:
    """The logits as `how` says; `g` is the membership or the index of the true class."""
    x = x if how.scale == 1 else x * how.scale
    return x if how.lowered is None else lowered(x, g, how.lowered, how.joint)


def lowered(x: Block, g: Tensor, margin: Float[Tensor, " C"], joint: bool = True) -> Block:
    """Logits less the margin of the true class, or of each channel in favour of its own yes or no."""
    if not g.is_floating_point():
        return x.scatter_add(1, g, -margin.to(x.dtype)[g])
    return torch.addcmul(x, g if joint else 2 * g - 1, margin.to(x.dtype).view(-1, 1), value=-1)


def scores_of(logits: Block, labels: Tensor, valid: Tensor | None, how: How, at: At) -> Block:
    """The logits of a block, changed."""
    if how.lowered is None and how.scale == 1:
        return at.of(logits)
    x, label, here = at.of(logits).to(compute_dtype(logits.dtype)), at.of(labels), part(valid, at)
    return changed(x, x if how.lowered is None else truth(x, label, here, how), how)
