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
from segloss.core.opaque import by_operator

SAMPLE = 2**14
PART = 2**18


def hardest(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, "B K N"]:
    """The part each voxel has in the `number` voxels whose truth is least likely: 1, 0, or less than 1 at the border.

    Voxels that tie for the last places share them. Ignored ones have a log-probability of 0 and so come last.
    """
    given = log_p.detach(), number
    return part_of_hardest(given[0], *(_operator if by_operator(log_p) else found_hardest)(*given)[1:])


def hardest_sum(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> Float[Tensor, ""]:
    """The sum of the log-probabilities of the hardest, without a map of which they are."""
    if by_operator(log_p):
        return _operator(log_p, number)[0]
    return (found_hardest if torch.compiler.is_compiling() else _Sum.apply)(log_p, number)[0]  # pyright: ignore[reportOptionalSubscript]


def found_hardest(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the least, the greatest of these, and the share of those that tie with it that they have."""
    if not can_look_at(log_p):
        border = log_p.flatten().sort().values.gather(0, number.reshape(1) - 1)[0]
        inside, at_border = ~(log_p >= border), log_p == border
        share = (number - torch.count_nonzero(inside)) / torch.count_nonzero(at_border).clamp(min=1)
        return spatial_sum(log_p * part_of_hardest(log_p, border, share)).sum(), border, share.to(log_p.dtype)
    if native := _loops(log_p):
        return native.least(log_p.flatten(), int(number))
    found = _least(log_p.flatten(), int(number))
    least, border = found[: int(number)], found[int(number) - 1]
    total = torch.where(found.isnan().any(), torch.nan, least.sum())  # which would pass for the easiest
    share = torch.count_nonzero(least == border) / torch.count_nonzero(found == border)
    return total.to(sum_dtype(log_p.device)), border, share.to(log_p.dtype)


def part_of_hardest(log_p: Float[Tensor, "B K N"], border: Tensor, share: Tensor) -> Float[Tensor, "B K N"]:
    """1 for what is below the border or is not a number, the share for what ties with it."""
    inside = ~(log_p >= border)
    return inside.to(log_p.dtype).masked_fill_(log_p == border, share.to(log_p.dtype))


class _Sum(Function):
    @staticmethod
    def forward(log_p: Float[Tensor, "B K N"], number: Integer[Tensor, ""]) -> tuple[Tensor, Tensor, Tensor]:
        return found_hardest(log_p, number)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(inputs[0], *output[1:])

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
        log_p, border, share = ctx.saved_tensors
        if torch.is_grad_enabled():
            return part_of_hardest(log_p.detach(), border, share) * prices[0].to(log_p.dtype), None
        return slope_of_hardest(log_p, border, share, prices[0], empty_like(log_p)), None


def slope_of_hardest(
    log_p: Float[Tensor, "B K N"], border: Tensor, share: Tensor, price: Tensor, out: Float[Tensor, "B K N"]
) -> Float[Tensor, "B K N"]:
    """The price of the sum for what is below the border, its share of that for what ties; `out` may be `log_p`."""
    if can_look_at(log_p) and (native := _loops(log_p)):
        native.priced_least(log_p, border, float(price), float(price) * float(share), out)
        return out
    return torch.mul(part_of_hardest(log_p, border, share), price, out=out)


@torch.library.custom_op("segloss::hardest", mutates_args=())
def _operator(log_p: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same as one operator to a compiler, which would sort all voxels."""
    total, border, share = found_hardest(log_p, number)
    return total, border.clone(), share


@_operator.register_fake
def _(log_p: Tensor, number: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return log_p.new_empty((), dtype=sum_dtype(log_p.device)), log_p.new_empty(()), log_p.new_empty(())


@torch.library.custom_op("segloss::slope_of_hardest", mutates_args=())
def _operator_slope(log_p: Tensor, border: Tensor, share: Tensor, price: Tensor) -> Tensor:
    return slope_of_hardest(log_p, border, share, price, empty_like(log_p))


@_operator_slope.register_fake
def _(log_p: Tensor, *_: Tensor) -> Tensor:
    return log_p.new_empty(log_p.shape)


def _back(ctx: Any, *prices: Tensor) -> tuple[Tensor, None]:
    return _operator_slope(*ctx.saved_tensors, prices[0]), None


torch.library.register_autograd("segloss::hardest", _back, setup_context=_Sum.setup_context)


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
