"""What a loss does on the scene: its gradient at known errors, its value as an error grows."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tools import scene
from tools.scene import Field, Mask, State

Array = NDArray[np.float64]
CENTRE = 31.5, 31.5
SIZES = {"small": 3.0, "large": 14.0}
FACTORS = tuple(np.linspace(0, 2, 17))
AMPLITUDES = tuple(np.linspace(0, 6, 7))
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Behaviour:
    """Gradients by the name of the state; curves over `FACTORS` by the name of the size, and over `AMPLITUDES`."""

    gradients: dict[str, Array]
    values: dict[str, Array]
    pulls: dict[str, Array]
    noise: Array


@dataclass(frozen=True)
class Subject:
    """A loss with the parameters of a paper, called with the scores of a foreground."""

    function: str
    params: Mapping[str, Any]
    tasks: Sequence[str]
    required: Sequence[str]
    measure: bool = False

    def value(self, scores: Tensor, target: Tensor) -> Tensor:
        """The loss of scores (1, 1, H, W) against class indices (1, H, W)."""
        path, _, name = self.function.rpartition(".")
        call: Callable[..., Tensor] = getattr(importlib.import_module(path), name)
        extras = {given: scene.EXTRAS[given](target) for given in self.required if given not in self.params}
        logits, truth = scores, target
        if "binary" not in self.tasks:
            logits = torch.cat([-scores / 2, scores / 2], 1)
            if "multiclass" not in self.tasks:
                truth = torch.stack([target == 0, target == 1], 1)
        return call(logits, truth, **extras, **self.params)

    def gradient(self, distance: Field, truth: Mask) -> tuple[float, Array]:
        """Value and gradient with respect to the scores of the foreground."""
        scores = scene.scores(distance).requires_grad_()
        value = self.value(scores, scene.labels(truth))
        value.backward()
        assert scores.grad is not None
        return value.item(), scores.grad[0, 0].numpy()


def behaviour(subject: Subject) -> Behaviour:
    """What a loss does; a measure has no gradients."""
    truth, values, pulls = scene.truth(), dict[str, Array](), dict[str, Array]()
    gradients = {} if subject.measure else {s.name: of_state(subject, s) for s in scene.states()}
    for name, radius in SIZES.items():
        right = scene.disc(*CENTRE, radius)
        grown = [scene.beyond(*CENTRE, factor * radius) if factor else scene.nothing() for factor in FACTORS]
        if subject.measure:
            values[name] = np.array([measured(subject, distance, right) for distance in grown])
        else:
            pairs = [subject.gradient(distance, right) for distance in grown]
            values[name] = np.array([value for value, _ in pairs])
            pulls[name] = np.array([np.abs(gradient).sum() for _, gradient in pairs])
    noise = [[measured(subject, scene.noisy(truth, a, seed), truth) for seed in SEEDS] for a in AMPLITUDES]
    return Behaviour(gradients, values, pulls, np.array(noise).mean(1))


def of_state(subject: Subject, state: State) -> Array:
    """The gradient at an error."""
    return subject.gradient(scene.signed_distance(state.predicted), scene.truth())[1]


def measured(subject: Subject, distance: Field, truth: Mask) -> float:
    """The value without its gradient."""
    with torch.no_grad():
        return subject.value(scene.scores(distance), scene.labels(truth)).item()
