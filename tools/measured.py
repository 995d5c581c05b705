"""What the implementation of a loss does on the samples of the contract, in numbers, for its behaviour card."""

import hashlib
import importlib
import json
import multiprocessing
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segloss.testing import Loss
from segloss.testing.base import leaning, right, value_and_grad
from segloss.testing.samples import Case
from tools.pictures import digest_of, single_thread
from tools.writing import write_all

FOLDER = ".cache/cards"
OWN = ("tools/measured.py", "segloss/testing/samples.py", "segloss/testing/base.py")
SIDES = {1: (16384,), 2: (128, 128), 3: (26, 26, 26)}
"""Images of about as many voxels, on which half precision is measured."""
BATCH = {1: (4096,), 2: (64, 64), 3: (16, 16, 16)}
"""Images of a batch that are large enough for losses which keep a number of voxels."""
SAME = 1e-9


@dataclass(frozen=True)
class Probe:
    """A function with the parameters of a paper, and what the papers claim that it takes."""

    function: str
    params: Mapping[str, Any]
    tasks: Sequence[str]
    dims: Sequence[int]
    measure: bool = False

    def loss(self) -> Loss:
        """The same for the contract."""
        path, _, name = self.function.rpartition(".")
        call = getattr(importlib.import_module(path), name)
        return Loss(call, self.params, tuple(self.tasks), tuple(self.dims), measure=self.measure)


@dataclass(frozen=True)
class Absent:
    """An absent class: the value if nothing of it is predicted and with one voxel of it, and how much of its gradient
    lowers it, None without a gradient there.
    """

    right: float
    one_voxel: float
    lowered: float | None


@dataclass(frozen=True)
class Measured:
    """Numbers of a loss. Deviations are relative to float64; `neighbours` is how far other images of the batch move
    what an image contributes, relative to that.
    """

    task: str
    axes: int
    perfect: float
    empty: float
    absent: Absent
    half: Mapping[str, float]
    cosine: Mapping[str, float]
    neighbours: float

    @property
    def alone(self) -> bool:
        """Whether the images of a batch leave each other alone."""
        return self.neighbours < SAME


def measured(loss: Loss) -> Measured:
    """What a loss does: with several classes and in a plane, where it takes them."""
    task = min(loss.tasks, key=["multiclass", "multilabel", "binary"].index)
    axes = 2 if 2 in loss.dims else loss.dims[0]
    case = loss.on(task, axes)
    large = loss.on(task, axes, shape=SIDES[axes], images=1)
    half = {str(dtype)[6:]: in_half(loss, large, dtype) for dtype in (torch.float16, torch.bfloat16)}
    return Measured(
        task=task,
        axes=axes,
        perfect=loss(right(case)).item(),
        empty=loss(empty(case)).item(),
        absent=absent(loss, case),
        half={name: deviation for name, (deviation, _) in half.items()},
        cosine={name: cosine for name, (_, cosine) in half.items() if cosine is not None},
        neighbours=max(neighbours(loss, loss.on(task, axes, shape=shape, images=4)) for shape in (None, BATCH[axes])),
    )


def empty(case: Case) -> Case:
    """A prediction that is sure of the background everywhere."""
    logits = torch.full_like(case.logits, -200)
    if case.task == "multiclass":
        logits[:, 0] = 200
    return case.replace(logits=logits)


def without_last(case: Case) -> Case:
    """The truth without its last class; of one channel, without its foreground."""
    target = case.target.clone()
    if target.dtype == torch.bool:
        target[:, -1] = False
    else:
        target[target == max(1, case.logits.shape[1] - 1)] = 0
    return case.replace(target=target)


