"""Faults seen in the wild: promise -> fault -> the loss that has it, and that the promise must catch."""

import functools
import random
from dataclasses import replace

import numpy as np
import torch

from segloss.testing import CONTRACT, Loss
from tests.broken import (
    REFUSALS,
    REFUSALS_OF_DISTANCES,
    Faulty,
    Forgetful,
    FrozenGradient,
    Mute,
    OtherDefault,
    TensorsLeftBehind,
    Unmasked,
    background_first,
    branching,
    but,
    first_part,
    naive,
    scaled_by_voxels,
    tracking,
    unstable,
    vanishing,
    without,
)
from tests.plain import PlainDice, plain_dice, plain_distance, plain_overlap

CORRECT_LOSS = Loss(plain_dice, range=(0, 1), soft_labels=True, module=PlainDice)
CORRECT_DISTANCE_LOSS = Loss(plain_distance, tasks=("binary", "multiclass"))
CORRECT_MEASURE = Loss(plain_overlap, tasks=("binary", "multiclass"), range=(0, 1), measure=True)

FAULTS: dict[str, dict[str, Faulty | Loss]] = {
    "scalar_and_finite": {
        "is not a scalar": lambda x, y, **k: plain_dice(x, y, **k)[None],
        "is not a number": lambda x, y, **k: plain_dice(x, y, **k) * float("nan"),
        "carries no gradient": lambda x, y, **k: plain_dice(x.detach(), y, **k),
    },
    "keeps_dtype": {"returns float32": lambda x, y, **k: plain_dice(x.float(), y, **k)},
    "range_holds": {
        "is negative": lambda x, y, **k: plain_dice(x, y, **k) - 1,
        "sums over classes": but(reduction="sum"),
    },
    "gradient_is_derivative": {
        "has twice the gradient": lambda x, y, **k: plain_dice(2 * x - x.detach(), y, **k),
        "has no gradient": lambda x, y, **k: plain_dice(x.detach() + 0 * x, y, **k),
        "has no gradient without the background": lambda x, y, **k: plain_dice(
            x if k.get("include_background", True) else x.detach() + 0 * x, y, **k
        ),
        "has twice the gradient in float32": lambda x, y, **k: plain_dice(
            2 * x - x.detach() if x.dtype == torch.float32 else x, y, **k
        ),
    },
    "second_derivative_is_right_or_refused": {
        "is silently zero": lambda x, y, **k: FrozenGradient.apply(x, y, k),
    },
    "extreme_logits_are_finite": {"exponentiates logits": unstable},
    "nan_is_not_hidden": {"takes NaN for nothing": lambda x, y, **k: plain_dice(x.nan_to_num(), y, **k)},
    "absent_classes_are_finite": {
        "divides 0 by 0": naive,
        "has a root at the truth": lambda x, y, **k: plain_dice(x, y, **k) ** 0.75,
        "has a logarithm at no overlap": lambda x, y, **k: -(1 - plain_dice(x, y, **k)).log(),
    },
    "best_at_truth": {
        "is a score": lambda x, y, **k: 1 - plain_dice(x, y, **k),
        "is a constant": lambda x, y, **k: 0 * plain_dice(x, y, **k),
        "prefers doubt": lambda x, y, **k: plain_dice(x, y, **k) + 1e-3 * x.square().mean(),
    },
    "half_precision_is_close": {
        "sums in half precision": functools.partial(naive, smooth=1.0),
        "loses its gradient": vanishing,
    },
    "large_images_are_exact": {"derives the first part only": first_part},
    "compiles": {
        "branches on a value": branching,
        "asks which tensors it has": lambda x, y, **k: plain_dice(x, y, **k) + 0 * (id(x) == id(y)),
        "leaves the graph": lambda x, y, **k: plain_dice(x, y, **k) * float(np.float64(x.detach().sum().item() != 0)),
    },
    "image_order_is_free": {"looks at the first image": lambda x, y, **k: plain_dice(x[:1], y[:1], **k)},
    "axis_order_is_free": {
        "drops the first row": lambda x, y, **k: plain_dice(
            x[:, :, 1:], y.movedim(-x.ndim + 2, 0)[1:].movedim(0, -x.ndim + 2), **k
        )
    },
    "class_order_is_free": {
        "weighs classes by their index": lambda x, y, **k: plain_dice(
            x, y, **{**k, "weight": torch.arange(1, x.shape[1] + 1)}
        ),
        "has its own order of classes": lambda x, y, **k: plain_dice(
            x, y, **{**k, "label_distance": torch.arange(float(x.shape[1] ** 2)).reshape(x.shape[1], -1)}
        ),
    },
    "memory_layout_is_free": {
        "reads memory in order": lambda x, y, **k: plain_dice(
            x.as_strided(x.shape, torch.empty(x.shape).stride()), y, **k
        ),
    },
    "label_forms_agree": {
        "overflows uint8": lambda x, y, **k: plain_dice(x, y if y.dtype == torch.bool else y * 100 // 100, **k),
        "counts the channel axis": lambda x, y, **k: plain_dice(x, y, **k) * y.ndim,
    },
    "one_hot_equals_labels": {
        "rounds soft labels": lambda x, y, **k: plain_dice(x, y.round() if y.is_floating_point() else y, **k),
        "treats one-hot otherwise": lambda x, y, **k: plain_dice(x, y, **k) * (1 + (y.shape == x.shape)),
    },
    "probabilities_equal_logits": {
        "activates probabilities": lambda x, y, **k: plain_dice(
            x, y, **{**k, "activation": k.get("activation", "auto").replace("none", "auto")}
        ),
        "takes a sigmoid of all": lambda x, y, **k: plain_dice(
            x, y, **{**k, "activation": k.get("activation", "auto").replace("auto", "sigmoid")}
        ),
    },
    "arguments_are_left_alone": {
        "writes to the target": lambda x, y, **k: plain_dice(
            x, y.mul_(1) if y.dtype != torch.bool else y.logical_not_().logical_not_(), **k
        ),
        "writes to the weight": lambda x, y, **k: plain_dice(x, y, **{**k, "weight": k["weight"].div_(2)}),
        "draws from torch": lambda x, y, **k: plain_dice(x, y, **k) + 0 * torch.rand(()),
        "draws from numpy": lambda x, y, **k: plain_dice(x, y, **k) + 0 * np.random.rand(),
        "draws from random": lambda x, y, **k: plain_dice(x, y, **k) + 0 * random.random(),
        "fills .grad": lambda x, y, **k: (plain_dice(x, y, **k).backward(), plain_dice(x, y, **k))[1],
    },
    "works_without_gradient": {
        "needs a gradient": tracking,
    },
    "ignored_voxels_change_nothing": {
        "has no such label": lambda x, y, **k: plain_dice(
            x, torch.where(y == k.get("ignore_index"), 0, y), **{**k, "ignore_index": None}
        ),
        "multiplies by zero": lambda x, y, **k: plain_dice(x, y, **k) + 0 * x.sum(),
        "is not a number of nothing": lambda x, y, **k: plain_dice(x, y, **k) + 0 / (y != k.get("ignore_index")).sum(),
        "counts what it ignores": lambda x, y, **k: (
            plain_dice(x, y, **k) + (y == k.get("ignore_index")).double().mean()
        ),
    },
    "masked_voxels_change_nothing": {
        "is deaf to the mask": without("mask"),
        "multiplies by zero": lambda x, y, **k: plain_dice(x, y, **k) + 0 * x.sum(),
        "reads the mask as boolean": lambda x, y, **k: plain_dice(
            x, y, **{**k, "mask": k["mask"] if k["mask"].dtype == torch.bool else None}
        ),
        "is not a number of nothing": lambda x, y, **k: plain_dice(x, y, **k) + 0 / k["mask"].sum(),
    },
    "masking_equals_ignoring": {
        "takes one or the other": lambda x, y, **k: plain_dice(
            x, y, **{**k, "mask": None} if k.get("ignore_index") else k
        ),
        "counts voxels masked": scaled_by_voxels,
    },
    "masking_equals_cropping": {"is deaf to the mask": without("mask"), "counts voxels masked": scaled_by_voxels},
    "reductions_agree": {
        "is deaf to the reduction": without("reduction"),
        "means a sum": lambda x, y, **k: plain_dice(
            x, y, **{**k, "reduction": k.get("reduction", "mean").replace("mean", "sum")}
        ),
        "sums a mean": lambda x, y, **k: plain_dice(
            x, y, **{**k, "reduction": k.get("reduction", "mean").replace("sum", "mean")}
        ),
        "sums by default": lambda x, y, **k: plain_dice(x, y, **{"reduction": "sum", **k}),
    },
    "weights_are_relative": {
        "is deaf to the weight": without("weight"),
        "is not normalised": lambda x, y, **k: (
            plain_dice(x, y, **k) * (1 if k.get("weight") is None else k["weight"].mean())
        ),
        "squares the weights": lambda x, y, **k: plain_dice(
            x, y, **{**k, "weight": k.get("weight") if k.get("weight") is None else k["weight"] ** 2}
        ),
    },
    "background_can_be_left_out": {
        "is deaf to the keyword": without("include_background"),
        "drops it before the softmax": background_first,
        "accepts nothing left": lambda x, y, **k: plain_dice(
            x, y, **{**k, "include_background": k.get("include_background", True) or x.shape[1] == 1}
        ),
    },
    "pooling_equals_one_image": {"is deaf to the keyword": without("batch")},
    "absent_classes_follow_their_policy": {
        "is deaf to the keyword": without("absent"),
        "skips instead of penalising": lambda x, y, **k: plain_dice(
            x, y, **{**k, "absent": k["absent"].replace("penalise", "skip")}
        ),
        "averages over all": lambda x, y, **k: (
            plain_dice(x, y, reduction="none", **k).mean() if "reduction" not in k else plain_dice(x, y, **k)
        ),
    },
    "wrong_shapes_are_refused": REFUSALS,
    "wrong_types_are_refused": REFUSALS,
    "labels_out_of_range_are_refused": {
        **REFUSALS,
        "clips labels": lambda x, y, **k: plain_dice(
            x, y if y.dtype == torch.bool else y.clamp(0, max(1, x.shape[1] - 1)), **k
        ),
    },
    "unknown_words_are_refused": REFUSALS,
    "wrong_weights_are_refused": REFUSALS,
    "wrong_masks_are_refused": REFUSALS,
    "unclaimed_inputs_are_refused": {
        "accepts another task": Loss(plain_dice, tasks=("binary", "multilabel"), soft_labels=True),
        "accepts more axes": Loss(plain_dice, dims=(2,), soft_labels=True),
        "accepts soft labels": Loss(plain_dice, soft_labels=False),
    },
    "module_equals_function": {
        "has another default": Loss(plain_dice, module=OtherDefault),
        "is deaf to the mask": Loss(plain_dice, module=Unmasked),
    },
    "module_can_be_copied": {
        "forgets its keywords": Loss(plain_dice, module=Forgetful),
        "leaves tensors behind": Loss(plain_dice, module=TensorsLeftBehind),
    },
    "truth_is_best": {
        "is a loss": lambda x, y, **k: 1 - plain_overlap(x, y, **k),
        "is a constant": lambda x, y, **k: torch.ones((), dtype=x.dtype),
    },
    "only_decisions_count": {"is soft": lambda x, y, **k: plain_overlap(x, y, **k) + x.square().mean()},
    "classes_without_truth_are_left_out": {
        "counts them as nothing": lambda x, y, **k: (
            plain_overlap(x, y, **k) if k else plain_overlap(x, y, reduction="none").nan_to_num(0).mean()
        ),
        "makes them perfect": lambda x, y, **k: plain_overlap(x, y, **k).nan_to_num(1),
    },
    "module_says_what_it_is": {"is mute": Loss(plain_dice, module=Mute)},
    "given_distances_equal_computed": {
        "is deaf to the distance": lambda x, y, **k: plain_distance(x, y, **{**k, "distance": None}),
        "takes it with the other sign": lambda x, y, **k: plain_distance(
            x, y, **{**k, "distance": -k["distance"] if k.get("distance") is not None else None}
        ),
        "computes in voxels": lambda x, y, **k: plain_distance(x, y, **{**k, "spacing": None}),
        "ignores at the border only": lambda x, y, ignore_index=None, **k: plain_distance(
            x, y if ignore_index is None else y.where(y != ignore_index, 0), **k
        ),
    },
    "spacing_scales_distances": {
        "is deaf to the spacing": lambda x, y, **k: plain_distance(x, y, **{**k, "spacing": None}),
        "reads it backwards": lambda x, y, **k: plain_distance(
            x, y, **{**k, "spacing": k["spacing"][::-1] if k.get("spacing") is not None else None}
        ),
        "squares it": lambda x, y, **k: plain_distance(
            x, y, **{**k, "spacing": [s * s for s in k["spacing"]] if k.get("spacing") is not None else None}
        ),
        "halves it": lambda x, y, **k: plain_distance(
            x, y, **{**k, "spacing": [s / 2 for s in k["spacing"]] if k.get("spacing") is not None else None}
        ),
    },
    "wrong_spacings_are_refused": REFUSALS_OF_DISTANCES,
    "wrong_distances_are_refused": REFUSALS_OF_DISTANCES,
}


def correct(promise: str) -> Loss:
    """What keeps the promise and is bound by it."""
    bound = CONTRACT[promise]
    if bound.of == "measures":
        return CORRECT_MEASURE
    return CORRECT_LOSS if bound.binds(CORRECT_LOSS) else CORRECT_DISTANCE_LOSS


def loss(promise: str, fault: str) -> Loss:
    """The faulty function with the signature and the claims of the correct one."""
    faulty = FAULTS[promise][fault]
    if isinstance(faulty, Loss):
        return faulty
    sound = correct(promise)
    return replace(sound, function=functools.update_wrapper(functools.partial(faulty), sound.function))
