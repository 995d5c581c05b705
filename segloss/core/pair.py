"""The sums of two classes that exclude each other, from one difference of logits instead of a softmax."""

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, kept
from segloss.core.inputs import sum_dtype


def pair_sums(logits: Block, labels: Tensor, valid: Tensor | None, work: tuple[Block, Block]) -> Float[Tensor, "B 3 2"]:
    """The sums of p, p g and g of both classes.

    It is the errors that are added up, not the hits, so that a rare class comes out as exact as a common one.
    """
    p, g = _opposed(logits, labels, valid, work)
    wrong = torch.einsum("bcn,bcn->bc", p, g).to(sum_dtype(p.device))
    size = g.sum(2).to(wrong.dtype)
    missed = wrong.flip(1)
    return torch.stack([size - wrong + missed, size - wrong, size], 1)


def pair_gradient_(
    out: Block,
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    price: Float[Tensor, "B K 2"],
    work: tuple[Block, Block],
) -> None:
    """Write the gradient of the priced sums into `out`."""
    p, g = _opposed(logits, labels, valid, work)
    of_p, of_tp, _ = price.to(p.dtype).unbind(1)
    rise = (of_p.diff(dim=1) - of_tp[:, :1]).unsqueeze(-1)
    slope = g[:, 1:].mul_(of_tp.sum(1).view(-1, 1, 1)).add_(rise).mul_(p[:, :1]).mul_(p[:, 1:])
    out[:, 1:] = slope
    out[:, :1] = slope.neg_()


def _opposed(logits: Block, labels: Tensor, valid: Tensor | None, work: tuple[Block, Block]) -> tuple[Block, Block]:
    """The probability of the other class, and the truth of this one, for both classes, in the arrays of `work`.

    Their product is what each class is missed by. The truth is zero where ignored, and so is one of the probabilities.
    """
    p, g = work
    foreground = p[:, :1].copy_(logits[:, 1:]).sub_(logits[:, :1])
    kept(foreground.sigmoid_(), valid, in_place=True)
    torch.sub(1, foreground, out=p[:, 1:])
    torch.sub(1, g[:, 1:].copy_(labels), out=g[:, :1])
    return p, kept(g, valid, in_place=True)
