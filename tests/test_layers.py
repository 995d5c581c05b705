"""Who may import whom, read from the imports themselves."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from segloss.catalog import FAMILIES
from tests.small import ROOT

FILES = sorted(file for file in (ROOT / "segloss").rglob("*.py") if file.name != "__init__.py")
ALLOWED = {"core": {"core"}, **{family: {"core"} for family in FAMILIES}, "compound": {"core", *FAMILIES}}
"""Parts of segloss that a part may import; what is not named here may import all of them."""


def imports(source: str, module: str) -> Iterator[str]:
    """What a file imports, with its full path, wherever in the file it does so."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = module.split(".")[: -node.level] if node.level else []
            origin = ".".join([*base, *filter(None, [node.module])])
            yield from (f"{origin}.{alias.name}" for alias in node.names)


def faults(module: str, source: str) -> list[str]:
    """Imports that cross a layer the wrong way."""
    allowed = ALLOWED.get(module.split(".")[1])
    found = []
    for name in imports(source, module):
        root, *inner = name.split(".")
        within = root == "segloss" and allowed is not None
        if root in ("tools", "tests", "benchmarks") or (within and (not inner or inner[0] not in allowed)):
            found.append(name)
    return found


def name_of(file: Path) -> str:
    return file.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".")


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_imports_keep_to_the_layers(file: Path) -> None:
    assert faults(name_of(file), file.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("segloss.core.reduce", "from segloss.region.dice import dice_loss", True),
        ("segloss.core.reduce", "from segloss import region", True),
        ("segloss.core.reduce", "from ..region import dice_loss", True),
        ("segloss.core.reduce", "import segloss.catalog", True),
        ("segloss.core.reduce", "from segloss.core.inputs import Logits", False),
        ("segloss.core.reduce", "from . import inputs", False),
        ("segloss.region.dice", "import torch\nfrom segloss.core import Logits", False),
        ("segloss.region.dice", "from segloss.region.tversky import tversky_loss", True),
        ("segloss.region.dice", "def f():\n    from segloss.boundary import x", True),
        ("segloss.region.dice", "from segloss import catalog", True),
        ("segloss.region.dice", "import segloss", True),
        ("segloss.compound.combo", "from segloss.region import dice_loss", False),
        ("segloss.compound.combo", "from segloss.catalog import get", True),
        ("segloss.compound.combo", "import tools.catalogue", True),
        ("segloss.catalog", "from tools import check", True),
        ("segloss.cli", "from segloss import catalog", False),
    ],
)
def test_the_rule_tells_right_from_wrong(module: str, source: str, wrong: bool) -> None:
    assert bool(faults(module, source)) == wrong
