"""Sums over the voxels of what is a simple function of the probability there, with maps of the size of the logits.

As in `sums`, the pass goes block by block and its gradient recomputes each block; the arithmetic stays in two arrays of
the size of a block.
"""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, blocks, chain, kept, part, predicted
from segloss.core.function import Function
from segloss.core.inputs import Inputs, ResolvedActivation, sum_dtype


class Integrand(Protocol):
    """A function of p at each voxel, 0 where ignored, whose maps are its own."""

    @property
    def maps(self) -> tuple[Tensor, ...]:
        """What it needs at each voxel, each (B, C, N)."""
        ...

    @property
    def value(self) -> Callable[..., Block]:
        """Its definition, of p and the maps, in operations that can be derived."""
        ...

    @property
    def slope(self) -> Callable[..., Block]:
        """Its derivative with respect to p, of p and the maps, in the array `out`."""
        ...

    @property
    def total(self) -> Callable[..., Float[Tensor, "B C"]]:
        """Its sum over the voxels, of p and the maps; p and the array `work` may be written over."""
        ...


def integral(x: Inputs, f: Integrand) -> Float[Tensor, "B C"]:
    """The sums of `f` over the voxels of each image and class."""
    if torch.compiler.is_compiling():
        return _plain(x.logits, x.valid, x.activation, f, f.maps)
    return _Integral.apply(x.logits, x.valid, x.activation, f, *f.maps)  # pyright: ignore[reportReturnType]


def _plain(
    logits: Block, valid: Tensor | None, activation: ResolvedActivation, f: Integrand, maps: tuple[Tensor, ...]
) -> Float[Tensor, "B C"]:
    """The sums in one block, for compilers and for second derivatives."""
    value = kept(f.value(predicted(logits, valid, activation), *maps), valid)
    return value.sum(2, dtype=sum_dtype(value.device))


class _Integral(Function):
    @staticmethod
    def forward(
        logits: Block, valid: Tensor | None, activation: ResolvedActivation, f: Integrand, *maps: Tensor
    ) -> Tensor:
        sums = logits.new_zeros(logits.shape[:2], dtype=sum_dtype(logits.device))
        for at, work in blocks(logits):
            p = predicted(at.of(logits), part(valid, at), activation, work)
            at.add(sums, f.total(p, *(at.of(it) for it in maps), work=work[1]))
        return sums

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        logits, valid, ctx.activation, ctx.f, *maps = inputs
        ctx.save_for_backward(logits, valid, *maps)

    @staticmethod
    def backward(ctx: Any, *prices: Tensor) -> tuple[Tensor | None, ...]:
        (price,), (logits, valid, *maps) = prices, ctx.saved_tensors
        nothing = (None,) * (3 + len(maps))
        if torch.is_grad_enabled():
            sums = _plain(logits, valid, ctx.activation, ctx.f, tuple(maps))
            return *torch.autograd.grad(sums, logits, price, create_graph=True), *nothing
        gradient = torch.empty_like(logits)
        for at, work in blocks(logits):
            here = part(valid, at)
            p = predicted(at.of(logits), here, ctx.activation, work)
            slope = ctx.f.slope(p, *(at.of(it) for it in maps), out=work[1])
            slope.mul_(at.each(price).to(slope.dtype).unsqueeze(-1))
            chain(at.of(gradient), slope, p, here, ctx.activation)
        return gradient, *nothing
