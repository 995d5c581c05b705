"""Sums of predicted and true class membership: all that an overlap loss knows of an image.

A loss of the region family is a function of a few sums over voxels, for each image and class; it says with `evidence`
which, and how the losses of images and classes are to be reduced.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torch.distributed import ProcessGroup

from segloss.core.distributed import all_sum
from segloss.core.hardest import share_of
from segloss.core.hardest_of_pass import sums_of_hardest
from segloss.core.inputs import (
    Absent,
    Activation,
    ClassWeight,
    Inputs,
    Labels,
    Logits,
    Mask,
    Reduction,
    check_absent,
    check_reduction,
    class_range,
    class_weight,
    prepare,
)
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.one_pass import Found
from segloss.core.sums import Sums, class_sums, count
from segloss.core.truth import Terms, VoxelLoss
from segloss.core.weight_map import WeightMap, flat_weight_map


@dataclass(frozen=True)
class Evidence:
    r"""Sums over the voxels of an image (or of the whole batch, then B = 1), for each class.

    It also carries how the losses of images and classes are to be reduced.

    Attributes:
        p: Predicted membership, $\sum p$.
        g: True membership, $\sum g$.
        tp: Soft true positives, $\sum p g$.
        n: Number of voxels that count.
        terms: Sums of the terms asked for, each (B, C).
        likelihood: Log-probability of the truth at every voxel, where asked for.
        losses: Sums of a loss over the voxels of each truth, where asked for: see `voxel_sums`.
        hardest: Mean log-probability of the truth at the hardest voxels, where asked for.
        sizes: Numbers of true voxels of each class, the background's included.
        weight: Weight of each class among those that take part.
        group: Process group over which means are taken; None where the sums are those of the whole group already.
        batch: Whether the sums are those of the whole batch, of all `ranks` together.
        dtype: Type of the logits, in which the loss is returned.
        inputs: The checked inputs.
    """

    p: Sums
    g: Sums
    tp: Sums
    n: Float[Tensor, "B 1"]
    terms: tuple[Sums, ...]
    likelihood: LogP | None
    losses: ByTruth | None
    hardest: Float[Tensor, ""] | None
    sizes: Sums
    weight: Float[Tensor, " C"] | None
    absent: Absent
    reduction: Reduction
    group: ProcessGroup | None
    batch: bool
    ranks: ProcessGroup | None
    dtype: torch.dtype
    inputs: Inputs

    @property
    def is_whole(self) -> bool:
        """Whether all voxels count, in one process."""
        return self.inputs.valid is None and self.ranks is None

    @property
    def fp(self) -> Sums:
        r"""Soft false positives, $\sum p (1 - g)$."""
        return self.p - self.tp

    @property
    def fn(self) -> Sums:
        r"""Soft false negatives, $\sum (1 - p) g$."""
        return self.g - self.tp

    @property
    def log_p(self) -> LogP:
        """The log-probability of the truth at every voxel, 0 where ignored."""
        if self.likelihood is None:
            raise ValueError("likelihood=True gives the log-probabilities")
        return self.likelihood

    @property
    def of_hardest(self) -> Float[Tensor, ""]:
        """The mean log-probability of the truth at the hardest voxels."""
        if self.hardest is None:
            raise ValueError("hardest=k gives the mean of the hardest")
        return self.hardest

    @property
    def by_truth(self) -> ByTruth:
        """The sums of a loss over the voxels of each truth."""
        if self.losses is None:
            raise ValueError("voxel=f gives the losses by truth")
        return self.losses

    @property
    def truths(self) -> ByTruth:
        """The numbers of the voxels of each truth, the background's included."""
        return self.sizes.unsqueeze(1) if self.inputs.is_joint else torch.stack([self.sizes, self.n - self.sizes], 1)

    def pooled(self, of_images: Shaped[Tensor, "B ..."]) -> Shaped[Tensor, "B ..."]:
        """Sums of images, added up over the batch where the class sums are."""
        return _pooled(of_images, self.ranks) if self.batch else of_images


def evidence(
    logits: Logits,
    target: Labels,
    activation: Activation = "auto",
    include_background: bool = True,
    weight: ClassWeight | None = None,
    absent: Absent = "smooth",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    batch: bool = False,
    group: ProcessGroup | None = None,
    reduction: Reduction = "mean",
    *,
    terms: Terms = (),
    cost: Float[Tensor, "C C"] | None = None,
    likelihood: bool = False,
    voxel: VoxelLoss | None = None,
    weights: WeightMap | None = None,
    scale: float = 1.0,
    lowered: Float[Tensor, " C"] | None = None,
    known: Bool[Tensor, "B C"] | None = None,
    change: Callable[[Sums], Sums] | None = None,
    find: Callable[[Inputs], Found] | None = None,
    hardest: float | None = None,
    soft: bool = True,
) -> Evidence:
    """Class sums of one pass over the logits, with every keyword checked before.

    The keywords stand in the order of every signature, so that a loss passes them on in a line. Each of `terms` is a
    function of probability and membership whose sum over the voxels is wanted too; it meets g = 0 and g = 1 as numbers
    where the target holds class indices. `weights` are those of the voxels in the terms and in the losses of `voxel`.
    `scale`, `lowered` and `known` are those of `class_sums`; `change` is what becomes of its sums, (B, K, C), before
    those of images are added up, and `find` is asked for what a pass gives in its place. `hardest` is the share of the
    voxels of the batch that are the hardest. It, `likelihood`, `voxel` and `soft=False` refuse soft labels.
    """
    check_reduction(reduction)
    check_absent(absent)
    soft = soft and not likelihood and voxel is None and hardest is None
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=soft)
    if cost is not None and (x.dense or x.activation == "sigmoid"):
        raise ValueError(
            f"target must be class indices, of classes that exclude each other, got {target.dtype} "
            f"{tuple(target.shape)} with activation {x.activation!r}"
        )
    classes = slice(class_range(logits, include_background).start, None)
    of_class = None if weight is None else class_weight(weight, logits)[classes]

    flat = None if weights is None else flat_weight_map(weights, x)
    given = {"voxel": voxel, "weights": flat, "scale": scale, "lowered": lowered, "known": known}
    log_p = losses = of_hardest = None
    if find is not None:
        sums, log_p, losses = cast(Any, find(x))
    elif hardest is not None:
        sums, total, number = sums_of_hardest(x, lambda log_p: share_of(count(x).sum() * log_p.shape[1], hardest))
        of_hardest = total / number
    else:
        sums, log_p, losses = class_sums(x, terms, cost, likelihood=likelihood, **given)
    sums, n = sums if change is None else change(sums), count(x)
    if batch:
        sums, n = _pooled(sums, group), _pooled(n, group)
        losses = None if losses is None else _pooled(losses, group)
    p, tp, g, *rest = (sums if include_background else sums[:, :, classes]).unbind(1)
    return Evidence(
        p=p,
        g=g,
        tp=tp,
        n=n,
        terms=tuple(rest),
        likelihood=log_p,
        losses=losses,
        hardest=of_hardest,
        sizes=sums[:, 2],
        weight=of_class,
        absent=absent,
        reduction=reduction,
        group=None if batch else group,
        batch=batch,
        ranks=group,
        dtype=logits.dtype,
        inputs=x,
    )


def _pooled(of_images: Shaped[Tensor, "B ..."], ranks: ProcessGroup | None) -> Shaped[Tensor, "1 ..."]:
    return all_sum(of_images.sum(0, keepdim=True), ranks)
