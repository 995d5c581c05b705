"""What is changed before the sums are taken: logits of the truth lowered by a margin, or classes merged."""

import torch
from jaxtyping import Bool, Float
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


def known_of(how: How, at: At) -> Bool[Tensor, "B C"] | None:
    """Which classes the images of a block know, where others are merged."""
    return None if how.known is None else at.each(how.known)


def merged(p: Block, known: Bool[Tensor, "B C"]) -> Block:
    """Probabilities where the background has those of all classes that are not known, which have none."""
    merged = p * known.unsqueeze(2).to(p.dtype)
    merged[:, :1] = torch.bmm(_of_background(known).to(p.dtype).mT, p)
    return merged


def merged_logits(x: Block, known: Bool[Tensor, "B C"]) -> Block:
    """Logits of which the softmax is `merged`."""
    background = x.masked_fill(~_of_background(known), -torch.inf).logsumexp(1, keepdim=True)
    return torch.cat([background, x[:, 1:].masked_fill(~known[:, 1:, None], -torch.inf)], 1)


def _of_background(known: Bool[Tensor, "B C"]) -> Bool[Tensor, "B C 1"]:
    """Which classes the background stands for, itself among them."""
    others = ~known
    others[:, 0] = True
    return others.unsqueeze(2)


def spread(slope: Block, known: Bool[Tensor, "B C"]) -> Block:
    """The slope with respect to what was merged, from that with respect to `merged`."""
    return torch.where(known.unsqueeze(2), slope, slope[:, :1])


def shares(p: Block, q: Block, g: Tensor, known: Bool[Tensor, "B C"]) -> Block:
    """The part of each class in the probability of the truth, of which `g` is the membership or the index."""
    if not g.is_floating_point():
        g = torch.zeros_like(p).scatter(1, g, 1)
    others = _of_background(known).to(p.dtype)
    return (g[:, :1] / q[:, :1] * p).mul_(others).addcmul_(g, 1 - others)


def shares_of_logits(x: Block, g: Tensor, known: Bool[Tensor, "B C"]) -> Block:
    """The same from the logits, where probabilities may be too small to divide by."""
    q = merged_logits(x, known)
    of_background = (x - q[:, :1]).masked_fill(~_of_background(known), -torch.inf).exp()
    return shares(of_background, torch.ones_like(q), g, known)
