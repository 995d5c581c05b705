"""Losses of a voxel, and terms, that are told by numbers: loops know what these stand for, and operators take them."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from segloss.core.pointwise import power
from segloss.core.truth import Named, OfError, Term, VoxelLoss, bounds

CROSS_ENTROPY = VoxelLoss(value=lambda q, ce: ce, powers=((0.0, 1.0),))


def powered(of_q: float = 0.0, of_ce: float = 0.0, clamp: float = 0.0) -> VoxelLoss:
    """A power of q times one of the cross-entropy, of q kept as far from 0 and 1 as `clamp`; no gradient is beyond."""
    low, high = bounds(clamp)

    def value(q: Tensor, ce: Tensor) -> Tensor:
        if clamp:
            q, ce = q.clamp(clamp, 1 - clamp), ce.clamp(low, high)
        if not of_q or not of_ce:
            return _raised(q, of_q) if of_q else _raised(ce, of_ce)
        return _raised(q, of_q) * _raised(ce, of_ce)

    def slope(q: Tensor, ce: Tensor) -> Tensor:
        if not of_q or not of_ce:
            rise = of_q * (1 - q) * _raised(q, of_q - 1) if of_q else of_ce * _raised(ce, of_ce - 1)
        else:
            rise = torch.addcmul(of_ce * q, 1 - q, ce, value=of_q) * _raised(q, of_q - 1) * _raised(ce, of_ce - 1)
        return torch.where((ce >= low) & (ce <= high), rise, 0) if clamp else rise

    return VoxelLoss(value, slope, powers=((of_q, of_ce),), clamp=clamp)


def focused(gamma: float, clamp: float = 0.0) -> VoxelLoss:
    """Cross-entropy times a power of q."""
    return powered(gamma, 1.0, clamp)


def together(*losses: VoxelLoss) -> VoxelLoss:
    """Several losses, of classes that exclude each other."""

    def slope(q: Tensor, ce: Tensor) -> Tensor:
        return torch.cat([torch.ones_like(q) if f.slope is None else f.slope(q, ce) for f in losses], 1)

    powers = sum((f.powers for f in losses), ()) if all(f.powers and not f.clamp for f in losses) else ()
    return VoxelLoss(lambda q, ce: torch.cat([f.value(q, ce) for f in losses], 1), slope, len(losses), powers)


def of_errors(wrong: Named, missed: Named) -> Term:
    """A function of the p of classes that are not true, and one of 1 - p of those that are, of hard labels."""

    def value(p: Any, g: Any) -> Tensor:
        return (1 - g) * _value(p, *wrong) + g * _value(1 - p, *missed)

    def slope(p: Any, g: Any) -> Tensor:
        return (1 - g) * _slope(p, *wrong) - g * _slope(1 - p, *missed)

    return Term(value, slope, errors=(wrong, missed))


def _value(e: Tensor, of: OfError, number: float) -> Any:
    """What `OfError` names."""
    if of == OfError.POWER:
        return _raised(e, number)
    if of == OfError.LOG:
        return e.log1p() if number == 1 else (e + number).log()  # which takes twice as long
    return (-e.clamp(max=1 - torch.finfo(e.dtype).eps)).log1p() if of == OfError.LOG_OF_REST else 0.0


def _slope(e: Tensor, of: OfError, number: float) -> Any:
    """Its derivative."""
    if of == OfError.POWER:
        return number * _raised(e, number - 1)
    if of == OfError.LOG:
        return 1 / (e + number)
    edge = 1.5 / torch.finfo(e.dtype).eps  # between the slopes of the last e that is not clamped and the first that is
    return F.threshold((1 - e).reciprocal_().neg_(), -edge, 0) if of == OfError.LOG_OF_REST else 0.0


def _raised(x: Tensor, n: float) -> Tensor:
    """A power of what is not negative, without a gradient that is infinite at 0."""
    if n == 0:
        return torch.ones_like(x)
    return x if n == 1 else x**n if n > 1 else power(x, n)
