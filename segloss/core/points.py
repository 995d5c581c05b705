"""Minima over the voxels of an image, one for each of a set of points, block by block over pairs of point and voxel."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import SIZE

Map = Float[Tensor, "B C *S"]
Points = Bool[Tensor, "B C *S"]
OfImage = Float[Tensor, " B"]
Block = Callable[[Tensor], tuple[Tensor, Tensor]]

LIMIT = {"cpu": 2**34, "cuda": 2**38}  # pairs of a call: some minutes
ROOM = 2**22  # pairs of a block: some tens of megabytes


def power_means(
    p: Map,
    points: Points,
    valid: Bool[Tensor, "B 1 *S"] | None,
    reach: OfImage,
    size: Sequence[float],
    exponent: float,
    smooth: float,
) -> tuple[Float[Tensor, "B C"], Map]:
    r"""The sum over points $y$ of $M_x[p_x d(x, y) + (1 - p_x) D + \epsilon]$, and the distance to the nearest point.

    $M$ is the mean over voxels $x$ with a negative exponent, $D$ the `reach` of an image. `size` is that of a voxel.
    The distance carries no gradient; where there is no point, both are 0.
    """
    return _sums(p, points, valid, reach, size, exponent, smooth, False)


def least_quotients(
    p: Map,
    points: Points,
    valid: Bool[Tensor, "B 1 *S"] | None,
    reach: OfImage,
    size: Sequence[float],
    exponent: float,
    smooth: float,
) -> tuple[Float[Tensor, "B C"], Map]:
    r"""The sum over points $y$ of $\min_x (d(x, y) + \epsilon) / (p_x^\alpha + \epsilon / D)$.

    With the distance to the nearest point, as in `power_means`. No minimum is above $D$, which is that of $x = y$ at
    $p_x = 0$.
    """
    return _sums(p, points, valid, reach, size, exponent, smooth, True)


def _sums(p: Map, points: Points, valid: Tensor | None, *how: Any) -> tuple[Tensor, Tensor]:
    total, _, nearest = _over_points(p, points, valid, *how)
    return total, nearest.detach()


@torch.library.custom_op("segloss::over_points", mutates_args=())
def _over_points(
    p: Tensor,
    points: Tensor,
    valid: Tensor | None,
    reach: Tensor,
    size: Sequence[float],
    exponent: float,
    smooth: float,
    quotient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """The sum over points, its gradient with respect to p, and the distance to the nearest point.

    One operator to a compiler, which cannot know the number of points.
    """
    total = reach.new_zeros(p.shape[:2])
    slope, nearest = torch.zeros_like(p), torch.zeros_like(p)
    of_block: Any = None
    for image, channel, first, d in _distances(points, size, p.dtype):
        if first:
            here = None if valid is None else valid[image, 0].flatten()
            of_block = (_quotient if quotient else _power_mean)(
                p[image, channel].flatten(), here, reach[image].to(p.dtype), exponent, smooth
            )
            nearest[image, channel] = torch.inf
        least = nearest[image, channel].view(-1)
        torch.minimum(least, d.amin(0), out=least)
        value, rise = of_block(d)
        total[image, channel] += value.sum(dtype=total.dtype)
        slope[image, channel].view(-1).add_(rise)
    return total, slope, nearest


@_over_points.register_fake
def _(
    p: Tensor,
    points: Tensor,
    valid: Tensor | None,
    reach: Tensor,
    size: Sequence[float],
    exponent: float,
    smooth: float,
    quotient: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    return reach.new_empty(p.shape[:2]), torch.empty_like(p), torch.empty_like(p)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(inputs[0], output[1])


def _slope(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
    return _priced(*ctx.saved_tensors, prices[0]), *[None] * 7


_over_points.register_autograd(_slope, setup_context=_keep)


@torch.library.custom_op("segloss::over_points_backward", mutates_args=())
def _priced(p: Tensor, slope: Tensor, price: Tensor) -> Tensor:
    return price.to(slope.dtype).view(*price.shape, *[1] * (slope.ndim - 2)) * slope


@_priced.register_fake
def _(p: Tensor, slope: Tensor, price: Tensor) -> Tensor:
    return torch.empty_like(slope)


def _refuse(ctx: Any, *prices: Tensor) -> None:
    raise RuntimeError("minima over points can be derived once, not twice")


_priced.register_autograd(_refuse)


def _distances(points: Points, size: Sequence[float], dtype: torch.dtype) -> Iterator[tuple[int, int, bool, Tensor]]:
    """Image, channel, whether they are new, and distances of some of their points to all voxels, (K, N)."""
    channels, axes = points.shape[1], points.shape[2:]
    counts: list[int] = points.flatten(2).sum(2).flatten().tolist()
    voxels, pairs = axes.numel(), sum(counts) * axes.numel()
    limit = LIMIT.get(points.device.type, LIMIT["cuda"])
    if pairs > limit:
        raise ValueError(
            f"target has {sum(counts)} points, of which the distance to each of {voxels} voxels is taken: "
            f"{pairs:.1e} pairs, more than {limit:.1e}; mark objects by a few points, such as centres or outlines"
        )
    at = points.nonzero()[:, 2:].to(dtype)
    steps = [torch.arange(n, dtype=dtype, device=at.device) for n in axes]
    together = max(1, min(ROOM, SIZE.get(at.device.type, SIZE["cuda"])) // voxels)
    for row, of_row in enumerate(at.split(counts)):
        for number, some in enumerate(of_row.split(together) if len(of_row) else ()):
            squared = some.new_zeros(len(some), *[1] * len(axes))
            for axis, (step, width) in enumerate(zip(steps, size, strict=True)):
                along = ((step - some[:, axis, None]) * width).square_()
                squared = squared + along.view(len(some), *(-1 if axis == it else 1 for it in range(len(axes))))
            yield row // channels, row % channels, number == 0, squared.sqrt_().view(len(some), voxels)


def _power_mean(p: Tensor, valid: Tensor | None, reach: Tensor, exponent: float, smooth: float) -> Block:
    missed = (1 - p) * reach + smooth
    if valid is not None:
        missed = missed.masked_fill_(~valid, torch.inf)
    voxels = len(p) if valid is None else valid.sum()

    def of_block(d: Tensor) -> tuple[Tensor, Tensor]:
        a = torch.addcmul(missed, p, d)
        least = a.amin(1, keepdim=True)
        share = (a / least).pow_(exponent)
        total = share.sum(1)
        mean = least[:, 0] * (total / voxels) ** (1 / exponent)
        return mean, (mean / total) @ share.div_(a).mul_(d.sub_(reach))

    return of_block


def _quotient(p: Tensor, valid: Tensor | None, reach: Tensor, exponent: float, smooth: float) -> Block:
    below = p**exponent + smooth / reach  # so small where ignored, with p = 0, that the point itself has less
    slope = exponent * p ** (exponent - 1) / below

    def of_block(d: Tensor) -> tuple[Tensor, Tensor]:
        value, at = d.add_(smooth).div_(below).min(1)
        return value, torch.zeros_like(p).index_add_(0, at, -value * slope[at])

    return of_block
