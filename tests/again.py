"""Gradients of one value, asked for several times."""

from collections.abc import Callable

import torch
from torch import Tensor


def same_whenever_asked(value_of: Callable[[], Tensor], logits: Tensor) -> None:
    """Whatever was asked for before, a gradient is what it is alone, and so is a second derivative."""

    def ask(how: list[str]) -> list[Tensor]:
        """Gradients, one after the other, of which "graph" can be differentiated again, which is done at the end."""
        value = value_of()
        found = [torch.autograd.grad(value, logits, retain_graph=True, create_graph=it == "graph")[0] for it in how]
        again = [torch.autograd.grad(it.square().sum(), logits)[0] for it in found if it.requires_grad]
        return [it.detach().clone() for it in (*found, *again)]

    first, second = ask(["alone"])[0], ask(["graph"])[-1]
    for order in (["alone", "graph", "alone"], ["graph", "alone", "alone"]):
        *found, again = ask(order)
        for it in found:
            torch.testing.assert_close(it, first)
        torch.testing.assert_close(again, second)
