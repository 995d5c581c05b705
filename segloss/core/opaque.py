"""What a compiler sees one operator of, in place of what is done.

So it is on the CPU, where a compiler writes what takes longer, and more memory, than loops do.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segloss.core.compiled import compiled

OfMaps = Callable[..., Tensor]


def by_operator(x: Tensor) -> bool:
    """Whether `x` is on the CPU, and a compiler looks on."""
    return torch.compiler.is_compiling() and x.device.type == "cpu"


def asked_once(f: Callable[..., bool]) -> Callable[..., bool]:
    """What `torch.compiler.assume_constant_result` does, which loads the compiler for it, as long as all of segloss."""
    vars(f)["_dynamo_marked_constant"] = True
    return f


@asked_once
def is_there(module: str) -> bool:
    """Whether a module of loops can be compiled; a compiler takes the answer for good."""
    return compiled(module) is not None


def as_operator(name: str, value: OfMaps, slope: OfMaps, like: OfMaps) -> OfMaps:
    """`value(y, ...)` as an operator, with the gradient `slope(price, y, ...)`; a compiler is told what it is `like`.

    Both say of each tensor and number what it is, and write to new memory, in order. No gradient flows through the
    others, and none through the gradient.
    """
    there = torch.library.custom_op(f"segloss::{name}", value, mutates_args=())
    back = torch.library.custom_op(f"segloss::slope_of_{name}", slope, mutates_args=())
    there.register_fake(like)
    back.register_fake(lambda price, y, *_: y.new_empty(y.shape))

    def keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.numbers = [None if isinstance(it, Tensor) else it for it in inputs]
        ctx.save_for_backward(*(it if isinstance(it, Tensor) else None for it in inputs))

    def gradient(ctx: Any, price: Tensor) -> tuple[Tensor | None, ...]:
        given = [number if kept is None else kept for kept, number in zip(ctx.saved_tensors, ctx.numbers, strict=True)]
        return back(price, *given), *(None,) * (len(given) - 1)

    there.register_autograd(gradient, setup_context=keep)
    return there


def as_map(name: str, value: OfMaps, like: OfMaps) -> OfMaps:
    """The same without a gradient."""
    found = torch.library.custom_op(f"segloss::{name}", value, mutates_args=())
    found.register_fake(like)
    return found
