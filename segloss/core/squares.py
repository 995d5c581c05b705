"""Terms that are squares: where the truth is hard, their sums follow from a few that all of them share.

These are the sums, by class, of wrong p, of missed p, of the true, and of the squares of the first two: p is wrong
where the class is not true, and 1 - p is missed where it is. The first three follow from those of p, p g and g, unless
voxels have weights, which the squares have too.
"""

from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, kept, weighted
from segloss.core.inputs import sum_dtype
from segloss.core.likelihood import by_truth, of_truth
from segloss.core.truth import How, Term

PLACES = 0.0, 0.25, 0.5, 0.75, 1.0
AT = torch.tensor(PLACES, dtype=torch.float64)


@lru_cache(256)
def squares_of(f: Term) -> tuple[float, ...] | None:
    """The factors of these sums in those of a term; None if they are not all it has."""
    if f.squares is not None:
        return f.squares
    wrong, missed = (f.value(AT, 0) + 0 * AT).tolist(), (f.value(1 - AT, 1) + 0 * AT).tolist()
    factors = []
    for y in (wrong, missed):
        square = 2 * (y[4] - 2 * y[2] + y[0])
        slope, most = y[4] - y[0] - square, max(map(abs, y))
        if not all(
            abs(y[0] + slope * x + square * x**2 - of_x) <= 1e-12 * most for x, of_x in zip(PLACES, y, strict=True)
        ):
            return None
        factors.append((slope, square))
    of_wrong, of_missed = factors
    return None if wrong[0] != 0 else (of_wrong[0], of_missed[0], missed[0], of_wrong[1], of_missed[1])


def all_squares(sums: Float[Tensor, "B 3 C"], found: Float[Tensor, "B K C"]) -> Float[Tensor, "B 5 C"]:
    """These sums, of those of p, p g and g and those found beside them."""
    if found.shape[1] == 5:
        return found
    of_p, of_hit, size = sums.unbind(1)
    return torch.stack([of_p - of_hit, size - of_hit, size, *found.unbind(1)], 1)


def square_sums(
    p: Block, g: Tensor, valid: Tensor | None, how: How, weights: Tensor | None, hit: Block | None
) -> list[Float[Tensor, "B C"]]:
    """Those that do not follow, over the voxels of a block; `hit` is p g, if that is at hand, and used up."""

    def total(x: Tensor) -> Tensor:
        return (x.sum(2) if weights is None else torch.bmm(x, weights.to(x.dtype).mT).squeeze(2)).to(dtype)

    dtype, exclusive = sum_dtype(p.device), how.exclusive
    if g.is_floating_point():
        product = p * g if hit is None else hit
        lost = 1 - product.sum(1, keepdim=True) if exclusive else g - product
        wrong = p - product if hit is None else torch.sub(p, product, out=hit)
    else:
        lost, wrong = 1 - p.gather(1, g), p.scatter(1, g, 0)
    if exclusive:
        lost = kept(lost, valid)
        rows = [lost**2] if weights is None else [lost**2 * weights, lost * weights, kept(weights, valid)]
        missed2, *linear = by_truth(torch.cat(rows, 1), g, True, p.shape[1]).unbind(1)
    else:
        missed2, linear = total(lost**2), [] if weights is None else [total(lost), total(g)]
    if weights is not None:
        linear = [total(wrong), *linear]
    return [*linear, total(wrong**2), missed2]


def square_slopes(p: Block, g: Tensor, weights: Tensor | None, price: Float[Tensor, "B K C 1"]) -> Block:
    """The slope of the priced sums with respect to p; g is the membership."""
    *linear, of_wrong2, of_missed2 = price.unbind(1)
    slope = p * (2 * of_wrong2)
    fall = (p * (2 * (of_wrong2 - of_missed2))).add_(2 * of_missed2)
    if linear:
        slope += linear[0]
        fall += linear[0] + linear[1]
    return weighted(slope.addcmul_(fall, g, value=-1), weights)


def exclusive_slopes(
    p: Block, right: Tensor, g: Tensor, weights: Tensor | None, price: Float[Tensor, "B K C 1"]
) -> tuple[Block, Float[Tensor, "B 1 N"]]:
    """The same of classes that exclude each other: with respect to p as if none were true, and the rest of the true.

    g is the membership or the index, `right` the p of the true class.
    """
    *linear, of_wrong2, of_missed2 = price.unbind(1)
    of_others = p * (2 * of_wrong2)
    of_true = -2 * of_missed2
    if linear:
        of_others += linear[0]
        of_true = of_true - linear[0] - linear[1]
    factors = torch.stack([of_true, 2 * (of_missed2 - of_wrong2)], 1).squeeze(3)
    first, second = of_truth(factors, g, True).split(1, 1)
    return weighted(of_others, weights), weighted(torch.addcmul(first, second, right), weights)
