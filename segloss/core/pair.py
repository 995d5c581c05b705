"""Two classes that exclude each other, from one difference of logits instead of a softmax."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, kept
from segloss.core.inputs import sum_dtype
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.truth import VoxelLoss


class Pair:
    """A block, in the arrays of `work`.

    `g` is the truth of both classes, zero where ignored, `q` the probability of the wrong class and `error` its logit.
    Errors are what is added up, not hits, so that a rare class comes out as exact as a common one.
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

    def sums(self) -> Float[Tensor, "B 3 2"]:
        """The sums of p, p g and g of both classes."""
        missed = self._by_class(self.q)
        size = self.g.sum(2).to(missed.dtype)
        hit = size - missed
        return torch.stack([hit + missed.flip(1), hit, size], 1)

    def log_p(self) -> LogP:
        """The log-probability of the truth."""
        return kept(F.softplus(self.error).neg_(), self.valid)

    def losses(self, f: VoxelLoss) -> ByTruth:
        """The sums of a loss over the voxels of each class."""
        return self._by_class(f.value(self.q, F.softplus(self.error))).unsqueeze(1)

    def gradient_(
        self,
        out: Block,
        of_sums: Float[Tensor, "B K 2"] | None,
        rise: LogP | None,
        priced: tuple[ByTruth, VoxelLoss] | None,
    ) -> None:
        """Write the gradient of the priced sums, log-probabilities and losses into `out`."""
        q = self.q
        slope = torch.zeros_like(q) if rise is None else (self.foreground - self.background).mul_(rise)
        if of_sums is not None:
            of_p, of_tp, _ = of_sums.to(q.dtype).unbind(1)
            constant = of_p.diff(dim=1)
            slope = slope.addcmul_(self._of_class(constant - of_tp[:, :1], constant + of_tp[:, 1:]), 1 - q)
        if priced is not None:
            price, f = priced
            of_background, of_foreground = price[:, 0].to(q.dtype).tensor_split(2, 1)
            of_class = self._of_class(of_background, -of_foreground)
            slope += of_class if f.slope is None else of_class.mul_(f.slope(q, F.softplus(self.error)))
        background, foreground = out.tensor_split(2, 1)
        torch.mul(slope, q, out=foreground)
        torch.neg(foreground, out=background)

    def _by_class(self, x: Float[Tensor, "B 1 N"]) -> Float[Tensor, "B 2"]:
        """The sums over the voxels of each class."""
        return torch.bmm(self.g, x.transpose(1, 2)).squeeze(2).to(sum_dtype(x.device))

    def _of_class(self, background: Float[Tensor, "B 1"], foreground: Float[Tensor, "B 1"]) -> Float[Tensor, "B 1 N"]:
        """A value for each class at its voxels."""
        return self.background.mul(background.unsqueeze(2)).addcmul_(self.foreground, foreground.unsqueeze(2))
