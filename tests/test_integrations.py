"""Every block of docs/integrations.md is a script that runs; modules can be built by name from plain values."""

import os
import subprocess
import sys
import typing
from pathlib import Path

import pytest
import torch

import segloss
from segloss import modules
from tests.small import ROOT
from tests.snippets import snippets

PAGE = ROOT / "docs" / "integrations.md"


@pytest.mark.parametrize(("line", "code"), snippets(PAGE))
def test_block_runs(line: int, code: str, tmp_path: Path) -> None:
    script = tmp_path / "block.py"
    script.write_text("\n" * (line - 1) + code, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, env=environment, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr


FORMS = [form for form in vars(modules).values() if isinstance(form, type) and form.__module__ == modules.__name__]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_a_module_tells_the_types_of_its_keywords(form: type[torch.nn.Module]) -> None:
    """What jsonargparse reads a configuration by."""
    assert getattr(segloss, form.__name__) is form
    assert set(typing.get_type_hints(form.__init__)) - {"return"}
