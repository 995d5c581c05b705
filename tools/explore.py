"""The plot of a formula with sliders: what the page says of it, and the values that the implementation gives.

docs/assets/explore.js has the formulas again; a test holds them equal to the implementation.
"""

import html
import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from tools.sources import Function

Kind = Literal["voxel", "overlap", "confidence"]
OBJECT, IMAGE = 1000, 20000
"""Voxels of the object, and of the whole image, where a plot goes by overlap."""
POINTS: Mapping[Kind, tuple[float, ...]] = {
    "voxel": (0.1, 0.3, 0.5, 0.7, 0.9),
    "overlap": (0.1, 0.25, 0.5, 0.8, 1.0),
    "confidence": (0.1, 0.3, 0.5, 0.7, 0.9),
}
AXES: Mapping[Kind, str] = {
    "voxel": "probability of the true class",
    "overlap": "Jaccard index",
    "confidence": "probability of the true class, in every voxel",
}
LINES: Mapping[Kind, tuple[str, ...]] = {
    "voxel": ("voxel of the foreground", "voxel of the background"),
    "overlap": ("too little is predicted", "too much is predicted"),
    "confidence": ("image, half of it foreground",),
}
REFERENCES: Mapping[Kind, str] = {"voxel": "cross-entropy", "overlap": "Dice", "confidence": "squared Dice"}


@dataclass(frozen=True)
class Slider:
    """A parameter of the paper, with the ends and the step of its slider."""

    name: str
    low: float
    high: float
    step: float


@dataclass(frozen=True)
class Explorer:
    """What is plotted against what, up to which value, with which sliders; `fixed` parameters have none."""

    kind: Kind
    sliders: tuple[Slider, ...]
    top: float = 1.0
    fixed: tuple[str, ...] = ()


GAMMA, PRICE = Slider("gamma", 0, 5, 0.1), Slider("alpha", 0, 1, 0.05)
ALPHA, BETA = Slider("alpha", 0, 2, 0.05), Slider("beta", 0, 2, 0.05)
SCORE = Slider("beta", 0.25, 3, 0.05)
EXPLORERS: Mapping[str, Explorer] = {
    "segloss.distribution.focal_loss": Explorer("voxel", (GAMMA, PRICE), 5.0),
    "segloss.distribution.weighted_focal_loss": Explorer("voxel", (GAMMA, PRICE), 5.0),
    "segloss.distribution.focal_star_loss": Explorer(
        "voxel", (Slider("gamma", 0.5, 5, 0.1), Slider("shift", -2, 4, 0.1)), 5.0
    ),
    "segloss.distribution.asymmetric_focal_margin_loss": Explorer(
        "voxel", (Slider("gamma", 0, 6, 0.1), Slider("margin", 0, 3, 0.1)), 5.0
    ),
    "segloss.distribution.weighted_asymmetric_similarity_loss": Explorer("overlap", (SCORE,)),
    "segloss.region.tversky_loss": Explorer("overlap", (ALPHA, BETA), fixed=("smooth",)),
    "segloss.region.focal_tversky_loss": Explorer(
        "overlap", (ALPHA, BETA, Slider("gamma", 0.5, 3, 0.05)), fixed=("smooth",)
    ),
    "segloss.region.f_beta_loss": Explorer("overlap", (SCORE,), fixed=("smooth",)),
    "segloss.region.generalised_f_beta_loss": Explorer(
        "overlap", (Slider("alpha_p", 0, 3, 0.1), Slider("alpha_n", 0, 3, 0.1), SCORE), fixed=("smooth",)
    ),
    "segloss.region.penalised_generalised_dice_loss": Explorer("overlap", (Slider("k", 0, 10, 0.1),)),
    "segloss.region.sensitivity_specificity_loss": Explorer("overlap", (Slider("r", 0, 1, 0.01),)),
    "segloss.region.tvmf_dice_loss": Explorer("overlap", (Slider("kappa", 0, 64, 1),), 4.0),
    "segloss.region.noise_robust_dice_loss": Explorer(
        "confidence", (Slider("gamma", 1, 2, 0.05),), fixed=("smooth", "squared")
    ),
}
"""By the path of the function: losses of one probability, and of an overlap."""


def values(function: str, params: Mapping[str, Any], points: Sequence[float]) -> list[list[float]]:
    """What the implementation gives at the points, one list a line."""
    kind = EXPLORERS[function].kind
    inputs = {"voxel": voxels, "overlap": overlaps, "confidence": confidences}[kind]
    path, _, name = function.rpartition(".")
    call = getattr(importlib.import_module(path), name)
    found = []
    for line in range(len(LINES[kind])):
        logits, target = inputs(points, line)
        if name == "asymmetric_focal_margin_loss":
            logits = torch.cat([-logits / 2, logits / 2], 1)
        weights = {"weight_map": torch.ones_like(logits[:, :1])} if name.startswith("weighted") else {}
        plain = {} if kind == "voxel" else {"activation": "none"}
        result: Tensor = call(logits, target, reduction="none", **weights, **plain, **params)
        found.append(result.flatten().tolist())
    return found


