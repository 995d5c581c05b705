"""Settings of the test run."""

import os

import pytest
import torch

import segloss

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before anything imports triton, whose kernels need a GPU
torch.set_num_threads(1)  # small inputs: threads that wait for each other cost more than they bring


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--golden DIR` runs the parity tests on recorded values elsewhere."""
    parser.addoption("--golden", help="folder of recorded values for the parity tests (default: tests/golden)")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    """Examples begin where a reader has imported torch and segloss."""
    doctest_namespace |= {"torch": torch, "segloss": segloss}
