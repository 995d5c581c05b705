"""Adapters of the losses that match what is where: Betti matching, Topograph, and the Morse skeleton."""

import re
from typing import Any

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words

GREY_LEVELS = 255


def given(words: Words, *names: str) -> dict[str, Any]:
    """Those of the parameters that the case has, under the same name as ours."""
    return {name: words.take(name) for name in names if name in words.left}


def betti_matching(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = given(words, "relative", "comparison", "filtration", "construction", "essential")
    keywords["unmatched_target"] = words.take("target_unmatched", True)
    words.finish()
    if "3D" in words.repo and logits.ndim == 4:  # this code breaks ties the other way round: the image is turned over
        logits, target = logits.flip(2, 3).mT, target.flip(1, 2).mT
    return segloss.betti_matching_loss(logits, target, activation=words.case["activation"], **keywords)


def dice_betti_matching(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Dice with the constant of MONAI, plus the loss times its weight."""
    alpha = words.take("alpha")
    dice = segloss.dice_loss(logits, target, activation=words.case["activation"], smooth=1e-5)
    return dice + alpha * betti_matching(words, logits, target)


def topograph(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = given(words, "include_background", "eight_connectivity", "aggregation", "sphere")
    words.finish()
    return segloss.topograph_loss(logits, target, activation=words.case["activation"], **keywords)


def discrete_morse(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Thresholds in grey levels are shares of 255."""
    unit, normalise = words.take("threshold_unit"), {"all": "image", "mask": "skeleton"}[words.take("normalise")]
    if not re.match(rf"grey levels 0\.\.{GREY_LEVELS}\b", unit):
        raise ValueError(f"a threshold in {unit}")
    threshold = words.take("threshold") / GREY_LEVELS
    words.finish()
    return segloss.discrete_morse_loss(
        logits,
        target,
        activation=words.case["activation"],
        threshold=threshold,
        levels=GREY_LEVELS,
        normalise=normalise,
    )


def cross_entropy_and_discrete_morse(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy, which is the focal loss at gamma = 0, plus the loss times its weight."""
    beta = words.take("beta")
    cross_entropy = segloss.focal_loss(logits, target, activation=words.case["activation"], gamma=0.0)
    return cross_entropy + beta * discrete_morse(words, logits, target)


ADAPTERS: dict[str, Adapter] = {
    "bce_plus_dmt": cross_entropy_and_discrete_morse,
    "betti_matching": betti_matching,
    "dice_betti_matching": dice_betti_matching,
    "dmt": discrete_morse,
    "topograph": topograph,
}