def absent(loss: Loss, case: Case) -> Absent:
    """What an absent class costs."""
    case = without_last(case)
    perfect = right(case)
    wrong = perfect.logits.clone()
    for image, truth in zip(wrong, case.truth, strict=True):
        others = truth[1:] if case.task == "multiclass" else truth
        free = (others.sum(0) == 0).nonzero()
        voxel = tuple(free[len(free) // 2].tolist())
        if case.task == "multiclass":
            image[(slice(None), *voxel)] = -200
        image[(-1, *voxel)] = 200
    lowered = None
    if not loss.measure:
        slope = value_and_grad(loss, case)[1][:, -1]
        total = slope.abs().sum()
        lowered = (slope.clamp(min=0).sum() / total).item() if total > 0 else None
    return Absent(loss(perfect).item(), loss(perfect.replace(logits=wrong)).item(), lowered)


def in_half(loss: Loss, case: Case, dtype: torch.dtype) -> tuple[float, float | None]:
    """Relative deviation of the value, and the cosine between the gradients, from float64 on the same numbers."""
    rounded = case.to(dtype)
    if loss.measure:
        value, expected, cosine = loss(rounded), loss(rounded.to(torch.float64)), None
    else:
        value, slope = value_and_grad(loss, rounded)
        expected, direction = value_and_grad(loss, rounded.to(torch.float64))
        cosine = torch.cosine_similarity(slope.double().flatten(), direction.flatten(), dim=0).item()
    return ((value.double() - expected).abs() / expected.abs().clamp(min=1e-12)).item(), cosine


def neighbours(loss: Loss, case: Case) -> float:
    """How far what the first image contributes depends on whether the second or the third is beside it.

    The third is predicted better than the others.
    """
    better = leaning(case, 3).logits
    case = case.replace(logits=torch.stack([case.logits[0], case.logits[1], better[2], case.logits[3]]))
    if not loss.measure:
        beside = [value_and_grad(loss, case.images([0, other]))[1][0] for other in (1, 2)]
        return relative(beside[0] - beside[1], beside[0])
    pairs = [[loss(case.images([first, second])) for second in (1, 2)] for first in (0, 3)]
    return relative(pairs[0][0] - pairs[0][1] - pairs[1][0] + pairs[1][1], pairs[0][0])


def relative(difference: Tensor, to: Tensor) -> float:
    """The largest difference in units of the largest value."""
    return (difference.abs().max() / to.abs().max().clamp(min=1e-30)).item()


def all_measured(root: Path, probes: Mapping[str, Probe], sources: Mapping[str, Iterable[Path]]) -> dict[str, Measured]:
    """The numbers of each probe by its name; only those are computed whose sources have changed.

    What no probe needs any more is removed.
    """
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    common = digest_of([*(root / "segloss" / "core").glob("*.py"), *map(root.joinpath, OWN)])
    keys = {name: key_of(probe, common, sources[name]) for name, probe in probes.items()}
    missing = {key: probes[name] for name, key in keys.items() if not (folder / f"{key}.json").is_file()}
    if missing:
        with multiprocessing.get_context("spawn").Pool(min(len(missing), os.cpu_count() or 1), single_thread) as pool:
            pool.starmap(keep, [(folder, key, probe) for key, probe in missing.items()], chunksize=1)
    found = {name: read(json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))) for name, key in keys.items()}
    for file in folder.iterdir():
        if file.stem not in keys.values():
            file.unlink()
    return found


def key_of(probe: Probe, common: str, sources: Iterable[Path]) -> str:
    """What the numbers follow from, as the name of their file."""
    said = json.dumps([common, digest_of(sources), asdict(probe)], sort_keys=True, default=list)
    return f"{probe.function.rpartition('.')[2]}-{hashlib.sha256(said.encode()).hexdigest()[:12]}"


def keep(folder: Path, key: str, probe: Probe) -> None:
    """Compute and write the numbers of one probe."""
    write_all(folder, {f"{key}.json": json.dumps(asdict(measured(probe.loss())))})


def read(fields: Mapping[str, Any]) -> Measured:
    """What `keep` has written."""
    return Measured(**{**fields, "absent": Absent(**fields["absent"])})
