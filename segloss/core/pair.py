"""Two classes that exclude each other, from one difference of logits instead of a softmax."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import Block, blocks, kept, part, weighted
from segloss.core.inputs import compute_dtype, sum_dtype
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.truth import How


def is_pair(logits: Block, how: How) -> bool:
    """Whether a pass is one of this module."""
    plain = not how.dense and not how.terms and how.cost is None
    return plain and how.activation == "softmax" and logits.shape[1] == 2


def pair_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How
) -> tuple[Float[Tensor, "B 3 2"] | None, LogP | None, ByTruth | None]:
    """The pass of `sums`, block by block.

    Errors are what is added up, not hits, so that a rare class comes out as exact as a common one.
    """
    images, _, voxels = logits.shape
    size, missed, losses = logits.new_zeros(3, images, 2, dtype=sum_dtype(logits.device))
    log_p = logits.new_empty(images, 1, voxels, dtype=compute_dtype(logits.dtype)) if how.likelihood else None
    for at, work in blocks(logits):
        pair, images_here = _Pair(logits[at], labels[at], part(valid, at), work), at[0]
        if how.sums:
            size[images_here] += pair.g.sum(2)
            missed[images_here] += pair.by_class(pair.q)
        if how.voxel is not None or log_p is not None:
            ce = pair.cross_entropy_()
            if how.voxel is not None:
                loss = weighted(how.voxel.value(pair.q, ce), part(how.weights, at))
                losses[images_here] += pair.by_class(loss)
            if log_p is not None:
                log_p[at] = kept(ce.neg_(), pair.valid, in_place=True)
    hit = size - missed
    sums = torch.stack([hit + missed.flip(1), hit, size], 1) if how.sums else None
    return sums, log_p, losses.unsqueeze(1) if how.voxel else None


def pair_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    of_sums: Float[Tensor, "B 3 2"] | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass."""
    gradient, dtype = torch.empty_like(logits), compute_dtype(logits.dtype)
    of_missed = None
    if of_sums is not None:
        of_p, of_tp, _ = of_sums.to(dtype).unbind(1)
        constant = of_p.diff(dim=1)
        of_missed = torch.cat([constant - of_tp[:, :1], constant + of_tp[:, 1:]], 1)
    if of_losses is not None:
        of_losses = of_losses[:, 0].to(dtype) * of_losses.new_tensor([1, -1], dtype=dtype)
    for at, work in blocks(logits):
        pair, images = _Pair(logits[at], labels[at], part(valid, at), work), at[0]
        slope = torch.zeros_like(pair.q)
        if of_losses is not None:
            slope = weighted(pair.of_class(of_losses[images]), part(how.weights, at))
        if of_losses is not None and how.voxel is not None and how.voxel.slope is not None:
            slope.mul_(how.voxel.slope(pair.q, pair.cross_entropy_()))
        if of_missed is not None:
            slope.addcmul_(pair.of_class(of_missed[images]), torch.sub(1, pair.q, out=pair.error))
        if of_log_p is not None:
            slope.addcmul_(torch.sub(pair.foreground, pair.background, out=pair.error), of_log_p[at])
        background, foreground = gradient[at].tensor_split(2, 1)
        torch.mul(slope, pair.q, out=foreground)
        torch.neg(foreground, out=background)
    return gradient


class _Pair:
    """A block, in the arrays of `work`.

    `g` is the truth of both classes, zero where ignored, `q` the probability of the wrong class and `error` its logit.
    """

    def __init__(self, logits: Block, labels: Tensor, valid: Tensor | None, work: tuple[Block, Block]) -> None:
        """Take the truth, and the difference of the logits towards the wrong class."""
        (x, g), (first, second) = work, logits.tensor_split(2, 1)
        self.error, self.q = x.tensor_split(2, 1)
        self.background, self.foreground = g.tensor_split(2, 1)
        torch.sub(1, self.foreground.copy_(labels), out=self.background)
        margin = torch.sub(second, first, out=self.q) if logits.dtype == x.dtype else self.q.copy_(second).sub_(first)
        margin = kept(margin, valid, in_place=True)
        torch.addcmul(margin, margin, self.foreground, value=-2, out=self.error)
        torch.sigmoid(self.error, out=self.q)
        self.g, self.valid = kept(g, valid, in_place=True), valid

    def cross_entropy_(self) -> Shaped[Tensor, "B 1 N"]:
        """The cross-entropy of every voxel, written over `error`."""
        return torch.ops.aten.softplus.out(self.error, out=self.error)

    def by_class(self, x: Shaped[Tensor, "B 1 N"]) -> Float[Tensor, "B 2"]:
        """The sums over the voxels of each class."""
        return torch.bmm(self.g, x.transpose(1, 2)).squeeze(2)

    def of_class(self, price: Float[Tensor, "B 2"]) -> Shaped[Tensor, "B 1 N"]:
        """The price of the class of every voxel, zero where ignored."""
        background, foreground = price.unsqueeze(2).tensor_split(2, 1)
        return self.background.mul(background).addcmul_(self.foreground, foreground)
