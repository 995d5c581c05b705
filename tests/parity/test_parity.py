"""Every recorded case is reproduced in value and gradient, or is not offered for a reason that the site shows."""

import re
from pathlib import Path

import pytest
import torch

from tests.parity.run import GOLDEN, Rounding, cases, outcome

DEFECT = re.compile(r"_(official_?)?code$|_bug$|^topoloss_official")
"""How the names of cases end that record a defect of the authors' code."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test a case of every folder under `--golden`."""
    if "recorded" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("cuda") and not torch.cuda.is_available():
        metafunc.parametrize("recorded", [])
        return
    golden = Path(metafunc.config.getoption("golden") or GOLDEN)
    folders = sorted(file.parent for file in golden.glob("**/cases.json"))
    assert folders, f"no cases.json under {golden}"
    every = [(folder, case) for folder in folders for case in cases(folder)]
    metafunc.parametrize("recorded", every, ids=[f"{folder.name}-{case['case']}" for folder, case in every])


def test_case(recorded):
    folder, case = recorded
    result = outcome(folder.name, folder, case)
    if result.status == "not offered":
        defect = DEFECT.search(case["case"]) or DEFECT.search(case["loss"]) or folder.name == "milletari2016vnet"
        assert case["source"]["kind"] == "third-party" or defect, result.reason
    else:
        assert result.status == "passed", result


def test_case_in_float32(recorded):
    same_in(recorded, "cpu")


@pytest.mark.cuda
def test_case_on_a_gpu(recorded):
    same_in(recorded, "cuda")


def same_in(recorded, device: str) -> None:
    """A case that is reproduced is so in float32 too, but for rounding."""
    folder, case = recorded
    result = outcome(folder.name, folder, case, Rounding(value=1e-5, grad=1e-4, device=device, dtype=torch.float32))
    assert result.status in ("passed", "not offered"), result
