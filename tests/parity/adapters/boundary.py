"""Adapters of the boundary family, and of its compound with Dice."""

from collections.abc import Callable

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def boundary(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The mean over the classes that a case names; a map that is none of ours is taken as recorded."""
    classes, spacing = words.take("idc"), words.take("spacing")
    keywords = {"activation": words.case["activation"], "reduction": "none"}
    if words.take("truncate_distance_to_int", False) or words.take("variant", "") == "segloss_sdf":
        keywords |= {"distance": words.extras["distance"], "rim": 0.0}
    else:
        keywords |= {"spacing": spacing}
    words.finish()
    return segloss.boundary_loss(logits, target, **keywords)[:, classes].mean()


def rebalanced(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    alpha = words.take("alpha")
    if words.take("gdl_idc") != list(range(logits.shape[1])):
        raise ValueError("the generalised Dice part covers every class")
    regional = segloss.generalised_dice_loss(logits, target, activation=words.case["activation"])
    return (1 - alpha) * regional + alpha * boundary(words, logits, target)


def hausdorff_dt(loss: Callable[..., Tensor]) -> Adapter:
    """Where a case keeps the background is its own word, else it is dropped where there is more than one channel."""

    def adapted(words: Words, logits: Tensor, target: Tensor) -> Tensor:
        keywords = {
            "alpha": words.take("alpha"),
            "include_background": words.take("include_background", False) or logits.shape[1] == 1,
            "activation": words.case["activation"],
        }
        if words.take("one_sided", False) or words.case["loss"].endswith("_os"):
            keywords["one_sided"] = True
        variant = words.take("variant", "")
        if variant == "fg_only":
            keywords["side"] = "inside"
        elif variant:
            raise ValueError(f"a variant without a translation: {variant}")
        words.take("batch")  # a mean over everything is the same, pooled or not
        if (spacing := words.take("spacing")) is not None:
            keywords["spacing"] = spacing
        words.finish()
        return loss(logits, target, **keywords)

    return adapted


def hausdorff_erosion(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "alpha": words.take("alpha"),
        "erosions": words.take("erosions"),
        "normalise": words.take("normalize"),
        "include_background": words.take("include_background", False) or logits.shape[1] == 1,
        "activation": words.case["activation"],
    }
    if (variant := words.take("variant", "patryg99")) != "patryg99":
        raise ValueError(f"a variant without a translation: {variant}")
    words.finish()
    return segloss.hausdorff_erosion_loss(logits, target, **keywords)


def hausdorff_convolution(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "alpha": words.take("alpha"),
        "radii": words.take("radii"),
        "include_background": words.take("include_background", True) or logits.shape[1] == 1,
        "activation": words.case["activation"],
    }
    words.finish()
    return segloss.hausdorff_convolution_loss(logits, target, **keywords)


def dice_hd(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "alpha": words.take("alpha"),
        "side": {"fg_only": "inside", "both": "both"}[words.take("variant", "both")],
        "smooth": words.smooth(),
        "batch": words.take("batch_dice"),
        "include_background": words.take("do_bg") or logits.shape[1] == 1,
        "activation": words.case["activation"],
    }
    if words.take("square"):
        raise ValueError("the Dice part does not square its denominator")
    words.finish()
    return segloss.dice_hd_loss(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "boundary_loss": boundary,
    "dice_hd": dice_hd,
    "gdl_plus_boundary": rebalanced,
    "hausdorff_cv": hausdorff_convolution,
    "hausdorff_dt": hausdorff_dt(segloss.boundary.hausdorff_dt_loss),
    "hausdorff_dt_os": hausdorff_dt(segloss.boundary.hausdorff_dt_loss),
    "hausdorff_er": hausdorff_erosion,
    "log_hausdorff_dt": hausdorff_dt(segloss.boundary.log_hausdorff_dt_loss),
}
