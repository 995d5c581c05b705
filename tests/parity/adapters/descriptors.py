"""Adapters of the weighted Hausdorff distance, of contours and perimeters, and of shape descriptors."""

import math
from typing import Any

import torch
from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def hausdorff(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Each image has its own spacing, from the size it once had; the largest distance stays in voxels."""
    loss = {
        "weighted_hausdorff": segloss.weighted_hausdorff_loss,
        "weighted_hausdorff_v1": segloss.quotient_hausdorff_loss,
    }[words.case["loss"]]
    keywords = {"exponent": words.take("alpha"), "smooth": words.take("eps"), "activation": words.case["activation"]}
    words.finish()
    now = logits.shape[2:]
    sizes = words.extras.get("orig_sizes", torch.tensor([now] * len(logits)))
    images = []
    for image, label, once in zip(logits.split(1), target.split(1), sizes.tolist(), strict=True):
        spacing = [before / after for before, after in zip(once, now, strict=True)]
        images.append(loss(image, label, spacing=spacing, max_distance=math.hypot(*now), **keywords))
    return torch.stack(images).mean()


def contour_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as one minus the coefficient."""
    if words.take("threshold") != 0.5 or words.case["activation"] != "sigmoid":
        raise ValueError("another decision than ours")
    tolerance = words.take("tolerance")
    words.finish()
    return 1 - segloss.contour_dice(logits, target, tolerance=tolerance, absent="smooth")


def perimeter(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    classes = words.take("idc")
    words.finish()
    loss = segloss.perimeter_loss(logits, target, activation=words.case["activation"], reduction="none")
    return loss[:, classes].mean()


def shape_descriptors(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as a sum over images and classes."""
    names = {"dist_centroid": "spread", "naive": "quadratic"}
    margins: dict[str, Any] = dict.fromkeys(("volume", "centroid", "spread", "length"))
    relative = []
    for term in words.take("terms"):
        name = names.get(term["descriptor"], term["descriptor"])
        if margins[name] is not None:
            raise ValueError(f"two terms of the {name}")
        margins[name] = term["margin"]
        if {"percentage": True, "abs": False}[term["mode"]]:
            relative.append(name)
    penalty = words.take("penalty")
    keywords = {"penalty": names.get(penalty, penalty), "t": words.take("t"), "activation": words.case["activation"]}
    classes, weight = words.take("idc"), words.take("weight")
    words.finish()
    loss = segloss.shape_descriptor_loss(logits, target, relative=relative, reduction="none", **margins, **keywords)
    return weight * loss[:, classes].sum()


ADAPTERS: dict[str, Adapter] = {
    "contour_dice_coefficient": contour_dice,
    "perimeter_loss": perimeter,
    "shape_descriptors": shape_descriptors,
    "weighted_hausdorff": hausdorff,
    "weighted_hausdorff_v1": hausdorff,
}
