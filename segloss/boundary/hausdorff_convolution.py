"""The Hausdorff distance by convolutions: errors priced by the disks that fit between the contours."""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core import (
    Activation,
    ClassWeight,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    Value,
    class_reducer,
    count,
    per_map,
    positive,
    predicted,
    predicted_mask,
    prepare,
    ratio,
    spatial_sum,
    true_mask,
)

Map = Float[Tensor, "B C *S"]
Hard = Bool[Tensor, "B C *S"]
Prices = Float[Tensor, "B C 2 *S"]
"""Of what is predicted too much, and too little."""


def hausdorff_convolution_loss(
    logits: Logits,
    target: HardLabels,
    *,
    alpha: float = 2.0,
    radii: Sequence[float] = (3, 6, 9, 12, 15, 18),
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""Squared error, priced by the radii of the disks around a voxel that lie mostly on the other side.

    $$L_c = \frac{1}{N} \sum_{r} r^\alpha \sum_i (p_{ic} - g_{ic})^2
    \Big[\big(f(B_r * \bar g)_{ic} + f(B_r * \hat p)_{ic}\big)\, p_{ic}
    + \big(f(B_r * g)_{ic} + f(B_r * \bar{\hat p})_{ic}\big)\, g_{ic}\Big]$$

    $B_r$ is a ball of radius $r$ whose equal weights sum up to 1, $f(a) = \max(a - 1/2, 0)$, $\hat p = [p > 1/2]$, and
    $\bar m = 1 - m$. Beyond the image, and where voxels are ignored, is background. The convolutions carry no gradient.

    Args:
        alpha: Exponent $\alpha$ of the radii.
        radii: Radii $r$ of the balls, in voxels.

    Returns:
        A scalar of at least 0, or with `reduction="none"` one loss an image and class, (B, C).

    Raises:
        ValueError: If `alpha` or a radius is not positive, there is no radius, or an input has the wrong shape, type or
            values.

    References:
        [karimi2019hausdorff]

    Examples:
        >>> logits = torch.tensor([[[20.0, -20.0, -20.0, -20.0, -20.0, -20.0]]])
        >>> target = torch.tensor([[0, 0, 0, 0, 0, 0]])
        >>> hausdorff_convolution_loss(logits, target, radii=[1])
        tensor(0.0833)
    """
    positive(alpha=alpha)
    if len(radii) == 0 or not all(0 < r < math.inf for r in radii):
        raise ValueError(f"radii must be positive numbers, at least one, got {radii}")
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    reduce = class_reducer(x, include_background, weight, reduction)

    p = x.spatial(predicted(x.logits, x.valid, x.activation))
    g, yes = x.spatial(true_mask(x)), x.spatial(predicted_mask(x))
    balls = _Balls(p, radii)

    def prices(g: Hard, yes: Hard) -> Prices:
        of_radii = zip(radii, balls.means(g), balls.means(yes), strict=True)
        return sum(r**alpha * _price(in_g, in_p) for r, in_g, in_p in of_radii)  # pyright: ignore[reportReturnType]

    def errors(p: Map, g: Hard, prices: Prices) -> Float[Tensor, "B C"]:
        (extra, missed), g = prices.unbind(2), g.to(p.dtype)
        return spatial_sum((p - g).square() * (extra * p + missed * g))

    loss = per_map(errors, p, g, per_map(prices, g, yes))
    return reduce(ratio(loss, count(x), empty=0.0))


def _price(in_g: Map, in_p: Map) -> Prices:
    """The means over a ball of the complements are one minus those of the masks."""
    extra = (0.5 - in_g).clamp(min=0) + (in_p - 0.5).clamp(min=0)
    missed = (in_g - 0.5).clamp(min=0) + (0.5 - in_p).clamp(min=0)
    return torch.stack((extra, missed), 2)


class _Balls:
    """Means of masks over the balls around each voxel, by Fourier transform; beyond the image is nothing."""

    def __init__(self, like: Map, radii: Sequence[float]) -> None:
        reach, self.dtype = int(max(radii)), like.dtype
        self.sizes = [_fast(max(n, reach + 1) + reach) for n in like.shape[2:]]
        steps = [torch.arange(n, device=like.device) for n in self.sizes]
        squares = [torch.minimum(at, n - at).square() for at, n in zip(steps, self.sizes, strict=True)]
        away = torch.stack(torch.meshgrid(*squares, indexing="ij")).sum(0)
        balls = [(away <= r**2).to(like.dtype) for r in radii]
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
