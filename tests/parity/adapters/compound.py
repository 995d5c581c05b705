"""Adapters of the compound family, and of the losses that are built like them.

Where a case adds minus a Dice coefficient, ours is larger by a constant, the weight of that part.
"""

from typing import Any

import torch
from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def dice_ce(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    dice_weight, log_dice = words.take("weight_dice", words.take("lambda_dice", 1.0)), words.take("log_dice", False)
    monai = "MONAI" in words.repo
    keywords = {
        "dice_weight": dice_weight,
        "ce_weight": words.take("weight_ce", words.take("lambda_ce", 1.0)),
        "log_dice": log_dice,
        "smooth": words.smooth(),
        "batch": words.take("batch_dice", words.take("batch", False)),
        "include_background": words.take("do_bg", words.take("include_background", True)),
    }
    words.take("ddp")
    words.finish()
    loss = segloss.dice_ce_loss(logits, target, activation=words.case["activation"], **keywords)
    return loss if monai or log_dice else loss - dice_weight


def combo(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The paper adds minus the Dice coefficients of all classes, pooled over the batch."""
    alpha = words.take("alpha")
    keywords = {"alpha": alpha, "beta": words.take("beta"), "smooth": words.smooth(), "batch": True}
    words.finish()
    loss = segloss.combo_loss(logits, target, activation=words.case["activation"], **keywords)
    return loss - (1 - alpha) * logits.shape[1]


def exponential_logarithmic(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "dice_weight": words.take("w_dice"),
        "ce_weight": words.take("w_cross"),
        "gamma_dice": words.take("gamma_dice"),
        "gamma_ce": words.take("gamma_cross"),
        "weight": torch.tensor(words.take("class_weights"), dtype=torch.float64),
        "smooth": words.smooth(),
    }
    words.finish()
    return segloss.exponential_logarithmic_loss(logits, target, activation=words.case["activation"], **keywords)


def exponential_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The Dice part alone; smoothing in the denominator only guards it."""
    anatomynet = "gamma" in words.left
    keywords = {"gamma_dice": words.take("gamma", words.take("exp")), "smooth": words.smooth(), "batch": anatomynet}
    if set(words.take("class_weight", [1.0])) != {1.0}:
        raise ValueError("the Dice part has no class weights")
    words.finish()
    return segloss.exponential_logarithmic_loss(
        logits, target, activation=words.case["activation"], dice_weight=1.0, ce_weight=0.0, **keywords
    )


def dice_focal(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"gamma": words.take("gamma"), "smooth": float(words.take("smooth")), "clamp": words.take("eps")}
    words.finish()
    return segloss.dice_focal_loss(logits, target, activation=words.case["activation"], squared=True, **keywords)


def class_sums(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Sums over the classes that are annotated, each with its weight; the prices 1/2 make the Tversky index Dice."""
    parts = {
        "anatomynet_dice": (1.0, 0.0),
        "anatomynet_focal": (0.0, 1.0),
        "anatomynet_hybrid": (1.0, words.take("lambda_focal")),
    }
    dice_weight, focal_weight = parts[words.case["loss"]]
    words.take("clamp")  # only guards the logarithm
    if (words.take("alpha"), words.take("beta")) != (0.5, 0.5):
        raise ValueError("a Tversky index that is not Dice")
    weight = torch.tensor(words.take("class_weight"), dtype=torch.float64) * torch.tensor(words.take("class_mask"))
    keywords = {"gamma": words.take("gamma"), "smooth": words.smooth(), "weight": weight}
    words.finish()
    return segloss.dice_focal_loss(
        logits,
        target,
        activation=words.case["activation"],
        dice_weight=dice_weight,
        focal_weight=focal_weight,
        class_reduction="sum",
        batch=True,
        **keywords,
    )


def penalised_generalised_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """A binary map is taken as two classes, the background with logits of 0."""
    keywords = {"k": words.take("k")}
    words.finish()
    both = torch.cat([torch.zeros_like(logits), logits], 1) if logits.shape[1] == 1 else logits
    return segloss.penalised_generalised_dice_loss(both, target, **keywords)


def dice_topk(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "k": words.take("k_percent") / 100,
        "smooth": words.smooth(),
        "batch": words.take("batch_dice"),
        "include_background": words.take("do_bg"),
    }
    words.take("ddp")
    words.finish()
    return segloss.dice_topk_loss(logits, target, activation=words.case["activation"], **keywords) - 1


def odyssey(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The compounds of the benchmark; alpha is the same for every class there."""
    dice: dict[str, Any] = {"smooth": 1e-5, "batch": True, "include_background": False}
    if "exponent" in words.left:
        alpha = words.take("exponent")
        words.finish()
        return segloss.dice_hd_loss(logits, target, alpha=alpha, **dice)
    if "k_percent" in words.left:
        loss = segloss.dice_topk_loss(logits, target, k=words.take("k_percent") / 100, **dice)
    elif "alpha" in words.left:
        focal_weight, gamma = words.take("alpha"), words.take("gamma")
        loss = segloss.dice_focal_loss(logits, target, focal_weight=focal_weight, gamma=gamma, **dice)
    else:
        loss = segloss.dice_ce_loss(logits, target, **dice)
    words.finish()
    return loss - 1


ADAPTERS: dict[str, Adapter] = {
    "anatomynet_dice": class_sums,
    "anatomynet_focal": class_sums,
    "anatomynet_hybrid": class_sums,
    "combo": combo,
    "combo_multiclass": combo,
    "dc_and_ce": dice_ce,
    "dc_and_ce_segloss": dice_ce,
    "dc_and_ce_v2": dice_ce,
    "dice_ce_monai": dice_ce,
    "dice_focal_hecktor": dice_focal,
    "dice_topk": dice_topk,
    "dice_topk_v2": dice_topk,
    "explogdice_anatomynet": exponential_dice,
    "exponential_dice_ibm": exponential_dice,
    "exponential_logarithmic": exponential_logarithmic,
    "odyssey_dice_ce": odyssey,
    "odyssey_dice_focal": odyssey,
    "odyssey_dice_hd": odyssey,
    "odyssey_dice_topk": odyssey,
    "penalized_generalized_dice": penalised_generalised_dice,
}
