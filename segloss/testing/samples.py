"""Sample inputs of the contract: small segmentations of every task, and extra inputs by the name of their parameter."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor

CLASSES = {"binary": 1, "multiclass": 4, "multilabel": 3}
SHAPES = {1: (26,), 2: (12, 10), 3: (7, 6, 5), 4: (5, 4, 3, 2)}
LAYOUTS = {
    "logits": "BCS",
    "weight": "C",
    "label_distance": "CC",
    "adjacency": "CC",
    "distance": "BCS",
    "annotated": "BC",
    "share": "B",
}
LAYOUTS |= dict.fromkeys(("image", "mask", "weight_map"), "B1S")


@dataclass(frozen=True)
class Case:
    """Logits and target of one task, with the extra inputs a loss requires."""

    task: str
    logits: Tensor
    target: Tensor
    extras: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def dims(self) -> int:
        """Number of spatial axes."""
        return self.logits.ndim - 2

    @property
    def truth(self) -> Tensor:
        """The target as ones and zeros, (B, C, *S), of the dtype of the logits."""
        if self.target.ndim == self.logits.ndim:
            return self.target.to(self.logits.dtype)
        if self.task == "binary":
            return self.target.unsqueeze(1).to(self.logits.dtype)
        return torch.nn.functional.one_hot(self.target, self.logits.shape[1]).movedim(-1, 1).to(self.logits.dtype)

    def replace(self, **changes: object) -> "Case":
        """The same case but for these fields."""
        return replace(self, **changes)

    def to(self, dtype: torch.dtype) -> "Case":
        """The same case with every floating tensor of this type."""
        extras = {
            name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in self.extras.items()
        }
        return self.replace(logits=self.logits.to(dtype), extras=extras)

    def along(self, letter: str, change: Callable[[Tensor, int], Tensor]) -> "Case":
        """Apply `change(tensor, axis)` to every axis with this letter of every input: B images, C classes, S space."""

        def changed(name: str, tensor: Tensor) -> Tensor:
            layout = LAYOUTS.get(name, "BCS" if tensor.ndim == self.logits.ndim else "BS")
            for axis, here in enumerate(layout):
                tensor = change(tensor, axis) if here == letter else tensor
            return tensor

        extras = {name: changed(name, tensor) for name, tensor in self.extras.items()}
        return self.replace(logits=changed("logits", self.logits), target=changed("target", self.target), extras=extras)

    def images(self, order: Sequence[int]) -> "Case":
        """The same case with these images, in this order."""
        return self.along("B", lambda tensor, axis: tensor.index_select(axis, torch.tensor(order)))

    def classes(self, order: Sequence[int]) -> "Case":
        """The same case with its channels in another order, and the labels renamed to match."""
        case = self.along("C", lambda tensor, axis: tensor.index_select(axis, torch.tensor(order)))
        renamed = torch.tensor(order).argsort()
        if self.task != "multiclass":
            return case
        labels = {name: renamed[tensor] for name, tensor in case.extras.items() if name == "partner"}
        return case.replace(target=renamed[case.target], extras={**case.extras, **labels})

    def transposed(self) -> "Case":
        """The same case with its spatial axes in another order."""
        return self.along("S", lambda tensor, axis: tensor.movedim(axis, -1))

    def cropped(self, box: tuple[slice, ...]) -> "Case":
        """The same case within a box of voxels."""
        return self.along("S", lambda tensor, axis: tensor[(slice(None),) * axis + box])

    def joined(self) -> "Case":
        """All images side by side in one."""
        joined = self.along("B", lambda tensor, axis: torch.cat(tensor.split(1, axis), -1))
        alike = {name: tensor[:1] for name, tensor in self.extras.items() if LAYOUTS.get(name) in ("B", "BC")}
        return joined.replace(extras={**joined.extras, **alike})


@functools.cache
def sample(task: str, dims: int, shape: tuple[int, ...] | None = None, images: int = 2) -> Case:
    """A batch of images with several shapes in each, and the logits of a prediction that is partly right."""
    generator = torch.Generator().manual_seed(dims + 10 * len(task))
    classes, shape = CLASSES[task], shape or SHAPES[dims]
    draw = blobs if task == "multilabel" else label_map
    target = torch.stack([draw(classes, shape, generator) for _ in range(images)])
    case = Case(task, torch.randn(images, classes, *shape, generator=generator, dtype=torch.float64), target)
    misplaced = torch.roll(case.truth, 1, -1)
    return case.replace(logits=case.logits + 2 * misplaced - 1)


def label_map(classes: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Labels (*S) in which every class and the background occur; one class stands for foreground and background."""
    foreground = max(1, classes - 1)
    while True:
        labels = torch.zeros(shape, dtype=torch.int64)
        for label, blob in enumerate(blobs(foreground, shape, generator), 1):
            labels[blob] = label
        if torch.bincount(labels.flatten(), minlength=foreground + 1).min() > 1:
            return labels


