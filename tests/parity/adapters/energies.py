"""Adapters of the losses of length and energy."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def active_contour(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The whole is divided by the weight of the length, which is 1 in ours; one port sums up over all classes."""
    length, lam, mu = words.take("length_weight", 1.0), words.take("lam"), words.take("mu")
    keywords = {
        "alpha": lam * mu / length,
        "beta": lam / length,
        "smooth": words.take("eps"),
        "aligned": words.take("aligned", False),
    }
    if words.take("variant", "all_channels") != "all_channels":
        raise ValueError("another variant than that over all channels")
    words.finish()
    return length * segloss.active_contour_loss(logits, target, activation=words.case["activation"], **keywords)


def mumford_shah(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"tv_weight": words.take("tv_weight"), "squared": {"l1": False, "l2": True}[words.take("tv_penalty")]}
    words.finish()
    image, activation = words.extras["image"], words.case["activation"]
    return segloss.mumford_shah_loss(logits, target, image=image, activation=activation, reduction="sum", **keywords)


def elastic_interaction(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """What the authors' own backward returns is recorded beside; it is no derivative of the value."""
    keywords = {"strength": words.take("alpha"), "heaviside_width": words.take("heaviside_sigma")}
    words.finish()
    return segloss.elastic_interaction_loss(logits, target, activation=words.case["activation"], **keywords)


ADAPTERS: dict[str, Adapter] = {
    "active_contour": active_contour,
    "elastic_interaction": elastic_interaction,
    "mumford_shah": mumford_shah,
}
