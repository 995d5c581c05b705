"""What each rank of a process group does: value and gradient of every loss on its part of a batch."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from segloss.core.distributed import all_sum
from segloss.testing import Loss
from segloss.testing.base import value_and_grad
from segloss.testing.samples import Case, extra

PARTS = [0], [1, 2]  # images of each rank
Results = dict[tuple[str, str], tuple[Tensor, Tensor] | str]


def local(total: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    return total


def without_gradient(total: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """Adds what the other ranks have as a constant."""
    if group is None:
        return total
    everyone = total.detach().clone()
    dist.all_reduce(everyone, group=group)
    return total + (everyone - total.detach())


def pooled_dice(
    logits: Tensor, target: Tensor, *, group: dist.ProcessGroup | None = None, add: Any = all_sum
) -> Tensor:
    """Dice pooled over images and ranks, with its sums added in a way that is right or wrong."""
    p, g = logits.sigmoid(), target.unsqueeze(1)
    return 1 - 2 * add((p * g).sum(), group) / add((p + g).sum(), group)


RIGHT = Loss(pooled_dice, tasks=("binary",))
WRONG = {
    "pools_within_a_rank": Loss(pooled_dice, {"add": local}, tasks=("binary",)),
    "loses_the_gradient_of_others": Loss(pooled_dice, {"add": without_gradient}, tasks=("binary",)),
}


def settings(loss: Loss) -> Iterator[tuple[str, Case, dict[str, Any]]]:
    """Samples and keywords under which ranks may differ in what they count."""
    for task in loss.tasks:
        case = loss.on(task, 2, images=3)
        mask = torch.ones_like(case.logits[:, :1], dtype=torch.bool)
        mask[0, ..., 4:] = False
        nothing = mask.clone()
        nothing[PARTS[0]] = False
        only_first = case.target.clone()
        only_first[PARTS[0]] = 0
        options: dict[str, dict[str, Any]] = {
            "mask": {"mask": mask},
            "one rank masked out": {"mask": nothing},
            "weight": {"weight": extra("weight", case)},
            "absent": {"absent": "skip"},
            "reduction": {"reduction": "sum"},
        }
        options = {name: each for name, each in options.items() if loss.accepts(*each)}
        for batch in ({"batch": False}, {"batch": True}) if loss.accepts("batch") else ({},):
            for name, option in {"": {}, **options}.items():
                sample = case.replace(target=only_first) if name == "absent" else case
                yield f"{task}, {batch}, {name or 'no option'}", sample, {**batch, **option}


def run_rank(rank: int, losses: dict[str, Loss], folder: Path) -> None:
    """Record value and gradient of this rank's part of the batch."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", f"file://{folder}/meeting", rank=rank, world_size=len(PARTS), timeout=timedelta(seconds=60)
    )
    results: Results = {}
    for loss_name, loss in losses.items():
        for name, case, keywords in settings(loss):
            part = dict(keywords)
            if "mask" in part:
                part["mask"] = part["mask"][PARTS[rank]]
            try:
                result = value_and_grad(loss, case.images(PARTS[rank]), group=dist.group.WORLD, **part)
            except Exception as error:
                result = repr(error)
            results[loss_name, name] = result
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()
