"""The sums over the voxels of a block, by class."""

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from segloss.core.blocks import Block, kept, weighted
from segloss.core.inputs import sum_dtype
from segloss.core.likelihood import by_truth
from segloss.core.squares import square_sums
from segloss.core.truth import How


def sums_in(
    p: Block, g: Tensor, valid: Tensor | None, how: How, weights: Tensor | None, hit: Block | None = None
) -> Float[Tensor, "B K C"]:
    """The sums of `class_sums` over the voxels, and of squares if asked for; `hit` is p g, if that is at hand."""

    spread_out = g.is_floating_point()
    if spread_out:
        sums = [_total(p), _total(p * g if hit is None else hit), _total(g)]
    else:
        there = kept(torch.ones_like(g, dtype=p.dtype), valid)
        sums = [_total(p), *by_truth(torch.cat([p.gather(1, g), there], 1), g, True, p.shape[1]).unbind(1)]
    if how.squares:
        sums += square_sums(p, g, valid, how, weights, hit)
    if how.terms and spread_out:
        sums += [_total(weighted(kept(f.value(p, g), valid), weights)) for f in how.terms]
    elif how.terms:
        sums += _by_index(p, g, valid, how, weights)
    if how.cost is not None and spread_out:
        sums.append(_total((how.cost.to(p.dtype) @ p).mul_(g)))
    elif how.cost is not None:
        sums.append(by_truth((prices(how.cost, g, p) * p).sum(1, keepdim=True), g, True, p.shape[1])[:, 0])
    return torch.stack(sums, 1)


def _by_index(
    p: Block, g: Tensor, valid: Tensor | None, how: How, weights: Tensor | None
) -> list[Float[Tensor, "B C"]]:
    """The sums of terms over what is wrong, of which the true class has none, and what the true one adds."""
    wrong, right = p.scatter(1, g, 0), p.gather(1, g)
    gains = [f.value(right, 1) - f.value(right.new_zeros(()), 0) for f in how.terms]
    added = by_truth(weighted(kept(torch.cat(gains, 1), valid), weights), g, True, p.shape[1])
    as_wrong = (_total(weighted(kept(f.value(wrong, 0), valid), weights)) for f in how.terms)
    return [x + y for x, y in zip(as_wrong, added.unbind(1), strict=True)]


def _total(x: Block) -> Float[Tensor, "B C"]:
    """The sum over voxels; a block is short enough to be added up in the type it is in."""
    dtype = sum_dtype(x.device)
    return x.sum(2, dtype=dtype) if torch.compiler.is_compiling() else x.sum(2).to(dtype)


def prices(cost: Float[Tensor, "C C"], label: Shaped[Tensor, "B 1 N"], p: Block) -> Block:
    """The price of every predicted class at each voxel, by its label."""
    rows = cost.to(p.dtype).index_select(0, label.flatten())
    return rows.view(label.shape[0], label.shape[2], -1).mT.contiguous()
