"""Adapters of the topology family."""

from typing import Any

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def soft_cldice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The authors pool the batch."""
    keywords = of_cldice(words)
    words.finish()
    return segloss.soft_cldice_loss(logits, target, activation=words.case["activation"], **keywords)


def soft_dice_cldice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"alpha": words.take("alpha"), **of_cldice(words)}
    words.finish()
    return segloss.soft_dice_cldice_loss(logits, target, activation=words.case["activation"], **keywords)


def of_cldice(words: Words) -> dict[str, Any]:
    return {
        "iterations": words.take("iter_"),
        "smooth": words.smooth(),
        "include_background": not words.take("exclude_background"),
        "batch": True,
    }


def skeleton_recall(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as minus the recall; the tubes are made anew."""
    keywords = {
        "skeleton": segloss.tubed_skeleton(target, radius=2 if words.take("do_tube", True) else 0),
        "smooth": words.smooth(),
        "batch": words.take("batch_dice", False),
    }
    words.take("ddp")
    if words.take("do_bg", False):
        raise ValueError("the background has no centre line")
    words.finish()
    return segloss.skeleton_recall_loss(logits, target, activation=words.case["activation"], **keywords) - 1


def dice_ce_skeleton_recall(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The sum of three losses, two of them recorded as minus a coefficient."""
    dice_weight, weight = words.take("weight_dice"), words.take("weight_srec")
    keywords = {
        "dice_weight": dice_weight,
        "ce_weight": words.take("weight_ce"),
        "smooth": words.left["smooth"],
        "batch": words.left.get("batch_dice", False),
        "include_background": words.take("do_bg"),
    }
    recall = skeleton_recall(words, logits, target)
    overlap = segloss.dice_ce_loss(logits, target, activation=words.case["activation"], **keywords)
    return overlap - dice_weight + weight * recall


def centerline_boundary_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as minus the coefficient, pooled over the batch."""
    keywords = {
        "weighting": {"cbdice": "boundary", "cl_m_dice": "mask", "cldice_hard_skeleton": "none"}[words.case["loss"]],
        "thinning": "topological" if words.take("topology_preserving_skeleton") else "morphological",
        "iterations": words.take("iter_"),
        "smooth": words.smooth(),
        "batch": True,
    }
    words.finish()
    return segloss.centerline_boundary_dice_loss(logits, target, **keywords) - 1


ADAPTERS: dict[str, Adapter] = {
    "cbdice": centerline_boundary_dice,
    "cl_m_dice": centerline_boundary_dice,
    "cldice_hard_skeleton": centerline_boundary_dice,
    "dice_ce_skeleton_recall": dice_ce_skeleton_recall,
    "soft_cldice": soft_cldice,
    "soft_dice_cldice": soft_dice_cldice,
    "soft_skeleton_recall": skeleton_recall,
}
