"""The README runs as it stands."""

import re
from pathlib import Path

import pytest

from tests.snippets import run, snippets

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"


@pytest.mark.parametrize(("line", "code"), snippets(README))
def test_example_runs(line: int, code: str, tmp_path: Path) -> None:
    run(README, line, code, tmp_path)


def test_it_begins_with_the_two_commands() -> None:
    first = re.search(r"^```\n(.*?)^```$", README.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert first is not None
    assert [line.split("#")[0].strip() for line in first[1].splitlines()] == ["make site", "make test"]


def test_its_commands_are_targets_of_the_makefile() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", README.read_text(encoding="utf-8"), re.MULTILINE))
    assert {a or b for a, b in named} <= targets


def test_its_links_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", README.read_text(encoding="utf-8"))
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith("docs/papers/")]
    assert not missing
