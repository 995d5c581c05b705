"""The promise of `group=`: two ranks, each with a part of the batch, train as one process with the whole would."""

from typing import Any

import pytest
import torch
from torch.multiprocessing.spawn import spawn

from segloss.testing import Loss
from segloss.testing.base import close, value_and_grad
from segloss.testing.members import members
from tests.ranks import PARTS, RIGHT, WRONG, Results, run_rank, settings

LOSSES = {member.name: member.loss for member in members() if member.loss.accepts("group")}
EXCEPTIONS = {member.name: member.exceptions.get("ranks_equal_one_process") for member in members()}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Results]:
    """What the ranks recorded for every loss, in one start of two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    losses = {**LOSSES, **WRONG, "right": RIGHT}
    spawn(run_rank, (losses, folder), nprocs=len(PARTS))
    return [torch.load(folder / f"{rank}.pt") for rank in range(len(PARTS))]


def ranks_equal_one_process(loss_name: str, loss: Loss, ranks: list[Results]) -> None:
    """Value and gradient of every rank are those of the whole batch, once the ranks' gradients are averaged."""
    for name, case, keywords in settings(loss):
        value, gradient = value_and_grad(loss, case, **keywords)
        for images, recorded in zip(PARTS, ranks, strict=True):
            result = recorded[loss_name, name]
            assert not isinstance(result, str), f"{name}: {result}"
            close(result[0], value, f"value of a rank; {name}")
            close(result[1] / len(PARTS), gradient[images], f"gradient of a rank's part, averaged; {name}")


def catalogued() -> list[Any]:
    found = []
    for name in LOSSES:
        reason = EXCEPTIONS[name]
        marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
        found.append(pytest.param(name, id=f"{name}-ranks_equal_one_process", marks=marks))
    return found


@pytest.mark.parametrize("name", catalogued())
def test_ranks_equal_one_process(name: str, ranks: list[Results]) -> None:
    ranks_equal_one_process(name, LOSSES[name], ranks)


def test_promise_passes_what_is_right(ranks: list[Results]) -> None:
    ranks_equal_one_process("right", RIGHT, ranks)


@pytest.mark.parametrize("name", WRONG)
def test_promise_catches(name: str, ranks: list[Results]) -> None:
    with pytest.raises(AssertionError, match="of a rank"):
        ranks_equal_one_process(name, WRONG[name], ranks)
