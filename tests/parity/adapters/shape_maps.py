"""Adapters of losses with distance maps or smoothness terms beside cross-entropy, and of regressed maps."""

from typing import Any

import torch
from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def distance_penalised(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The penalty is made anew."""
    keywords = {"normalise": words.take("normalize")}
    words.finish()
    return segloss.distance_penalised_cross_entropy_loss(
        logits, target, activation=words.case["activation"], **keywords
    )


def shape_aware(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    words.finish()
    return segloss.shape_aware_cross_entropy_loss(logits, target, activation=words.case["activation"])


def layer_smoothness(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as a sum over the pixels; the map of weights is the recorded one."""
    if words.take("axis", "last") != "last":
        raise ValueError("a layer along another axis than the last")
    keywords = {"smoothness_weight": float(words.take("smoothness_weight")), "window": words.take("window")}
    if words.take("spatial_weight"):
        keywords["weight_map"] = words.extras["weight"]
    words.finish()
    return segloss.layer_smoothness_loss(logits, target, reduction="sum", **keywords)


def signed_distance(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded channels are organs without a background, and sums are those of the whole batch."""
    joint = words.case["loss"] == "sdm_dice_joint"
    share = words.take("lam") if joint else 1.0
    level = {"global_sum": "image", "voxelwise": "voxel"}[words.take("product")]
    keywords: dict[str, Any] = {
        "dice_weight": float(joint),
        "product_weight": share,
        "l1_weight": share * words.take("l1", True),
        "level": level,
        "batch": True,
        "smooth": words.smooth(),
    }
    if "k" in words.left:
        keywords["steepness"] = words.take("k")
    words.finish()
    if logits.shape[1] > 1:
        target = torch.stack([target == organ for organ in range(1, logits.shape[1] + 1)], 1)
    return segloss.signed_distance_regression_loss(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "bce_smoothness": layer_smoothness,
    "distance_penalized_ce": distance_penalised,
    "sdm_dice_joint": signed_distance,
    "sdm_regression": signed_distance,
    "shape_aware_ce": shape_aware,
}
