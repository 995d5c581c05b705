"""Adapters of losses on persistence diagrams."""

from typing import Any

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def chosen(words: Words, name: str, *allowed: object) -> None:
    """Take a word that has no translation because we know one meaning alone."""
    if (value := words.take(name, allowed[0])) not in allowed:
        raise ValueError(f"{name}={value!r} has no translation")


def topological(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as a sum."""
    chosen(words, "filtration", "superlevel of p (= sublevel of 1-p)")
    chosen(words, "match", "by decreasing persistence")
    names = {
        "patch_size": "patch_size",
        "dimensions": "dims",
        "threshold": "pers_thresh",
        "construction": "construction",
    }
    keywords: dict[str, Any] = {ours: words.take(recorded) for ours, recorded in names.items()}
    words.finish()
    return segloss.topological_loss(logits, target, activation=words.case["activation"], reduction="sum", **keywords)


def topological_prior(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as a sum; without the constant, bars that are wanted enter as minus their length."""
    betti, constant = words.take("betti"), words.take("constant", True)
    keywords = {"construction": words.take("complex"), "max_bars": words.take("max_k")}
    words.finish()
    keywords |= {"prior": {1: betti}, "exponent": 2.0, "activation": words.case["activation"], "reduction": "sum"}
    loss = segloss.topological_prior_loss(logits, target, **keywords)
    wanted = max(betti[0] - 1, 0) + sum(betti[1:])
    return loss if constant else loss - wanted * len(logits)


def multiclass_topological_prior(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as a sum; its construction "0" has voxels for vertices, "N" for cells."""
    prior = {tuple(map(int, labels.split(","))): betti for labels, betti in words.take("prior").items()}
    keywords = {"construction": {"0": "V", "N": "T"}[words.take("construction")], "threshold": words.take("thresh")}
    words.take("connectivity")
    chosen(words, "mse_lambda", 0)
    words.finish()
    keywords |= {"prior": prior, "activation": words.case["activation"], "reduction": "sum"}
    return segloss.topological_prior_loss(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "multiclass_topological_prior": multiclass_topological_prior,
    "topological_loss": topological,
    "topological_prior": topological_prior,
    "topological_prior_official": topological_prior,
}
