"""Time and peak memory of forward and backward, as ratios to `F.cross_entropy` on the same logits in the same run.

    python -m benchmarks.cost                 # every loss below, on the shapes below
    python -m benchmarks.cost dice kornia     # those whose name contains a word

Times are medians over interleaved rounds. Memory is the rise of the peak resident size of a fresh process over one
forward and backward pass, gradient included, in units of the logits; the first pass, on a crop, loads the code.
"""

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

import segloss

SHAPES = [(4, 19, 512, 512), (1, 118, 48, 48, 48), (2, 4, 96, 96, 96), (2, 2, 64, 64, 64)]
ROUNDS = 9


def peers() -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """What is measured, by name; the peers where they are installed."""
    losses: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"cross entropy": F.cross_entropy}
    for name in dir(segloss):
        if name.endswith("_loss") and name != "lovasz_hinge_loss":
            losses[name] = getattr(segloss, name)
    try:
        import kornia.losses

        losses["kornia lovasz_softmax_loss"] = lambda x, y: kornia.losses.lovasz_softmax_loss(
            x.flatten(2)[..., None], y.flatten(1)[..., None]
        )
    except ImportError:
        print("kornia is not installed (pip install '.[bench]'): not measured", file=sys.stderr)
    try:
        import monai.losses

        for name, loss in (
            ("DiceLoss", monai.losses.DiceLoss),
            ("GeneralizedDiceLoss", monai.losses.GeneralizedDiceLoss),
        ):
            criterion = loss(softmax=True, to_onehot_y=True)
            losses[f"monai {name}"] = lambda x, y, criterion=criterion: criterion(x, y[:, None])
    except ImportError:
        print("monai is not installed (pip install '.[bench]'): not measured", file=sys.stderr)
    return losses


def sample(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random logits, and labels in blobs so that neighbours agree as they do in an image."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator, requires_grad=True)
    coarse = torch.randint(0, shape[1], (shape[0], 1, *(max(1, n // 8) for n in shape[2:])), generator=generator)
    return logits, F.interpolate(coarse.float(), size=shape[2:]).long()[:, 0]


def step(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> None:
    """One forward and backward pass."""
    logits.grad = None
    loss(logits, target).backward()


def times(losses: dict[str, Callable[[Tensor, Tensor], Tensor]], shape: tuple[int, ...]) -> dict[str, float]:
    """Median seconds of each loss over interleaved rounds."""
    logits, target = sample(shape)
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for round in range(ROUNDS + 2):
        for name, loss in losses.items():
            start = time.perf_counter()
            step(loss, logits, target)
            if round >= 2:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(s) for name, s in seconds.items()}


def peak(name: str, shape: tuple[int, ...]) -> float:
    """Rise of the peak resident size in units of the logits, measured in this process (Linux)."""
    loss = peers()[name]
    logits, target = sample(shape)
    small = sample((1, shape[1], *(8 for _ in shape[2:])))
    step(loss, *small)
    Path("/proc/self/clear_refs").write_text("5")
    before = resident("VmHWM")
    step(loss, logits, target)
    return (resident("VmHWM") - before) * 1024 / (logits.numel() * logits.element_size())


def resident(field: str) -> int:
    """A field of the process status, in kB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if field in line)


def main(words: list[str]) -> None:
    """Print a table of ratios."""
    torch.set_num_threads(2)
    if words[:1] == ["--peak"]:
        print(peak(words[1], tuple(json.loads(words[2]))))
        return
    every = peers()
    losses = {n: f for n, f in every.items() if n == "cross entropy" or not words or any(w in n for w in words)}
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32; cross entropy = 1.0; memory in logits"
    )
    print(f"{'':34}" + "".join(f"{shape!s:>26}" for shape in SHAPES))
    by_shape = {shape: times(losses, shape) for shape in SHAPES}
    for name in losses:
        row = []
        for shape in SHAPES:
            measure = partial(subprocess.run, check=True, capture_output=True, text=True)
            memory = measure([sys.executable, "-m", "benchmarks.cost", "--peak", name, json.dumps(shape)]).stdout
            row.append(f"{by_shape[shape][name] / by_shape[shape]['cross entropy']:.2f} x, {float(memory):.2f} memory")
        print(f"{name:34}" + "".join(f"{cell:>26}" for cell in row), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
