"""Losses made faulty in one way, from the correct one."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from tests.plain import PlainDice, plain_dice, plain_distance

Faulty = Callable[..., Tensor]


def but(**changes: Any) -> Faulty:
    """The correct loss with these keywords, whatever it is told."""
    return lambda x, y, **k: plain_dice(x, y, **{**k, **changes})


def without(*names: str) -> Faulty:
    """The correct loss, deaf to these keywords."""
    return lambda x, y, **k: plain_dice(x, y, **{name: value for name, value in k.items() if name not in names})


def refusals(sound: Faulty) -> dict[str, Faulty]:
    """Losses that do not refuse as they should what the sound one refuses."""

    def accepting(x: Tensor, y: Tensor, **k: Any) -> Tensor:
        try:
            return sound(x, y, **k)
        except ValueError:
            return torch.zeros(())

    def refusing_by_assert(x: Tensor, y: Tensor, **k: Any) -> Tensor:
        try:
            return sound(x, y, **k)
        except ValueError as error:
            raise AssertionError(*error.args) from error

    def refusing_without_a_name(x: Tensor, y: Tensor, **k: Any) -> Tensor:
        try:
            return sound(x, y, **k)
        except ValueError as error:
            raise ValueError("invalid input") from error

    return {
        "accepts anything": accepting,
        "raises an AssertionError": refusing_by_assert,
        "does not name the argument": refusing_without_a_name,
    }


REFUSALS = refusals(plain_dice)
REFUSALS_OF_DISTANCES = refusals(plain_distance)


def naive(x: Tensor, y: Tensor, smooth: float = 0.0, **k: Any) -> Tensor:
    """Dice as it is often written: in the type of the logits, no guard at 0/0."""
    p = x.sigmoid() if x.shape[1] == 1 or k.get("activation") == "sigmoid" else x.softmax(1)
    g = torch.stack([y == label for label in range(x.shape[1])], 1) if x.shape[1] > 1 else y.unsqueeze(1)
    p, g = p.flatten(2), (y if y.shape == x.shape else g).flatten(2).to(p.dtype)
    return (1 - (2 * (p * g).sum(2) + smooth) / (p.sum(2) + g.sum(2) + smooth)).mean()


def unstable(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    sigmoid = x.shape[1] == 1 or k.get("activation") == "sigmoid"
    p = x.exp() / (1 + x.exp() if sigmoid else x.exp().sum(1, keepdim=True))
    return plain_dice(p, y, **{**k, "activation": "none"})


class FrozenGradient(torch.autograd.Function):
    """Value and gradient of the correct loss; the gradient is a constant to autograd."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, k: dict[str, Any]) -> Tensor:
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            value = plain_dice(leaf, y, **k)
            ctx.save_for_backward(torch.autograd.grad(value, leaf)[0])
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        return grads[0] * ctx.saved_tensors[0], None, None


def tracking(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    with torch.enable_grad():
        return plain_dice(x if x.requires_grad else x.detach().requires_grad_(), y, **k)


def scaled_by_voxels(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    return plain_dice(x, y, **k) * (1 if k.get("mask") is None else k["mask"].double().mean())


def vanishing(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    return plain_dice(x if x.dtype == torch.float64 else x.detach() + 0 * x, y, **k)


def first_part(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    return plain_dice(torch.cat([x[..., :400], x[..., 400:].detach()], -1), y, **k)


def branching(x: Tensor, y: Tensor, **k: Any) -> Tensor:
    value = plain_dice(x, y, **k)
    return value if value > 0.5 else value * 1


def background_first(x: Tensor, y: Tensor, include_background: bool = True, **k: Any) -> Tensor:
    """Drops channel 0 of the logits, before the softmax."""
    if include_background or x.shape[1] == 1:
        return plain_dice(x, y, include_background=include_background, **k)
    truth = y if y.shape == x.shape else torch.nn.functional.one_hot(y, x.shape[1]).movedim(-1, 1).bool()
    k["weight"] = k["weight"][1:] if k.get("weight") is not None else None
    return plain_dice(x[:, 1:], truth[:, 1:], **k)


class OtherDefault(PlainDice):
    def forward(self, logits: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        return plain_dice(logits, target, **{"include_background": logits.shape[1] == 1, **self.keywords}, **inputs)


class Unmasked(PlainDice):
    def forward(self, logits: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        return super().forward(logits, target)


class Forgetful(PlainDice):
    def __reduce__(self) -> tuple[type[PlainDice], tuple[()]]:
        return PlainDice, ()


class TensorsLeftBehind(PlainDice):
    def __init__(self, **keywords: Any) -> None:
        super().__init__(**keywords)
        self._buffers.pop("weight")
        self.weight = keywords.get("weight")


class Mute(PlainDice):
    def extra_repr(self) -> str:
        return ""
