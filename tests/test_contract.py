"""Every promise of the contract, for every loss and measure of the catalogue."""

from typing import Any

import pytest

from segloss import catalog
from segloss.testing import CONTRACT
from segloss.testing.members import Member, members

DISTRIBUTED = "ranks_equal_one_process"  # in test_distributed.py


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


def test_every_loss_has_a_module() -> None:
    assert not [member.name for member in members() if not member.loss.measure and member.loss.module is None]


def test_exceptions_name_promises() -> None:
    for entry in catalog.entries().values():
        named = {name.rpartition(".")[2] for name in entry.exceptions or {}}
        unknown = named - {*CONTRACT, DISTRIBUTED}
        assert not unknown, f"{entry.key}: no promise is called {', '.join(unknown)}"
