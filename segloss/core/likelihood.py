"""The log-probability of the truth in a block, losses of a voxel that are functions of it, and their gradients."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.blocks import Block, kept
from segloss.core.inputs import ResolvedActivation, can_look_at, sum_dtype
from segloss.core.truth import How

LogP = Float[Tensor, "B K N"]
Truth = Float[Tensor, "B C N"] | Integer[Tensor, "B 1 N"]
ByTruth = Float[Tensor, "B K C"]

SAFE = 1e-20
"""Probabilities above it have a logarithm of their own."""


def log_p_of(x: Block, p: Block, g: Truth, labels: Tensor, valid: Tensor | None, how: How) -> LogP:
    """The log-probability of the truth, from the logits and, where that is cheaper, from p."""
    x = kept(x.to(p.dtype), valid)
    if how.known is not None:
        log_p = of_true(x, g, valid).logsumexp(1, keepdim=True) - x.logsumexp(1, keepdim=True)
    elif how.joint:
        label = kept(labels.long(), valid)
        if how.activation == "none":
            log_p = p.gather(1, label).clamp(min=torch.finfo(p.dtype).tiny).log()
        elif p.requires_grad or torch.compiler.is_compiling():
            return log_p_alone(x, labels, valid)
        else:
            log_p = x.gather(1, label) - x.amax(1, keepdim=True) + p.amax(1, keepdim=True).log()
    else:
        if how.activation == "none":
            log_p = torch.where(g > 0, p, 1 - p).clamp(min=torch.finfo(p.dtype).tiny).log()
        else:
            log_p = F.logsigmoid(x * (2 * g - 1))
    return kept(log_p, valid)


def of_true(x: Block, g: Block, valid: Tensor | None) -> Block:
    """The logits of the classes that are true; of all where ignored."""
    return x.masked_fill(g == 0 if valid is None else (g == 0) & valid, -torch.inf)


def true_p(p: Block, g: Truth, valid: Tensor | None, how: How, hit: Block | None) -> LogP | None:
    """The probability of the true class, 1 where ignored, as p is 0; `hit` is p g, of a floating g.

    None where it has no meaning, or may be too small for its logarithm.
    """
    if not how.joint or how.activation != "softmax" or not can_look_at(p):
        return None
    found = p.gather(1, g) if hit is None else hit.sum(1, keepdim=True)
    found = found if valid is None else found.add_(~valid)
    return found if found.amin() > SAFE else None


def log_p_alone(x: Block, labels: Tensor, valid: Tensor | None, space: Block | None = None) -> LogP:
    """The log-probability of the true class under softmax, from the logits alone; `space` is used up."""
    return kept(torch.log_softmax(x, 1, out=space).gather(1, kept(labels.long(), valid)), valid)


def likelihood_slope(p: Block, g: Block, rise: LogP, activation: ResolvedActivation) -> Block:
    """The gradient of the priced log-probabilities with respect to the logits, but under softmax; g is used up."""
    if activation == "sigmoid":
        return g.sub_(p).mul_(rise)
    tiny = torch.finfo(p.dtype).tiny
    slope = torch.where(p > tiny, g / p, 0)
    if rise.shape[1] == p.shape[1]:
        slope -= torch.where(1 - p > tiny, (1 - g) / (1 - p), 0)
    return slope * rise


def by_truth(loss: LogP, g: Truth, joint: bool, classes: int) -> ByTruth:
    """The sums over the voxels of each truth: of each class, or of the yes and of the no of each channel."""
    dtype = sum_dtype(loss.device)
    if not g.is_floating_point():
        sums = loss.new_zeros(*loss.shape[:2], classes, dtype=dtype)
        return sums.scatter_add(2, g.expand_as(loss), loss.to(dtype))
    if joint and can_look_at(loss):
        return torch.bmm(loss, g.mT).to(dtype)
    if joint:  # the library for matrices is slow here on a GPU
        return torch.stack([(it.unsqueeze(1) * g).sum(2, dtype=dtype) for it in loss.unbind(1)], 1)
    return torch.stack([(loss * it).sum(2).to(dtype) for it in (g, 1 - g)], 1)


def of_truth(price: ByTruth, g: Truth, joint: bool) -> LogP:
    """The price of every voxel, by its truth."""
    if not g.is_floating_point():
        return price.gather(2, g.expand(-1, price.shape[1], -1))
    if joint:
        return torch.bmm(price, g)
    yes, no = price.unsqueeze(-1).unbind(1)
    return (yes - no) * g + no
