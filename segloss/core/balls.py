"""Prices of errors by the balls that lie mostly on one side of a contour."""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.compiled import loops_for
from segloss.core.per_map import per_map

Map = Float[Tensor, "B C *S"]
Hard = Bool[Tensor, "B C *S"]
Prices = Float[Tensor, "B C 2 *S"]
"""Of what is predicted too much, and too little."""


def ball_prices(g: Hard, yes: Hard, radii: Sequence[float], prices: Sequence[float], dtype: torch.dtype) -> Prices:
    """By how much the mean over the ball around a voxel is beyond a half, summed over balls times their prices.

    What is predicted too much pays where the truth `g` is below a half and the prediction `yes` above, and what is
    missed the other way round. Beyond the image is nothing. No gradient flows.
    """
    if dtype == torch.float32 and (loops := loops_for(g, "native_balls", torch.bool)):
        return loops.ball_prices(g, yes, radii, prices)
    balls = _Balls(g, radii, dtype)
    return per_map(partial(_plain, balls=balls, prices=prices), g, yes)


def _plain(g: Hard, yes: Hard, balls: "_Balls", prices: Sequence[float]) -> Prices:
    of_radii = zip(prices, balls.means(g), balls.means(yes), strict=True)
    return sum(price * _beyond(in_g, in_p) for price, in_g, in_p in of_radii)  # pyright: ignore[reportReturnType]


def _beyond(in_g: Map, in_p: Map) -> Prices:
    extra = (0.5 - in_g).clamp(min=0) + (in_p - 0.5).clamp(min=0)
    missed = (in_g - 0.5).clamp(min=0) + (0.5 - in_p).clamp(min=0)
    return torch.stack((extra, missed), 2)


class _Balls:
    """Means of masks over the balls around each voxel, by Fourier transform; beyond the image is nothing."""

    def __init__(self, like: Hard, radii: Sequence[float], dtype: torch.dtype) -> None:
        reach, self.dtype = int(max(radii)), dtype
        self.sizes = [_fast(max(n, reach + 1) + reach) for n in like.shape[2:]]
        steps = [torch.arange(n, device=like.device) for n in self.sizes]
        squares = [torch.minimum(at, n - at).square() for at, n in zip(steps, self.sizes, strict=True)]
        away = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(0)
        balls = [(away <= r**2).to(dtype) for r in radii]
        self.spectra = [(torch.fft.rfftn(ball).real, ball.sum()) for ball in balls]

    def means(self, m: Hard) -> Iterator[Map]:
        """Those of each radius; the numbers of voxels in a ball are whole."""
        axes, inside = tuple(range(2, m.ndim)), (..., *(slice(n) for n in m.shape[2:]))
        spectrum = torch.fft.rfftn(m.to(self.dtype), self.sizes, axes)
        for ball, volume in self.spectra:
            yield torch.fft.irfftn(spectrum * ball, self.sizes, axes)[inside].round() / volume


def _fast(size: int) -> int:
    """The next size that is made up of small primes; `torch.compile` does not see through that of SciPy."""
    while not _is_of_small_primes(size):
        size += 1
    return size


def _is_of_small_primes(number: int) -> bool:
    for prime in (2, 3, 5, 7):
        while number % prime == 0:
            number //= prime
    return number == 1
