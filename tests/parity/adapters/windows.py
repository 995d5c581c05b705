"""Adapters of the losses of local windows."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def structural_similarity(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    names = {"window_size": "window_size", "window_sigma": "sigma", "smooth": "C4", "threshold": "beta"}
    keywords = {ours: words.take(recorded) for ours, recorded in names.items()}
    keywords["detach_weight"] = words.take("detach_weight", False)
    words.finish()
    return segloss.structural_similarity_loss(logits, target, **keywords)


def with_cross_entropy(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy is recorded as a sum over the classes."""
    share = words.take("weight_lambda")
    cross_entropy = segloss.focal_loss(logits, target, gamma=0, activation="sigmoid")
    return share * logits.shape[1] * cross_entropy + (1 - share) * structural_similarity(words, logits, target)


ADAPTERS: dict[str, Adapter] = {
    "bce_plus_ssl": with_cross_entropy,
    "ssl": structural_similarity,
}
