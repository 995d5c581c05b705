"""Adapters of the structural family."""

from torch import Tensor

import segloss
from tests.parity.adapters.words import Adapter, Words


def region_mutual_information(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """With lambda_way 0 cross-entropy keeps its weight of 1; labels that no class has are ignored."""
    share, softmax = words.take("loss_weight_lambda"), words.case["loss"] == "rmi_softmax_ce"
    size = words.take("rmi_pool_size")
    if words.take("rmi_pool_stride", size) != size:
        raise ValueError("a stride that is not the size of the pool")
    ce_weight, rmi_weight = {0: (1.0, share), 1: (share, 1 - share)}[words.take("lambda_way")]
    keywords = {
        "window_size": words.take("rmi_radius"),
        "pooling": {0: "max", 1: "average", 2: "resize"}[words.take("rmi_pool_way")],
        "pool_size": size,
        "cross_entropy": "softmax" if softmax else "sigmoid",
        "smooth": 0.0 if softmax else 1.0,
    }
    words.finish()
    known = target < logits.shape[1]
    return segloss.region_mutual_information_loss(
        logits, target, ce_weight=ce_weight, rmi_weight=rmi_weight, mask=known.unsqueeze(1), **keywords
    )


def non_adjacency(words: Words, logits: Tensor, target: Tensor) -> Tensor:
    """Recorded are the pairs that are forbidden, where ours is the matrix of those that are not."""
    size, weight, forbidden = words.take("kernel_size"), words.take("weight"), words.extras["adjacency"]
    if size % 2 == 0 or not ((forbidden == 0) | (forbidden == 1)).all():
        raise ValueError("a box without a centre, or pairs that are forbidden in part")
    words.finish()
    return weight * segloss.non_adjacency_loss(
        logits, target, adjacency=forbidden == 0, radius=size // 2, activation=words.case["activation"]
    )


ADAPTERS: dict[str, Adapter] = {
    "non_adjacency": non_adjacency,
    "rmi_bce": region_mutual_information,
    "rmi_softmax_ce": region_mutual_information,
}