def voxels(points: Sequence[float], line: int) -> tuple[Tensor, Tensor]:
    """Voxels of the foreground, or of the background, with the probabilities of their true class."""
    z = torch.tensor(points, dtype=torch.float64).logit().view(1, 1, -1)
    return (-z if line else z), torch.full((1, len(points)), 1 - line)


def overlaps(points: Sequence[float], line: int) -> tuple[Tensor, Tensor]:
    """Images with a sure prediction that lies within the object, or around it, with the given Jaccard indices."""
    place, p = torch.arange(IMAGE), torch.tensor(points, dtype=torch.float64)
    size = (OBJECT / p if line else OBJECT * p).round()
    return (place < size.view(-1, 1, 1)).double(), (place < OBJECT).long().expand(len(points), -1)


def confidences(points: Sequence[float], line: int) -> tuple[Tensor, Tensor]:
    """Images, half of them foreground, with the same probability of the true class in every voxel."""
    target = (torch.arange(2 * OBJECT) < OBJECT).long().expand(len(points), -1)
    p = torch.tensor(points, dtype=torch.float64).view(-1, 1)
    return torch.where(target > 0, p, 1 - p).unsqueeze(1), target


def explorer(item: Mapping[str, Any], function: Function) -> list[str]:
    """The plot of a loss on the page of a paper, with its values as a table; a script adds sliders and drawing."""
    found = EXPLORERS.get(item["function"])
    if found is None:
        return []
    params = {name: value for name, value in defaults(function).items() if name in (*sliders(found), *found.fixed)}
    params |= {name: value for name, value in item.get("params", {}).items() if name in params}
    moved = [slider for slider in found.sliders if params.get(slider.name) is not None]
    params = {name: value for name, value in params.items() if value is not None}
    facts = {
        "function": function.name,
        "kind": found.kind,
        "sliders": [asdict(slider) for slider in moved],
        "params": params,
        "points": POINTS[found.kind],
        "lines": LINES[found.kind],
        "axis": AXES[found.kind],
        "reference": REFERENCES[found.kind],
        "top": found.top,
    }
    lines = [f"**Move {' and '.join(f'`{slider.name}`' for slider in moved)}**", ""]
    lines += [f'<div class="explore" data-explore="{html.escape(json.dumps(facts))}">']
    lines += [f"<p>{introduction(found.kind, function.name)}</p>", *table(found.kind, item["function"], params)]
    return [*lines, "</div>", ""]


def introduction(kind: Kind, name: str) -> str:
    """What the plot shows."""
    weights = " Weights of voxels are 1." if name.startswith("weighted") else ""
    return {
        "voxel": "The loss of one voxel against the probability of its true class." + weights,
        "overlap": f"The loss of a sure prediction of an object of {OBJECT} voxels in an image of {IMAGE}, against the "
        "Jaccard index. It either misses a part of the object and has nothing else, or has all of it and more."
        + weights,
        "confidence": "The loss of an image, half of it foreground, against the probability that every voxel gives its "
        "true class.",
    }[kind]


def table(kind: Kind, function: str, params: Mapping[str, Any]) -> list[str]:
    """The values of the implementation at the paper's parameters."""
    head = "".join(f"<th>{point:g}</th>" for point in POINTS[kind])
    lines = ['<table class="explore-values">', f"<thead><tr><th>{AXES[kind]}</th>{head}</tr></thead>", "<tbody>"]
    for line, row in zip(LINES[kind], values(function, params, POINTS[kind]), strict=True):
        cells = "".join(f"<td>{abs(value) if abs(value) < 5e-5 else value:.3f}</td>" for value in row)
        lines.append(f'<tr><th scope="row">{line}</th>{cells}</tr>')
    return [*lines, "</tbody>", "</table>"]


def sliders(found: Explorer) -> tuple[str, ...]:
    """The names of the parameters that can be moved."""
    return tuple(slider.name for slider in found.sliders)


def defaults(function: Function) -> dict[str, Any]:
    """The defaults of a function which are plain values."""
    constants = {"None": None, "True": True, "False": False}
    found: dict[str, Any] = {}
    for parameter in function.parameters:
        if (text := parameter.default) is None:
            continue
        if text in constants:
            found[parameter.name] = constants[text]
        else:
            try:
                found[parameter.name] = float(text)
            except ValueError:
                if "/" in text:
                    above, below = text.split("/")
                    found[parameter.name] = float(above) / float(below)
    return found
