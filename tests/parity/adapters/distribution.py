"""Adapters of the distribution family."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def focal(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Some libraries divide by the number of classes too; a case that says so wants a C-th of the mean."""
    classes = logits.shape[1] if words.take("divide_by_classes") else 1
    keywords = {"gamma": words.take("gamma"), "alpha": words.take("alpha")}
    words.finish()
    reduction = "sum" if words.case["reduction"].startswith("sum") else "mean"
    return (
        segloss.focal_loss(logits, target, activation=words.case["activation"], reduction=reduction, **keywords)
        / classes
    )


def focal_star(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"gamma": words.take("gamma"), "alpha": words.take("alpha"), "shift": words.take("beta")}
    words.finish()
    return segloss.focal_star_loss(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "sigmoid_focal": focal,
    "sigmoid_focal_onevsrest": focal,
    "sigmoid_focal_star": focal_star,
    "softmax_focal": focal,
    "softmax_focal_div_c": focal,
}
