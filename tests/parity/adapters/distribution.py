"""Adapters of the distribution family."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def focal(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Some libraries divide by the number of classes too; a case that says so wants a C-th of the mean."""
    classes = logits.shape[1] if words.take("divide_by_classes") else 1
    keywords = {"gamma": words.take("gamma"), "alpha": words.take("alpha")}
    words.finish()
    reduction = "sum" if words.case["reduction"].startswith("sum") else "mean"
    return (
        segloss.focal_loss(logits, target, activation=words.case["activation"], reduction=reduction, **keywords)
        / classes
    )


def focal_star(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"gamma": words.take("gamma"), "alpha": words.take("alpha"), "shift": words.take("beta")}
    words.finish()
    return segloss.focal_star_loss(logits, target, **keywords)


def topk(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Libraries take their share of all voxels; a case that ignores some wants another share of those that count."""
    k, ignore_index = words.take("k_percent") / 100, words.take("ignore_index")
    words.finish()
    if ignore_index is None:
        return segloss.topk_cross_entropy_loss(logits, target, k=k)
    number, counted = int(k * target.numel() + 1e-9), (target != ignore_index).sum().item()
    share = min(1, number / counted)
    total = segloss.topk_cross_entropy_loss(logits, target, k=share, ignore_index=ignore_index, reduction="sum")
    return total / number


def bootstrapped(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {name: words.take(name) for name in ("threshold", "min_kept", "ignore_index")}
    words.finish()
    return segloss.bootstrapped_cross_entropy_loss(logits, target, **keywords)


def tilted(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {"t": words.take("t"), "ignore_index": words.take("ignore_index")}
    level = {"class": "class", "pixel": "voxel"}[words.take("level")]
    words.finish()
    return segloss.tilted_cross_entropy_loss(logits, target, level=level, **keywords)


def unet_weighted(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The map is made anew; the later formula of the authors has its own names for our parameters."""
    reduction = words.take("reduction")
    if words.take("variant") == "falk2019_plugin":
        keywords = {
            "class_weight": (words.take("foreground_background_ratio"), 1.0),
            "sigma": words.take("sigma_separation"),
            "balance_sigma": words.take("sigma_balance"),
        }
    else:
        keywords = {
            "class_weight": words.take("class_weights"),
            "sigma": words.take("sigma"),
            "border": words.take("border_region"),
        }
    weight_map = segloss.unet_weight_map(words.extras["instances"], w0=words.take("w0"), **keywords)
    words.finish()
    name = "sum" if reduction == "weighted_mean" else reduction
    value = segloss.weighted_cross_entropy_loss(logits, target, weight_map=weight_map, reduction=name)
    return value / weight_map.sum(dtype=value.dtype) if reduction == "weighted_mean" else value


def inverse_weighted(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The map is made anew, from components joined across corners."""
    assert words.take("connectivity").startswith("full")
    weight_map = segloss.inverse_weight_map(target, w_min=words.take("w_min"), w_max=words.take("w_max"))
    loss = {
        "iw_asymmetric_similarity": segloss.weighted_asymmetric_similarity_loss,
        "iw_bce": segloss.weighted_cross_entropy_loss,
        "iw_dice": segloss.weighted_dice_loss,
        "iw_focal": segloss.weighted_focal_loss,
    }[words.case["loss"]]
    given = {name: words.take(name) for name in ("alpha", "beta", "gamma") if name in words.left}
    words.finish()
    return loss(logits, target, weight_map=weight_map, **given)


ADAPTERS: dict[str, Adapter] = {
    "bootstrapped_ce": bootstrapped,
    "iw_asymmetric_similarity": inverse_weighted,
    "iw_bce": inverse_weighted,
    "iw_dice": inverse_weighted,
    "iw_focal": inverse_weighted,
    "sigmoid_focal": focal,
    "sigmoid_focal_onevsrest": focal,
    "sigmoid_focal_star": focal_star,
    "softmax_focal": focal,
    "softmax_focal_div_c": focal,
    "tilted_ce_class": tilted,
    "tilted_ce_pixel": tilted,
    "topk_ce": topk,
    "unet_weighted_ce": unet_weighted,
}
