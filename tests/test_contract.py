"""Every promise of the contract, for every loss and measure of the catalogue."""

import gc
import shutil
from typing import Any

import pytest
import torch

from segloss import catalog
from segloss.testing import CONTRACT, Loss
from segloss.testing.base import twice, value_and_grad
from segloss.testing.members import Member, members

DISTRIBUTED = "ranks_equal_one_process"  # in test_distributed.py
FUNCTIONS = {it.loss.function.__name__: it for it in members() if not it.loss.measure}


def cases() -> list[Any]:
    found = []
    for member in members():
        for name, promise in CONTRACT.items():
            if promise.binds(member.loss):
                reason = member.exceptions.get(name)
                marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
                found.append(pytest.param(member, name, id=f"{member.name}-{name}", marks=marks))
    return found


@pytest.mark.parametrize(("member", "promise"), cases())
def test_contract(member: Member, promise: str) -> None:
    CONTRACT[promise].test(member.loss)


@pytest.mark.filterwarnings("ignore")  # torch warns of what it does itself
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch asks for a compiler of C++")
@pytest.mark.parametrize("member", FUNCTIONS.values(), ids=FUNCTIONS)
def test_what_torch_compiles_is_the_same(member: Member) -> None:
    """The contract asks for one graph; this is what becomes of it, or of several."""
    loss, (task, dims) = member.loss, next(twice(member.loss))
    case = loss.on(task, dims).to(torch.float32)
    torch.compiler.reset()
    keywords = loss.keywords(case.replace(extras={}))
    compiled = torch.compile(lambda *given, **inputs: loss.function(*given, **keywords, **inputs))
    expected, found = value_and_grad(loss, case), value_and_grad(Loss(compiled), case)
    torch.compiler.reset()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("member", FUNCTIONS.values(), ids=FUNCTIONS)
def test_logits_are_let_go_after_the_way_back(member: Member) -> None:
    """Though the value is still held, as it is until the next one in a loop of training."""
    loss, (task, dims) = member.loss, next(twice(member.loss))
    case = loss.on(task, dims).to(torch.float32)
    logits = case.logits.clone().requires_grad_() * 1
    storage = logits.untyped_storage()._weak_ref()
    value = loss(case.replace(logits=logits))
    value.backward()
    del logits
    gc.collect()  # what numba compiles at a first call leaves cycles
    is_gone = torch.UntypedStorage._expired(storage)
    torch.UntypedStorage._free_weak_ref(storage)
    assert is_gone


def test_every_loss_has_a_module() -> None:
    assert not [member.name for member in members() if not member.loss.measure and member.loss.module is None]


def test_exceptions_name_promises() -> None:
    for entry in catalog.entries().values():
        named = {name.rpartition(".")[2] for name in entry.exceptions or {}}
        unknown = named - {*CONTRACT, DISTRIBUTED}
        assert not unknown, f"{entry.key}: no promise is called {', '.join(unknown)}"
