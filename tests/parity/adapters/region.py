"""Adapters of the region and boundary families, and of the measures."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def overlap(function: Callable[..., Tensor], translate: Callable[[Words], dict[str, Any]]) -> Adapter:
    """An adapter for a loss of images and classes."""

    def adapter(words: Words, logits: Tensor, target: Tensor) -> Tensor:
        keywords = translate(words)
        smp, kornia, odyssey = (name in words.repo for name in ("segmentation_models", "kornia", "SegLossOdyssey"))
        keywords |= {
            "activation": words.case["activation"],
            "batch": words.take("batch", False),
            "include_background": words.take("include_background", True),
        }
        classes = words.take("classes")
        add_classes = words.take("class_reduction") == "sum"
        score = words.take("negative", odyssey and function is not segloss.sensitivity_specificity_loss)
        if words.take("average") == "macro" or kornia:
            keywords["absent"] = "skip"
        words.finish()

        if classes is None and not add_classes and not smp:
            return function(logits, target, **keywords) - int(score)
        loss = function(logits, target, reduction="none", **keywords)
        if smp:
            loss = loss * torch.stack([(target == c).any() for c in range(logits.shape[1])])
        if classes is not None:
            loss = loss[:, classes]
        return (loss.sum(1) if add_classes else loss.mean(1)).mean() - int(score)

    return adapter


def dice(words: Words) -> dict[str, Any]:
    twice = 2 if "segmentation_models" in words.repo else 1
    return {"smooth": twice * words.smooth()}


def jaccard(words: Words) -> dict[str, Any]:
    half = 0.5 if "MONAI" in words.repo else 1
    return {"smooth": half * words.smooth()}


def tversky(words: Words) -> dict[str, Any]:
    """Papers and libraries exchange the letters; the names that say what they price are unmistakable."""
    if words.take("gamma", 1.0) != 1:
        raise ValueError("gamma of a Tversky loss is 1")
    alpha, beta = words.take("alpha"), words.take("beta")
    return {
        "alpha": words.take("beta_fp", alpha),
        "beta": words.take("alpha_fn", beta),
        "smooth": words.smooth(),
    }


def focal_tversky(words: Words) -> dict[str, Any]:
    gamma = words.take("gamma")
    return {"gamma": gamma, **tversky(words)}


def f_beta(words: Words) -> dict[str, Any]:
    return {"beta": words.take("f_beta"), "smooth": words.smooth()}


def sensitivity_specificity(words: Words) -> dict[str, Any]:
    return {"r": words.take("r"), "smooth": words.smooth()}


def noise_robust_dice(words: Words) -> dict[str, Any]:
    return {
        "gamma": words.take("gamma"),
        "squared": words.take("squared_denominator"),
        "smooth": words.take("eps"),
    }


def either_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Dice a class, or over all classes at once, which is the generalised Dice with equal weights."""
    if words.left.get("average") != "micro":
        return overlap(segloss.dice_loss, dice)(words, logits, target)
    words.take("average")
    words.left["weight_type"] = "uniform"
    return generalised_dice(words, logits, target)


def generalised_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "volume_power": {"square": 2, "simple": 1, "uniform": 0}[words.take("weight_type")],
        "smooth": words.smooth(),
        "batch": words.take("batch", False),
    }
    words.finish()
    return segloss.generalised_dice_loss(logits, target, activation=words.case["activation"], **keywords)


def generalised_wasserstein_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "label_distance": words.take("dist_matrix"),
        "weighting": {"default": "default", "GDL": "generalised"}[words.take("weighting_mode")],
        "smooth": words.smooth(),
    }
    words.finish()
    return segloss.generalised_wasserstein_dice_loss(logits, target, **keywords)


def lovasz_softmax(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "absent": {"present": "skip", "all": "penalise"}[words.take("classes")],
        "batch": not words.take("per_image"),
        "ignore_index": words.take("ignore_index"),
    }
    words.finish()
    return segloss.lovasz_softmax_loss(logits, target, activation=words.case["activation"], **keywords)


def lovasz_hinge(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"batch": not words.take("per_image"), "ignore_index": words.take("ignore_index")}
    words.finish()
    return segloss.lovasz_hinge_loss(logits, target, **keywords)


def boundary_f1_loss(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "boundary_width": words.take("theta0"),
        "tolerance_width": words.take("theta"),
        "smooth": words.take("eps"),
    }
    words.finish()
    return segloss.boundary_f1_loss(logits, target, activation=words.case["activation"], **keywords)


def boundary_f1(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    if words.take("boundary") != "inner, 4-connected, outside the image counts as background":
        raise ValueError("another boundary than ours")
    keywords = {"tolerance": words.take("theta"), "include_background": words.take("background")}
    words.finish()
    return segloss.boundary_f1(logits, target, **keywords)


def jaccard_index(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "batch": {"dataset": True, "image": False}[words.take("level")],
        "include_background": words.take("background"),
    }
    words.finish()
    return segloss.jaccard_index(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "asymmetric_fbeta": overlap(segloss.f_beta_loss, f_beta),
    "bf_score": boundary_f1,
    "boundary_f1": boundary_f1_loss,
    "dice": either_dice,
    "dice_drozdzal_negative": overlap(segloss.dice_loss, dice),
    "dice_squared": overlap(segloss.squared_dice_loss, dice),
    "focal_tversky": overlap(segloss.focal_tversky_loss, focal_tversky),
    "generalised_dice": generalised_dice,
    "generalised_wasserstein_dice": generalised_wasserstein_dice,
    "jaccard_index": jaccard_index,
    "lovasz_hinge": lovasz_hinge,
    "lovasz_softmax": lovasz_softmax,
    "noise_robust_dice": overlap(segloss.noise_robust_dice_loss, noise_robust_dice),
    "sensitivity_specificity": overlap(segloss.sensitivity_specificity_loss, sensitivity_specificity),
    "soft_dice": overlap(segloss.dice_loss, dice),
    "soft_iou": overlap(segloss.jaccard_loss, jaccard),
    "soft_jaccard": overlap(segloss.jaccard_loss, jaccard),
    "soft_tversky": overlap(segloss.tversky_loss, tversky),
    "tversky": overlap(segloss.tversky_loss, tversky),
}
