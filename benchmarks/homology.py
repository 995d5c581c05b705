"""Time of forward and backward of the losses on persistence diagrams, for one image, with either library.

    python -m benchmarks.homology

Best of several rounds, in milliseconds of the clock and, in brackets, of the CPU, with one thread. The cost depends on
the image: white noise has the most bars, a probability map as networks give has few.
"""

import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

import segloss
from segloss.core import homology_backend

SHAPES = [(256, 256), (48, 48, 48)]
ROUNDS = 5


def images(shape: tuple[int, ...]) -> tuple[Tensor, dict[str, Tensor]]:
    """A target in blobs, and logits by how noisy they are."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 1, *(size // 8 for size in shape), generator=generator)
    blobs = F.interpolate(coarse, size=shape, mode="bilinear" if len(shape) == 2 else "trilinear")
    noise = torch.randn(1, 1, *shape, generator=generator)
    smoothed = (F.avg_pool2d if len(shape) == 2 else F.avg_pool3d)(noise, 5, stride=1, padding=2)
    return (blobs[:, 0] > 0).long(), {"smooth": 4 * blobs + smoothed, "noisy": 4 * blobs + noise, "noise": noise}


def losses(axes: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    """What is measured, by name."""
    prior = {1: (1, *(0,) * (axes - 1))}
    return {
        "topological_loss": segloss.topological_loss,
        "topological_loss, image whole": partial(segloss.topological_loss, patch_size=None),
        "topological_prior_loss": partial(segloss.topological_prior_loss, prior=prior),
    }


def best(loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, target: Tensor) -> str:
    """Milliseconds of the fastest round."""
    logits, clock, cpu = logits.requires_grad_(), [], []
    for _ in range(ROUNDS + 1):
        logits.grad, started, used = None, time.perf_counter(), time.process_time()
        loss(logits, target).backward()
        clock.append(time.perf_counter() - started)
        cpu.append(time.process_time() - used)
    return f"{1e3 * min(clock[1:]):.0f} ({1e3 * min(cpu[1:]):.0f})"


def main() -> None:
    """Print a table."""
    torch.set_num_threads(1)
    for shape in SHAPES:
        target, logits = images(shape)
        print(
            f"\n{shape!s:34}"
            + "".join(f"{f'{image}, {name}':>20}" for image in logits for name in ("gudhi", "cripser"))
        )
        for name, loss in losses(len(shape)).items():
            row = []
            for image in logits.values():
                for library in ("gudhi", "cripser"):
                    with homology_backend(library):
                        row.append(best(loss, image, target))
            print(f"{name:34}" + "".join(f"{cell:>20}" for cell in row), flush=True)


if __name__ == "__main__":
    main()
