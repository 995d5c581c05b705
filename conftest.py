"""Settings of the test run."""

import pytest
import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--golden DIR` runs the parity tests on recorded values elsewhere."""
    parser.addoption("--golden", help="folder of recorded values for the parity tests (default: tests/golden)")


@pytest.fixture(autouse=True)
def _doctest_names(doctest_namespace):
    """Examples begin where a reader has imported torch."""
    doctest_namespace["torch"] = torch
