"""Losses of topology do what they promise: where the overlap cannot see, they close a gap or a false hole.

Free logits are optimised from a prediction with a fault. Its voxels are hidden from the Dice loss by `ignore_index`, so
that only the topology loss beside it can tell that something is wrong there.
"""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from scipy.ndimage import label
from torch import Tensor

import segloss

HIDDEN = 255


def gap() -> tuple[Tensor, Tensor]:
    """A vessel three voxels thick, and where it is interrupted."""
    target, fault = torch.zeros(2, 1, 24, 24, dtype=torch.long)
    target[:, 10:13, 2:22] = 1
    fault[:, 9:14, 11:14] = 1
    return target, fault.bool()


def hole() -> tuple[Tensor, Tensor]:
    """A disc, and a hole in it."""
    y, x = torch.meshgrid(torch.arange(24), torch.arange(24), indexing="ij")
    away = ((y - 11.5) ** 2 + (x - 11.5) ** 2).sqrt()
    return (away < 8).long().unsqueeze(0), (away < 2).unsqueeze(0)


FAULTS = {"gap": gap, "hole": hole}
CLOSED = {"gap": (1, 1), "hole": (1, 1)}
OPEN = {"gap": (2, 1), "hole": (1, 2)}
"""Pieces of the foreground and of the background once a fault is mended, and before."""

CASES: list[tuple[str, Callable[..., Tensor]]] = [
    ("gap", partial(segloss.soft_cldice_loss, iterations=3)),
    ("gap", partial(segloss.soft_dice_cldice_loss, iterations=3)),
    ("gap", segloss.skeleton_recall_loss),
]
"""Each loss with a fault that it mends."""


def name(case: tuple[str, Callable[..., Tensor]]) -> str:
    fault, loss = case
    return f"{fault}-{getattr(loss, 'func', loss).__name__}"


def pieces(logits: Tensor) -> tuple[int, int]:
    """Numbers of pieces of foreground, joined across corners, and of background."""
    foreground = (logits[0, 0] > 0).numpy()
    return int(label(foreground, [[1] * 3] * 3)[1]), int(label(~foreground)[1])


def optimised(fault: str, topology: Callable[..., Tensor] | None) -> Tensor:
    """The logits after training with Dice, and with a topology loss if there is one."""
    target, hidden = FAULTS[fault]()
    seen = target.masked_fill(hidden, HIDDEN)
    start = torch.where((target > 0) & ~hidden, 2.0, -2.0).unsqueeze(1)
    assert pieces(start) == OPEN[fault]
    logits = start.clone().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=0.1)
    for _ in range(150):
        optimiser.zero_grad()
        loss = segloss.dice_loss(logits, seen, ignore_index=HIDDEN, smooth=1.0)
        if topology is not None:
            loss = loss + topology(logits, target)
        loss.backward()
        optimiser.step()
    return logits.detach()


@pytest.mark.parametrize("fault", FAULTS)
def test_dice_alone_leaves_the_fault(fault: str) -> None:
    assert pieces(optimised(fault, None)) == OPEN[fault]


@pytest.mark.parametrize("case", CASES, ids=name)
def test_topology_loss_mends_the_fault(case: tuple[str, Callable[..., Tensor]]) -> None:
    fault, topology = case
    assert pieces(optimised(fault, topology)) == CLOSED[fault]
