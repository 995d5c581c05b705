"""Time and peak memory of forward and backward, as ratios to `F.cross_entropy` on logits of the same shape.

    python -m benchmarks.cost                          # every catalogued loss and the peers, on the shapes below
    python -m benchmarks.cost dice kornia              # those whose call contains a word
    python -m benchmarks.cost --write                  # and keep the figures in benchmarks/results.json

Times are medians of the ratios of interleaved calls, each loss beside cross-entropy. Memory is the rise of the peak
resident size of a process forked for one forward and backward pass, gradient included, in units of the logits (Linux).
What takes longer than `PATIENCE` a call is called once.
"""

import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import segloss
from segloss import catalog
from segloss.catalog import Implementation
from segloss.testing import Loss
from segloss.testing.samples import CLASSES, Case, extra

RESULTS = Path(__file__).parent / "results.json"
SHAPES = [(4, 19, 512, 512), (1, 118, 48, 48, 48), (2, 4, 96, 96, 96), (2, 2, 64, 64, 64), (2, 1, 64, 64, 64)]
ROUNDS, PATIENCE, THREADS = 9, 2.0, 2
Call = Callable[[], Tensor]


@dataclass(frozen=True)
class Subject:
    """What is measured: a name, and how its call on logits of a shape is made; None where it takes no such logits."""

    name: str
    make: Callable[[tuple[int, ...]], tuple[Tensor, Call] | None]
    function: str = ""
    params: Any = None


