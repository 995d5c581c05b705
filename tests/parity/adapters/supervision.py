"""Adapters of losses for partial labels, region sizes, and losses that keep a state."""

from typing import Any

import torch
from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def label_marginal(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = {
        "divergence": words.case["loss"].rpartition("_")[2],
        "marginal_weight": words.take("alpha"),
        "temperature": words.take("temp"),
        "smooth": words.take("eps"),
    }
    words.finish()
    return segloss.label_marginal_loss(logits, target, activation=words.case["activation"], **keywords)


def partly(words: Words) -> dict[str, Any]:
    """Keywords of a loss for partial labels."""
    words.take("num_classes")
    found = {"annotated": words.take("labeled"), "activation": words.case["activation"]}
    for ours, recorded in {"batch": "batch_dice", "smooth": "smooth", "include_background": "do_bg"}.items():
        if recorded in words.left:
            found[ours] = words.take(recorded)
    return found


def marginal_cross_entropy(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = partly(words)
    words.finish()
    return segloss.marginal_cross_entropy_loss(logits, target, **keywords)


def marginal_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded as minus the coefficient."""
    keywords = partly(words)
    words.finish()
    return segloss.marginal_dice_loss(logits, target, **keywords) - 1


def exclusion_cross_entropy(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = partly(words)
    keywords |= {"smooth": words.take("eps"), "include_background": words.take("include_background")}
    words.finish()
    return segloss.exclusion_cross_entropy_loss(logits, target, **keywords)


def exclusion_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = partly(words)
    words.finish()
    return segloss.exclusion_dice_loss(logits, target, **keywords)


def marginal_exclusion(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded with minus the coefficient in the place of the marginal Dice loss."""
    keywords = partly(words)
    keywords["exclusion_dice_weight"] = words.take("exclusion_weight")
    if words.take("aggregate", "ce+dice+2*exclusion_dice") != "ce+dice+2*exclusion_dice":
        raise ValueError("another sum than cross-entropy, Dice and exclusion Dice")
    words.finish()
    return segloss.marginal_exclusion_loss(logits, target, **keywords) - 1


def adaptive_f_beta(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """One step; the state it leaves is recorded too."""
    names = "alpha_p", "alpha_n", "beta_sq"
    state = torch.tensor([[words.take(name)] for name in names], dtype=logits.dtype, device=logits.device)
    smooth = words.take("smooth")
    words.finish()
    loss, state = segloss.adaptive_f_beta_step(
        state, logits, target, smooth=smooth, activation=words.case["activation"]
    )
    recorded = torch.stack([words.extras[f"{name}_out"].reshape(1) for name in names])
    if not torch.allclose(state, recorded):
        raise ValueError(f"the state is {state.tolist()}, recorded is {recorded.tolist()}")
    return loss


def asymmetric(words: Words) -> dict[str, Any]:
    """Keywords of a loss that treats rare classes apart; asy counts them from the last of three."""
    asy, rare = words.take("asy"), words.take("rare_classes")
    keywords = {name: words.take(name) for name in ("gamma", "margin") if name in words.left}
    keywords |= {"rare": rare or {1: [1, 2], 2: [2]}.get(asy), "asymmetric": asy != 0}
    return keywords | {"eps": words.take("eps", 1e-6)}


def asymmetric_cross_entropy(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """The recorded weight of class 2 multiplies its margin too, and the mean is over all voxels."""
    keywords, weight = asymmetric(words), words.take("weight_class2", 1.0)
    words.finish()
    loss = segloss.asymmetric_focal_margin_loss(logits, target, reduction="none", **keywords)
    keywords["margin"] *= weight
    weighted = weight * segloss.asymmetric_focal_margin_loss(logits, target, reduction="none", **keywords)
    return torch.where(target == 2, weighted, loss).mean()


def with_dice(words: Words) -> dict[str, Any]:
    keywords = asymmetric(words)
    if words.take("weight_class2", 1.0) != 1:
        raise ValueError("no weight of a class beside Dice")
    names = {"batch": "batch_dice", "smooth": "smooth", "include_background": "do_bg"}
    return keywords | {ours: words.take(recorded) for ours, recorded in names.items()}


def asymmetric_ce_dice(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    keywords = with_dice(words)
    words.finish()
    return segloss.asymmetric_ce_dice_loss(logits, target, **keywords)


def asymmetric_adversarial(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded with minus the Dice coefficient."""
    keywords = with_dice(words)
    words.finish()
    return segloss.asymmetric_adversarial_loss(logits, target, **keywords) - 1


def asymmetric_mixup(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded with the images of the batch in reverse order as partners."""
    keywords = with_dice(words)
    keywords |= {"partner": target.flip(0), "share": words.take("lam"), "mixup_margin": words.take("margin_mixup")}
    words.finish()
    return segloss.asymmetric_mixup_loss(logits, target, **keywords)


ADAPTERS: dict[str, Adapter] = {
    "asymmetric_adversarial_direction": asymmetric_adversarial,
    "asymmetric_focal_ce": asymmetric_cross_entropy,
    "asymmetric_focal_margin_ce": asymmetric_cross_entropy,
    "asymmetric_focal_margin_ce_dsc": asymmetric_ce_dice,
    "asymmetric_large_margin_ce": asymmetric_cross_entropy,
    "asymmetric_mixup_ce_dsc": asymmetric_mixup,
    "bce_marginal_kl": label_marginal,
    "bce_marginal_l1": label_marginal,
    "ce_marginal_kl": label_marginal,
    "ce_marginal_l1": label_marginal,
    "exclusion_ce": exclusion_cross_entropy,
    "exclusion_dice": exclusion_dice,
    "glf_deterministic": adaptive_f_beta,
    "marginal_ce": marginal_cross_entropy,
    "marginal_dice": marginal_dice,
    "marginal_exclusion": marginal_exclusion,
}
