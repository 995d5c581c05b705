"""Adapters of losses since 2022."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def tvmf_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"kappa": words.take("kappa")}
    words.finish()
    return segloss.tvmf_dice_loss(logits, target, activation=words.case["activation"], batch=True, **keywords)


def boundary_dou(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    if words.take("n_classes") != logits.shape[1]:
        raise ValueError("another number of classes than channels")
    keywords = {"alpha_max": words.take("alpha_max"), "smooth": words.smooth()}
    words.finish()
    return segloss.boundary_dou_loss(logits, target, activation=words.case["activation"], batch=True, **keywords)


ADAPTERS: dict[str, Adapter] = {"boundary_dou_loss": boundary_dou, "tvmf_dice_loss": tvmf_dice}
