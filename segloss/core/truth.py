"""What a pass over the logits is asked for, and the truth it meets block by block."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

from segloss.core.blocks import Block, kept, put
from segloss.core.inputs import ResolvedActivation, short_labels

MANY_CLASSES = 32  # up to here a one-hot map of a block, in the cache, costs less than to gather and scatter


class OfError(IntEnum):
    """A function of an error e and a number n that loops know: 0, e**n, log(e + n), or log(1 - e) of an e below 1."""

    NOTHING = 0
    POWER = 1
    LOG = 2
    LOG_OF_REST = 3


Named = tuple[OfError, float]
"""A function of an error, and its number."""


@dataclass(frozen=True)
class Term:
    """A function f(p, g) of probability and membership, and its derivative with respect to p.

    Without `slope` the derivative is found from the value, which takes longer. `errors` are the functions of p that
    f(p, 0) and f(1 - p, 1) are, with their number, where loops know both. `squares` are the factors that `squares_of`
    finds, where a compiler, which cannot look for them, is to know them.
    """

    value: Callable[[Any, Any], Tensor]
    slope: Callable[[Any, Any], Tensor] | None = None
    errors: tuple[Named, Named] | None = None
    squares: tuple[float, ...] | None = None


Terms = tuple[Term, ...]
SQUARES = Term(lambda p, g: p**2 + g**2, lambda p, g: 2 * p, squares=(0.0, -2.0, 2.0, 1.0, 1.0))


@dataclass(frozen=True)
class VoxelLoss:
    """A loss f(q, ce) of the probability of the truth, 1 - q, and of its cross-entropy, ce = -log(1 - q).

    `slope` is its derivative with respect to ce; None stands for 1. `losses` is how many there are along the second
    axis: see `together`. Where each is but a power of q times one of ce, `powers` are these exponents, and q is kept as
    far from 0 and 1 as `clamp`.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    slope: Callable[[Tensor, Tensor], Tensor] | None = None
    losses: int = 1
    powers: tuple[tuple[float, float], ...] = ()
    clamp: float = 0.0


@dataclass(frozen=True)
class How:
    """What a pass is to give, and what its inputs mean; `cores` are those of the way there, and so of the way back.

    The logits are multiplied by `scale`, and those of the truth `lowered`. Where classes are not `known`, the label of
    the background is theirs, too. `squares` asks for the sums of `squares.py` after those of p, p g and g.
    """

    activation: ResolvedActivation
    dense: bool
    joint: bool
    squares: bool = False
    terms: Terms = ()
    cost: Tensor | None = None
    sums: bool = True
    likelihood: bool = False
    voxel: VoxelLoss | None = None
    weights: Tensor | None = None
    scale: float = 1.0
    lowered: Tensor | None = None
    known: Tensor | None = None
    cores: int = 1

    @property
    def exclusive(self) -> bool:
        """Whether one class alone is true at a voxel."""
        return self.joint and not self.dense and self.known is None

    @property
    def kinds(self) -> tuple[int, int, int, int]:
        """How many sums there are: of p, p g and g, of squares, of terms, and of the cost."""
        of_squares = (5 if self.weights is not None else 2) if self.squares else 0
        return 3, of_squares, len(self.terms), int(self.cost is not None)

    @property
    def slope(self) -> Callable[[Tensor, Tensor], Tensor] | None:
        """The derivative of the loss of a voxel with respect to its cross-entropy; None stands for 1."""
        return None if self.voxel is None else self.voxel.slope


def bounds(clamp: float) -> tuple[float, float]:
    """The least and the largest cross-entropy of probabilities as far from 0 and 1 as that."""
    return (-math.log1p(-clamp), -math.log(clamp)) if clamp else (0.0, math.inf)


def derivative(f: Term, p: Tensor, g: Tensor | int) -> Tensor:
    """The derivative of a term with respect to p."""
    if f.slope is not None:
        return f.slope(p, g)
    with torch.enable_grad():
        leaf = p.detach().requires_grad_()
        return torch.autograd.grad(f.value(leaf, g).sum(), leaf)[0]


def truth(
    p: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    space: Block | None = None,
    known: Bool[Tensor, "B C"] | None = None,
) -> Block | Shaped[Tensor, "B 1 N"]:
    """True membership, zero where ignored, in `space` if given; of many classes it stays the class index.

    `known` is that of `how`, for the images of the block.
    """
    if how.exclusive and how.activation == "softmax" and p.shape[1] > MANY_CLASSES:
        return kept(labels.long(), valid)
    if how.dense or p.shape[1] == 1:
        return kept(put(labels, p.dtype, space), valid, in_place=space is not None)
    if labels.device.type == "cpu":
        labels = short_labels(labels, p.shape[1])
    index = torch.arange(p.shape[1], dtype=labels.dtype, device=labels.device).view(1, -1, 1)
    if known is not None:
        index = index * known.unsqueeze(2)
    g = (labels == index).to(p.dtype) if space is None else torch.eq(labels, index, out=space)
    return kept(g, valid, in_place=space is not None)
