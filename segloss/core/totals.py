"""The sums over the voxels of a block, by class."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import Block, kept, weighted
from segloss.core.inputs import sum_dtype
from segloss.core.squares import square_sums
from segloss.core.truth import How


def sums_in(
    p: Block, g: Tensor, valid: Tensor | None, how: How, weights: Tensor | None, hit: Block | None = None
) -> Float[Tensor, "B K C"]:
    """The sums of `class_sums` over the voxels, and of squares if asked for; `hit` is p g, if that is at hand."""

    def total(x: Tensor) -> Tensor:
        return _total(weighted(kept(x, valid), weights))

    def squares() -> list[Tensor]:
        return square_sums(p, g, valid, how, weights, hit) if how.squares else []

    if g.is_floating_point():
        hits = p * g if hit is None else hit
        sums = [_total(p), _total(hits), _total(g), *squares(), *(total(f.value(p, g)) for f in how.terms)]
        if how.cost is not None:
            sums.append(_total((how.cost.to(p.dtype) @ p).mul_(g)))
        return torch.stack(sums, 1)

    at_truth = p.gather(1, g)
    sums = [_total(p), _by_class(at_truth, g, p), _by_class(kept(torch.ones_like(at_truth), valid), g, p), *squares()]
    for f in how.terms:
        gain = weighted(kept(f.value(at_truth, 1) - f.value(at_truth, 0), valid), weights)
        sums.append(total(f.value(p, 0)) + _by_class(gain, g, p))
    if how.cost is not None:
        sums.append(_by_class((prices(how.cost, g, p) * p).sum(1, keepdim=True), g, p))
    return torch.stack(sums, 1)


def _total(x: Block) -> Float[Tensor, "B C"]:
    """The sum over voxels; a block is short enough to be added up in the type it is in."""
    dtype = sum_dtype(x.device)
    return x.sum(2, dtype=dtype) if torch.compiler.is_compiling() else x.sum(2).to(dtype)


def _by_class(x: Shaped[Tensor, "B 1 N"], label: Shaped[Tensor, "B 1 N"], p: Block) -> Float[Tensor, "B C"]:
    """The sum of `x` over the voxels of each label."""
    sums = p.new_zeros(p.shape[:2], dtype=sum_dtype(p.device))
    return sums.scatter_add(1, label[:, 0], x[:, 0].to(sums.dtype))


def prices(cost: Float[Tensor, "C C"], label: Shaped[Tensor, "B 1 N"], p: Block) -> Block:
    """The price of every predicted class at each voxel, by its label."""
    return cost.to(p.dtype).T[:, label[:, 0]].movedim(0, 1)
