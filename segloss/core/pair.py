"""The sums of two classes that exclude each other, from one difference of logits instead of a softmax."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, kept
from segloss.core.inputs import sum_dtype

Work = tuple[Block, Block]


def pair_sums(logits: Block, labels: Tensor, valid: Tensor | None, work: Work) -> Float[Tensor, "B 3 2"]:
    """The sums of p, p g and g of both classes.

    It is the errors that are added up, not the hits, so that a rare class comes out as exact as a common one.
    """
    p, g = _opposed(logits, labels, valid, work)
    wrong = torch.einsum("bcn,bcn->bc", p, g).to(sum_dtype(p.device))
    size = g.sum(2).to(wrong.dtype)
    missed = wrong.flip(1)
    return torch.stack([size - wrong + missed, size - wrong, size], 1)


def pair_log_p_(out: Tensor, logits: Block, labels: Tensor, valid: Tensor | None, work: Work) -> None:
    """Write the log-probability of the truth into `out`."""
    margin, sign = _difference(logits, work), work[1][:, 1:].copy_(labels).mul_(2).sub_(1)
    out.copy_(kept(F.logsigmoid(margin.mul_(sign)), valid))


def pair_gradient_(
    out: Block,
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    price: Float[Tensor, "B K 2"] | None,
    rise: Float[Tensor, "B 1 N"] | None,
    work: Work,
) -> None:
    """Write the gradient of the priced sums and log-probabilities into `out`."""
    p, g = _opposed(logits, labels, valid, work)
    foreground, truth = p[:, :1], g[:, 1:]
    slope = 0.0 if rise is None else (truth - foreground).mul_(rise)
    if price is not None:
        of_p, of_tp, _ = price.to(p.dtype).unbind(1)
        constant = (of_p.diff(dim=1) - of_tp[:, :1]).unsqueeze(-1)
        overlap = truth.mul_(of_tp.sum(1).view(-1, 1, 1)).add_(constant).mul_(foreground).mul_(p[:, 1:])
        slope = overlap if rise is None else overlap.add_(slope)
    out[:, 1:] = slope
    out[:, :1] = -slope


def _difference(logits: Block, work: Work) -> Block:
    return work[0][:, :1].copy_(logits[:, 1:]).sub_(logits[:, :1])


def _opposed(logits: Block, labels: Tensor, valid: Tensor | None, work: Work) -> tuple[Block, Block]:
    """The probability of the other class, and the truth of this one, for both classes, in the arrays of `work`.

    Their product is what each class is missed by. The truth is zero where ignored, and so is one of the probabilities.
    """
    p, g = work
    foreground = kept(_difference(logits, work).sigmoid_(), valid, in_place=True)
    torch.sub(1, foreground, out=p[:, 1:])
    torch.sub(1, g[:, 1:].copy_(labels), out=g[:, :1])
    return p, kept(g, valid, in_place=True)
