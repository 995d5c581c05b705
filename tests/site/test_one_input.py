"""Every number of the page "One input, many values" is the recorded one, and every call on it gives that number."""

import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import segloss
from segloss import catalog
from tests.snippets import run, snippets
from tools.catalogue import load
from tools.observed import digest
from tools.one_input import shown
from tools.pages import pages

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
INPUT = re.compile(r"`(tests/golden/[^`]+\.npz)`\.")
ROW = re.compile(r"^\| (?P<who>[^|]+) \| (?P<value>[−\d.]+) \| (?P<call>.+?)(?:<br>(?P<why>.+))? \| (?P<error>\S+) \|$")


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages(load(ROOT))


@pytest.fixture(scope="module")
def page(generated: dict[str, str]) -> str:
    return generated["docs/one-input.md"]


def recorded() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every case of a paper of the catalogue, with its arrays."""
    found = []
    for key in catalog.entries():
        file = GOLDEN / key / "cases.json"
        for case in json.loads(file.read_text(encoding="utf-8")) if file.exists() else []:
            with np.load(file.parent / f"{case['case']}.npz") as arrays:
                found.append((case, dict(arrays)))
    return found


def rows(page: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """The rows of all tables, each with the arrays of the file above its table."""
    found: list[tuple[dict[str, Any], dict[str, str]]] = []
    arrays: dict[str, Any] = {}
    for line in page.splitlines():
        if above := INPUT.search(line):
            with np.load(ROOT / above[1]) as file:
                arrays = dict(file)
        if cells := ROW.match(line):
            found.append((arrays, cells.groupdict()))
    return found


def evaluated(call: str, arrays: dict[str, Any]) -> float:
    """A call as a reader runs it who follows the page."""
    scope: dict[str, Any] = {name: torch.from_numpy(array) for name, array in arrays.items() if array.ndim}
    scope["present"] = torch.stack([(scope["target"] == c).any() for c in range(scope["logits"].shape[1])])
    return float(eval(call, {**vars(segloss), "torch": torch}, scope))


def mistakes(page: str) -> list[str]:
    """What of the page is not as recorded."""
    found, cases = [], recorded()
    for arrays, cells in rows(page):
        value = cells["value"].replace("−", "-")
        called = re.sub(r"\s", "", (re.search(r"<br>`(.+)`$", cells["who"]) or [""] * 2)[1])
        mine = [
            float(numbers["value"])
            for case, numbers in cases
            if re.sub(r"\s", "", case["source"]["callable"] or "") == called and digest(numbers) == digest(arrays)
        ]
        ours = cells["who"] == "**segloss**"
        if not ours and value not in [f"{number:.6f}" for number in mine]:
            found.append(f"{called}: {value} was not recorded on this input, but {mine}")
        if cells["call"].startswith("`") and abs(evaluated(cells["call"].strip("`"), arrays) - float(value)) > 2e-6:
            found.append(f"{cells['call']} does not give {value}")
        together = re.fullmatch(r"values of `(\w+)`, put together", cells["call"])
        known = together is not None and hasattr(segloss, together[1])
        if not (cells["call"].startswith("`") or cells["call"] == "not reproduced" or known):
            found.append(f"{called}: {cells['call']} is no call")
    return found


def test_every_number_is_the_recorded_one(page: str) -> None:
    assert mistakes(page) == []


def test_a_wrong_number_is_noticed(page: str) -> None:
    for _, cells in rows(page):
        wrong = cells["value"][:-1] + str((int(cells["value"][-1]) + 5) % 10)
        assert mistakes(page.replace(f" {cells['value']} ", f" {wrong} ")), cells


def test_no_recorded_implementation_is_missing(page: str) -> None:
    expected = Counter(
        shown(float(numbers["value"])) for case, numbers in recorded() if case["source"]["kind"] == "third-party"
    )
    assert expected
    assert expected <= Counter(cells["value"] for _, cells in rows(page) if cells["who"] != "**segloss**")


def test_every_row_has_a_reason(page: str) -> None:
    for _, cells in rows(page):
        assert cells["who"] == "**segloss**" or (cells["why"][0].isupper() and cells["why"].endswith(".")), cells


def test_its_code_runs(page: str, tmp_path: Path) -> None:
    file = tmp_path / "one-input.md"
    file.write_text(page, encoding="utf-8")
    ((line, code),) = snippets(file)
    run(file, line, code, tmp_path)


def test_it_renders_in_strict_mode(generated: dict[str, str], tmp_path: Path) -> None:
    """The whole site but the documentation of the code, which takes long and has no part in it."""
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    shutil.copytree(ROOT / "overrides", tmp_path / "overrides")
    shutil.copy(ROOT / "CONTRIBUTING.md", tmp_path)
    for path, text in generated.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    del config["INHERIT"]
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump({**config, "plugins": ["search"]}), encoding="utf-8")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    html = (tmp_path / "site" / "one-input" / "index.html").read_text(encoding="utf-8")
    assert html.count("<table>") == generated["docs/one-input.md"].count("\n| --- |")
