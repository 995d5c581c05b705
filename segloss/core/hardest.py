"""The voxels that are furthest from the truth."""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Integer
from torch import Tensor

from segloss.core.compiled import compiled
from segloss.core.function import Function
from segloss.core.inputs import can_look_at, spatial_sum, sum_dtype
from segloss.core.memory import empty_like

SAMPLE = 2**14
PART = 2**18


def hardest(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, "B K N"]:
    """The part each voxel has in the `number` voxels whose truth is least likely: 1, 0, or less than 1 at the border.

    Voxels that tie for the last places share them. Ignored ones have a log-probability of 0 and so come last.
    """
    found = log_p.detach()
    if can_look_at(found):
        border = _least(found.flatten(), int(number))[int(number) - 1]
    else:
        border = found.flatten().sort().values.gather(0, number.reshape(1) - 1)
    inside, at_border = ~(found >= border), found == border
    left = (number - torch.count_nonzero(inside)) / torch.count_nonzero(at_border).clamp(min=1)
    return inside.to(found.dtype).masked_fill_(at_border, left.to(found.dtype))


def hardest_sum(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, ""]:
    """The sum of the log-probabilities of the hardest, without a map of which they are."""
    if can_look_at(log_p):
        return _Sum.apply(log_p, int(number))[0]  # pyright: ignore[reportOptionalSubscript]
    return spatial_sum(log_p * hardest(log_p, number)).sum()


class _Sum(Function):
    @staticmethod
    def forward(log_p: Float[Tensor, "B K N"], number: int) -> tuple[Tensor, Tensor, Tensor]:
        if native := _loops(log_p):
            return native.least(log_p.flatten(), number)
        found = _least(log_p.flatten(), number)
        least, border = found[:number], found[number - 1]
        total = torch.where(found.isnan().any(), torch.nan, least.sum())  # which would pass for the easiest
        share = torch.count_nonzero(least == border) / torch.count_nonzero(found == border)
        return total.to(sum_dtype(log_p.device)), border, share

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        log_p, border, share = ctx.saved_tensors
        if (native := _loops(log_p)) and not torch.is_grad_enabled():
            price = float(prices[0])
            return native.priced_least(log_p, border, price, price * float(share)), None
        kept = torch.le(log_p.detach(), border, out=empty_like(log_p))
        if share < 1:
            kept.masked_fill_(log_p == border, share.item())
        price = prices[0].to(kept.dtype)
        return kept * price if torch.is_grad_enabled() else kept.mul_(price), None


def _loops(log_p: Float[Tensor, "B K N"]) -> Any:
    return compiled("native_least") if log_p.dtype == torch.float32 else None


def _least(x: Float[Tensor, " n"], number: int) -> Float[Tensor, " m"]:
    """Some of the values, all of the least among them; the first are the least, of these the last is the greatest.

    They are looked for among the values up to one that a sample puts a little behind them, if these are enough.
    """
    sample = x[:: max(1, len(x) // SAMPLE)].numpy()
    behind = min(round(number / len(x) * len(sample) + 2 * len(sample) ** 0.5), len(sample) - 1)
    bound = float(np.partition(sample, behind)[behind])
    first = torch.cat([some[~(some > bound)] for some in x.split(PART)])  # many small searches take half the time
    first = first if len(first) >= number else x
    return torch.from_numpy(np.partition(first.numpy(), number - 1))


def share_of(count: Float[Tensor, ""], k: float) -> Integer[Tensor, ""]:
    """How many a share `k` of `count` are, at least one."""
    return (count * (k * (1 + 1e-12))).floor().clamp(min=1).long()
