"""Partial labels: images in which only some classes are annotated, and the background stands for all others."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TypeGuard

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor
from torch.distributed import ProcessGroup

from segloss.core.exclusive import exclusive
from segloss.core.inputs import (
    Activation,
    HardLabels,
    Logits,
    Mask,
    Reduction,
    can_look_at,
)
from segloss.core.labels import by_label
from segloss.core.named import of_errors
from segloss.core.overlap import Evidence, evidence
from segloss.core.reduce import ratio
from segloss.core.truth import OfError, Term, Terms, VoxelLoss

Annotated = Bool[Tensor, "B C"] | Collection[int] | Sequence[Collection[int]]


@dataclass(frozen=True)
class Partial:
    """Checked inputs of which the labels may be partial.

    Attributes:
        scores: Logits in the type voxels are computed in, 0 where ignored; logarithms of what were probabilities.
        labels: Class indices; what is not annotated is background.
        mask: Voxels that count, None where all do.
        known: Annotated classes of each image, background among them.
    """

    scores: Float[Tensor, "B C *S"]
    labels: Integer[Tensor, "B 1 *S"]
    mask: Bool[Tensor, "B 1 *S"] | None
    known: Bool[Tensor, "B C"]

    @property
    def is_partial(self) -> Bool[Tensor, " B"]:
        """Whether a class is not annotated."""
        return ~self.known.all(1)

    @property
    def merges(self) -> Bool[Tensor, "B C"] | None:
        """What is `known`, where the background may stand for more than itself; of two classes it does not."""
        return self.known if self.known.shape[1] > 2 else None

    def excluded_masks(self) -> Bool[Tensor, "B C *S"]:
        """Where a class is known not to be: outside its own region if it is annotated, else within those that are."""
        classes = torch.arange(self.scores.shape[1], dtype=self.labels.dtype, device=self.labels.device)
        return self.labels != self._of_voxels(classes * self.known)

    def evidence(
        self,
        include_background: bool,
        batch: bool = False,
        group: ProcessGroup | None = None,
        reduction: Reduction = "mean",
        *,
        change: Callable[[Tensor], Tensor],
        terms: Terms = (),
        voxel: VoxelLoss | None = None,
    ) -> Evidence:
        """Sums of one pass, of which `change` takes what is of merged classes, or of where a class is excluded."""
        return evidence(
            self.scores,
            self.labels,
            "softmax",
            include_background,
            mask=self.mask,
            batch=batch,
            group=group,
            reduction=reduction,
            terms=terms,
            voxel=voxel,
            known=self.merges,
            change=change,
        )

    def merged(self, sums: Float[Tensor, "B K C"]) -> Float[Tensor, "B 3 C"]:
        """The sums of p, p g and g where what is not annotated is added to the background."""
        known = self.known.to(sums.dtype).unsqueeze(1)
        merged = sums[:, :3] * known
        merged[:, :2, 0] += (sums[:, :2] * (1 - known)).sum(2)
        return merged

    def excluded(self, sums: Float[Tensor, "B K C"]) -> Float[Tensor, "B K C"]:
        """The sums of p, p e and e, of where each class is known not to be, and of terms."""
        p, tp, g, *terms = sums.unbind(1)
        n = (g * self.known).sum(1, keepdim=True)
        return torch.stack([p, p - tp, n - g, *terms], 1)

    def _of_voxels(self, x: Tensor) -> Tensor:
        return x.view(*x.shape, *[1] * (self.scores.ndim - 2))


def excluded_dice(e: Evidence, smooth: float) -> Float[Tensor, "B C"]:
    """The overlap of each class with where it is excluded, 0 where nothing counts."""
    return ratio(2 * e.tp + smooth, e.p + e.g + smooth, empty=0.0) * (e.n > 0)


def excluded_log(smooth: float) -> Term:
    """The logarithm of what a class is given where it is excluded."""
    return of_errors(wrong=(OfError.LOG, smooth), missed=(OfError.NOTHING, 0.0))


def partial_labels(
    logits: Logits,
    target: HardLabels,
    annotated: Annotated,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
) -> Partial:
    """Check the inputs of a loss for partial labels."""
    x = exclusive(logits, target, activation, ignore_index, mask)
    known = annotated_classes(annotated, logits)
    own = torch.arange(known.shape[1], dtype=x.labels.dtype, device=known.device)
    labels = by_label(own * known, x.labels)
    valid = None if x.valid is None else x.spatial(x.valid)
    return Partial(x.spatial(x.logits), x.spatial(labels), valid, known)


def annotated_classes(annotated: Annotated, logits: Logits) -> Bool[Tensor, "B C"]:
    """The annotated classes of each image, and the background; every image must have another."""
    images, classes = logits.shape[:2]
    if isinstance(annotated, Tensor):
        if annotated.dtype != torch.bool or annotated.shape != (images, classes):
            raise ValueError(
                f"annotated must be boolean {(images, classes)}, one row an image, or sets of labels, "
                f"got {annotated.dtype} {tuple(annotated.shape)}"
            )
        if can_look_at(annotated) and not bool(annotated[:, 1:].any(1).all()):
            raise ValueError("annotated must name a class besides the background in every image")
        known = annotated.to(logits.device, non_blocking=True)
    else:
        sets = _sets(annotated, images)
        if unknown := sorted({label for labels in sets for label in labels if not 0 <= label < classes}):
            raise ValueError(f"annotated names {unknown}, but there are classes 0 to {classes - 1}")
        if not all(any(label > 0 for label in labels) for labels in sets):
            raise ValueError("annotated must name a class besides the background in every image")
        rows = [[label in labels for label in range(classes)] for labels in sets]
        known = torch.tensor(rows, dtype=torch.bool).to(logits.device, non_blocking=True)
    return known | (torch.arange(classes, device=logits.device) == 0)


def _sets(annotated: Collection[int] | Sequence[Collection[int]], images: int) -> list[set[int]]:
    """The labels of each image; labels that are named once hold for all."""
    if not isinstance(annotated, Collection) or isinstance(annotated, str):
        raise TypeError(f"annotated must be sets of labels, one an image, got {type(annotated).__name__}")
    found = list(annotated)
    if all(_is_label(label) for label in found):
        return [{label for label in found if _is_label(label)}] * images
    sets = [set(labels) for labels in found if isinstance(labels, Collection)]
    if len(sets) < len(found) or not all(_is_label(label) for labels in sets for label in labels):
        raise TypeError(f"annotated must be labels or sets of labels, got {annotated}")
    if len(sets) != images:
        raise ValueError(f"annotated must hold one set of labels an image, {images}, got {len(sets)}")
    return sets


def _is_label(x: object) -> TypeGuard[int]:
    return isinstance(x, Integral) and not isinstance(x, bool)