def sample(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random logits, and labels in blobs so that neighbours agree as they do in an image."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    labels = max(2, shape[1])
    coarse = torch.randint(0, labels, (shape[0], 1, *(max(1, n // 8) for n in shape[2:])), generator=generator)
    return logits, F.interpolate(coarse.float(), size=shape[2:]).long()[:, 0]


def cross_entropy(shape: tuple[int, ...]) -> tuple[Tensor, Call]:
    """The yardstick; of one channel the binary one."""
    logits, target = sample(shape)
    if shape[1] == 1:
        truth = target.unsqueeze(1).float()
        return logits, lambda: F.binary_cross_entropy_with_logits(logits, truth)
    return logits, lambda: F.cross_entropy(logits, target)


def catalogued(implementation: Implementation, shape: tuple[int, ...]) -> tuple[Tensor, Call] | None:
    """A loss of the catalogue with the parameters of a paper, and samples of the inputs it needs."""
    classes, axes = shape[1], len(shape) - 2
    fits = [task for task in implementation.task if (CLASSES[task] == 1) == (classes == 1)]
    if not fits or axes not in implementation.dims:
        return None
    path, _, name = implementation.function.rpartition(".")
    function = getattr(importlib.import_module(path), name)
    logits, target = sample(shape)
    if fits[0] == "multilabel":
        target = F.one_hot(target, classes).movedim(-1, 1).bool()
    case = Case(fits[0], logits, target)
    loss = Loss(function, implementation.params, (fits[0],))
    required = [n for n, p in list(loss.parameters.items())[2:] if p.default is p.empty and n not in loss.params]
    extras = {given: extra(given, case) for given in required}
    keywords = {**loss.keywords(case), **extras}
    return logits, lambda: function(logits, target, **keywords)


def usual(function: Callable[..., Tensor], shape: tuple[int, ...], **keywords: Any) -> tuple[Tensor, Call] | None:
    """A loss of several classes with other keywords than those of its paper."""
    logits, target = sample(shape)
    return None if shape[1] == 1 else (logits, lambda: function(logits, target, **keywords))


def given(function: Callable[..., Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Call]:
    """A loss whose distances are made beforehand."""
    logits, target = sample(shape)
    distance = segloss.precompute.signed_distance_map(target, shape[1], batched=True)
    return logits, lambda: function(logits, target, distance=distance)


def by_scipy(function: Callable[..., Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Call]:
    """A loss whose distances scipy computes."""
    logits, target = sample(shape)

    def call() -> Tensor:
        with segloss.distance_backend("scipy"):
            return function(logits, target)

    return logits, call


def of_peer(loss: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]) -> tuple[Tensor, Call] | None:
    """A loss of another library, of several classes."""
    logits, target = sample(shape)
    return None if shape[1] == 1 else (logits, lambda: loss(logits, target))


def subjects() -> Iterator[Subject]:
    """Every loss with every set of parameters once, then the peers that are installed."""
    seen = set()
    for entry in catalog.entries().values():
        for implementation in entry.losses:
            name = implementation.function.rpartition(".")[2]
            values = ", ".join(f"{key}={value!r}" for key, value in implementation.params.items())
            if (call := f"{name}({values})") not in seen:
                seen.add(call)
                make = partial(catalogued, implementation)
                yield Subject(call, make, implementation.function, dict(implementation.params))
    for n in (3, 25):
        yield Subject(f"soft_cldice_loss, {n} iterations", partial(usual, segloss.soft_cldice_loss, iterations=n))
    yield Subject("boundary_loss, distance given", partial(given, segloss.boundary_loss))
    yield Subject("hausdorff_dt_loss, by scipy", partial(by_scipy, segloss.hausdorff_dt_loss))
    try:
        import kornia.losses as kornia

        def lovasz(x: Tensor, y: Tensor) -> Tensor:
            return kornia.lovasz_softmax_loss(x.flatten(2)[..., None], y.flatten(1)[..., None])

        yield Subject("kornia lovasz_softmax_loss", partial(of_peer, lovasz))
        yield Subject("kornia focal_loss", partial(of_peer, partial(kornia.focal_loss, alpha=0.25, reduction="mean")))
    except ImportError:
        print("kornia is not installed (pip install '.[bench]'): not measured", file=sys.stderr)
    try:
        import monai.losses as monai
    except ImportError:
        print("monai is not installed (pip install '.[bench]'): not measured", file=sys.stderr)
        return
    labels = {"softmax": True, "to_onehot_y": True}
    for criterion in (
        monai.DiceLoss(**labels),
        monai.GeneralizedDiceLoss(**labels),
        monai.TverskyLoss(**labels),
        monai.FocalLoss(use_softmax=True, to_onehot_y=True),
        monai.DiceCELoss(**labels),
        monai.DiceFocalLoss(**labels),
        monai.HausdorffDTLoss(**labels),
        monai.SoftclDiceLoss(iter_=3, **labels),
    ):
        yield Subject(f"monai {type(criterion).__name__}", partial(of_peer, partial(with_channel, criterion)))


def with_channel(criterion: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor) -> Tensor:
    """A loss that takes class indices with an axis for the channel."""
    return criterion(x, y.unsqueeze(1))


def step(logits: Tensor, call: Call) -> float:
    """Seconds of one forward and backward pass."""
    logits.grad = None
    start = time.perf_counter()
    call().backward()
    return time.perf_counter() - start


def time_ratio(subject: Subject, shape: tuple[int, ...]) -> tuple[float, float] | None:
    """The median ratio to cross-entropy, and half the distance of the quartiles."""
    made = subject.make(shape)
    if made is None:
        return None
    yardstick = cross_entropy(shape)
    first = step(*made), step(*yardstick)
    if first[0] > PATIENCE:
        return first[0] / statistics.median(step(*yardstick) for _ in range(ROUNDS)), 0.0
    ratios = []
    for _ in range(ROUNDS):
        reference = step(*yardstick)
        ratios.append(step(*made) / reference)
    low, middle, high = statistics.quantiles(ratios, n=4)
    return middle, (high - low) / 2


def memory_ratio(subject: Subject, shape: tuple[int, ...]) -> float | None:
    """The peak of a pass in units of the logits, taken in a child that starts with everything loaded."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, json.dumps(peak(subject, shape)).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else None


def peak(subject: Subject, shape: tuple[int, ...]) -> float | None:
    """The rise of the peak resident size of this process over one pass."""
    torch.set_num_threads(1)
    small = subject.make((1, shape[1], *(16 for _ in shape[2:])))
    if small:
        step(*small)
    made = subject.make(shape)
    if made is None:
        return None
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmRSS")
    step(*made)
    return (resident("VmHWM") - before) * 1024 / (made[0].numel() * made[0].element_size())


def resident(field: str) -> int:
    """A field of the process status, in kB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if field in line)


def main(words: list[str]) -> None:
    """Print a table of ratios, and keep the figures if asked to."""
    write = "--write" in words
    words = [word for word in words if word != "--write"]
    torch.set_num_threads(1)  # a child of a process that has used threads cannot use any
    chosen = [subject for subject in subjects() if not words or any(word in subject.name for word in words)]
    memory = {(s.name, shape): memory_ratio(s, shape) for s in chosen for shape in SHAPES}
    torch.set_num_threads(THREADS)
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    print(f"{versions}, {THREADS} threads, float32; cross-entropy = 1; memory in units of the logits")
    results = []
    for subject in chosen:
        print(subject.name, flush=True)
        for shape in SHAPES:
            found = time_ratio(subject, shape)
            if found is None:
                continue
            ratio, spread = found
            peaked = memory[subject.name, shape]
            print(f"    {shape!s:24} {ratio:8.2f} ± {spread:.2f} time {peaked or 0:8.2f} memory", flush=True)
            results.append(
                {
                    "name": subject.name,
                    "function": subject.function,
                    "params": subject.params,
                    "shape": shape,
                    "classes": shape[1],
                    "time_ratio": round(ratio, 3),
                    "time_spread": round(spread, 3),
                    "memory_ratio": None if peaked is None else round(peaked, 3),
                }
            )
    if write:
        machine = f"{platform.machine()}, {os.cpu_count()} cores"
        kept = {
            "machine": machine,
            "versions": versions,
            "date": date.today().isoformat(),
            "threads": THREADS,
            "results": results,
        }
        RESULTS.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