def blobs(number: int, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Filled ellipsoids (number, *S), each of its own size, which may overlap."""
    axes = torch.meshgrid(*(torch.arange(size) / size for size in shape), indexing="ij")
    grid = torch.stack(axes)
    drawn = []
    for _ in range(number):
        centre, radius = (torch.rand(2, len(shape), generator=generator) * 0.6 + 0.2).reshape(2, -1, *[1] * len(shape))
        drawn.append(((grid - centre) / (0.6 * radius)).square().sum(0) < 1)
    return torch.stack(drawn)


def weight(case: Case) -> Tensor:
    """Weights of the classes, no two alike."""
    return torch.linspace(0.5, 2, case.logits.shape[1], dtype=case.logits.dtype)


def label_distance(case: Case) -> Tensor:
    """Distances between labels that grow with the square of their difference, 1 at most."""
    place = torch.arange(case.logits.shape[1], dtype=case.logits.dtype).square()
    distance = (place[:, None] - place[None, :]).abs()
    return distance / distance.max().clamp(min=1)


def distance(case: Case) -> Tensor:
    """Signed distance to the border of every class, negative inside."""
    inside = case.truth.flatten(0, 1).numpy() > 0.5
    signed = [np.asarray(distance_transform_edt(~region)) - distance_transform_edt(region) for region in inside]
    return torch.as_tensor(np.stack(signed), dtype=case.logits.dtype).reshape(case.logits.shape)


def image(case: Case) -> Tensor:
    """Intensities that tell the regions apart, with a gradient across the field of view."""
    shades = torch.linspace(1, 2, case.logits.shape[1]).reshape(-1, *[1] * case.dims)
    return (case.truth * shades).sum(1, keepdim=True) + torch.linspace(0, 0.5, case.logits.shape[-1])


def weight_map(case: Case) -> Tensor:
    """Weights that rise along every axis, and from image to image."""
    axes = [torch.linspace(0.5, 2, size, dtype=case.logits.dtype) for size in case.logits.shape[2:]]
    weights = torch.stack(torch.meshgrid(*axes, indexing="ij")).prod(0)
    return torch.stack([weights + image for image in range(len(case.logits))]).unsqueeze(1)


def annotated(case: Case) -> Tensor:
    """Every class but the last."""
    classes = case.logits.shape[1]
    return (torch.arange(classes) < max(2, classes - 1)).repeat(len(case.logits), 1)


def partner(case: Case) -> Tensor:
    """The labels of the case again, so that the truth of both is the same."""
    return case.target.clone()


def adjacency(case: Case) -> Tensor:
    """Classes may touch, but not the last two."""
    allowed = torch.ones(2 * case.logits.shape[1:2], dtype=case.logits.dtype)
    allowed[-1, -2:-1] = allowed[-2:-1, -1] = 0
    return allowed


def share(case: Case) -> Tensor:
    """The share of the first of two mixed images."""
    return torch.full((len(case.logits),), 0.7, dtype=case.logits.dtype)


EXTRAS: dict[str, Callable[[Case], Tensor]] = {
    "weight": weight,
    "label_distance": label_distance,
    "distance": distance,
    "image": image,
    "weight_map": weight_map,
    "annotated": annotated,
    "partner": partner,
    "share": share,
    "adjacency": adjacency,
}


def extra(name: str, case: Case, made: Mapping[str, Callable[[Case], Tensor]] = EXTRAS) -> Tensor:
    """The sample of the input with this parameter name."""
    if name not in made:
        raise LookupError(
            f"no sample of an input called {name!r}: "
            "add a function and its layout to segloss/testing/samples.py, or give one to check_loss as extras"
        )
    return made[name](case)
