"""Input that is broken, or made to break the tools: one line with its place, no traceback, nothing written."""

import random
import re
from pathlib import Path

import pytest

from tests.small import BIBLIOGRAPHY, CATALOGUE, contents, small_repository
from tools.__main__ import main
from tools.catalogue import load
from tools.checks import check
from tools.strict_yaml import Loader, read_yaml

LINE = re.compile(r"[\w./-]+:\d+: \S.*")
BOMB = "a: &a [x, x]\n" + "".join(f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))

YAML = {
    "an unclosed list": ("a: [1,\n", "catalog.yaml:2: not valid YAML: while parsing a flow"),
    "a tab": ("a:\n\tb: 1\n", "catalog.yaml:2: not valid YAML: while scanning for the next token"),
    "a colon in a title": (CATALOGUE.replace("The Lov", "The: Lov"), "catalog.yaml:20: not valid YAML: mapping values"),
    "an unclosed quote": ('a: "b\n\n', "catalog.yaml:3: not valid YAML: while scanning a quoted scalar"),
    "aliases that multiply": (BOMB, "catalog.yaml:1: anchor &a is refused; remove it and write values out"),
    "a tag": (
        "a: !!python/object/apply:os.system [ls]\n",
        "catalog.yaml:1: tag 'tag:yaml.org,2002:python/object/apply:os",
    ),
    "a tag of its own": ("a: 1\nb: !secret x\n", "catalog.yaml:2: tag '!secret' is refused; remove it"),
    "deep lists": ("a: " + "[" * 300, "catalog.yaml:1: nested more than 12 levels deep"),
    "endless lists": ("a: " + "[" * 100_000, "catalog.yaml:1: n"),
    "deep blocks": (
        "".join(" " * depth + "a:\n" for depth in range(400)),
        "catalog.yaml:13: nested more than 12 levels deep",
    ),
    "a second document": ("a: 1\n---\nb: 2\n", "catalog.yaml:2: a second document begins here"),
    "a control character": ("a: b\nc: \x07\n", "catalog.yaml:2: not valid YAML: a control character"),
    "a number of many digits": (
        f"doe2021recall: {'9' * 5000}\n",
        "catalog.yaml:1: doe2021recall: not a number that can be read",
    ),
    "a list": ("- a\n- b\n", "catalog.yaml:1: must be a mapping from keys such as salehi2017tversky to entries"),
    "nothing": ("", "references.bib:1: doe2021recall: has no entry in catalog.yaml; add one or remove the record"),
    "a repeated key": (
        f"{CATALOGUE}\n{CATALOGUE[17:]}",
        "catalog.yaml:48: 'doe2021recall' stands here a second time, first in line 3",
    ),
    "a repeated field": (
        CATALOGUE.replace("  venue: CVPR 2020", "  venue: a\n  venue: CVPR 2020"),
        "catalog.yaml:23: oe2019overlap: 'venue' stands",
    ),
    "a number as key": ("2020: {}\n", "catalog.yaml:1: '2020' stands as a key; keys are words"),
    "a list as key": ("? [a]\n: 1\n", "catalog.yaml:1: a collection stands as a key; keys are words"),
    "a key of another form": (
        "Doe-2021: {}\n",
        "catalog.yaml:1: Doe-2021: is not a key; write family name, year and a word",
    ),
    "text for an entry": (
        "doe2021recall: text\n",
        "catalog.yaml:1: doe2021recall: must be a mapping with the fields date",
    ),
}

BIBTEX = {
    "an unclosed brace": (
        BIBLIOGRAPHY.replace("Measure},", "Measure,"),
        "references.bib:1: doe2021recall: broken record",
    ),
    "a missing comma": (
        BIBLIOGRAPHY.replace("{doe2021recall,", "{doe2021recall"),
        "references.bib:1: doe2021recall: broken record",
    ),
    "a repeated record": (
        BIBLIOGRAPHY + "\n" + BIBLIOGRAPHY,
        "references.bib:19: doe2021recall: the key stands here a second time, first in line 1",
    ),
    "a repeated field": (
        BIBLIOGRAPHY.replace("  year = {2021},", "  year = {2021},\n  year = {2021},"),
        "references.bib:1: doe2021recall: field year",
    ),
    "a record without @": (
        BIBLIOGRAPHY.replace("@article", "article"),
        "references.bib:1: text outside of any record: 'article{doe2021recall,'",
    ),
    "a record without key": (
        BIBLIOGRAPHY + "\n@misc{, title={x}}",
        "references.bib:19: a record without a key; write @misc{",
    ),
    "a name with four parts": (
        BIBLIOGRAPHY.replace("Doe, Jane", "D, o, e, Jane"),
        "references.bib:1: doe2021recall: author cannot be split",
    ),
    "an abbreviation": (
        '@string{joe = "Journal of Examples"}\n' + BIBLIOGRAPHY,
        "references.bib:1: records are handed out one by one; write the words out in each of them",
    ),
    "many braces": (BIBLIOGRAPHY.replace("{Recall}", "{" * 3000 + "Recall" + "}" * 3000), None),
}


@pytest.mark.parametrize(("text", "expected"), YAML.values(), ids=YAML.keys())
def test_a_broken_catalogue_is_told(tmp_path: Path, text: str, expected: str) -> None:
    told = problems_of(tmp_path, "catalog.yaml", text.encode())
    assert any(line.startswith(expected) for line in told), told


@pytest.mark.parametrize(("text", "expected"), BIBTEX.values(), ids=BIBTEX.keys())
def test_a_broken_bibliography_is_told(tmp_path: Path, text: str, expected: str | None) -> None:
    told = problems_of(tmp_path, "references.bib", text.encode())
    assert any(line.startswith(expected) for line in told) if expected else not told, told


@pytest.mark.parametrize(
    "path", ["catalog.yaml", "references.bib", "segloss/region/overlap.py", "tests/golden/oe2019overlap/cases.json"]
)
def test_files_that_are_not_utf_8_are_told(tmp_path: Path, path: str) -> None:
    (told,) = problems_of(tmp_path, path, b"# one\n# two \xff\n")
    assert told == f"{path}:2: byte 0xff is not UTF-8; save the file as UTF-8"


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "{}", "[1]", '[{"case": 1}]', "NaN", "", f"[{'9' * 5000}]"])
def test_recorded_cases_of_another_form_are_told(tmp_path: Path, text: str) -> None:
    assert problems_of(tmp_path, "tests/golden/oe2019overlap/cases.json", text.encode())[0].startswith(
        "tests/golden/oe2019overlap/cases.json:1: "
    )


@pytest.mark.parametrize("text", ["def f(:", "\x00", "(" * 5000, "x = 1\n  y = 2", "def overlap_loss(): pass"])
def test_python_that_cannot_be_read_is_told(tmp_path: Path, text: str) -> None:
    assert "segloss/region/overlap.py:" in problems_of(tmp_path, "segloss/region/overlap.py", text.encode())[-1]


def test_a_broken_record_is_one_message(tmp_path: Path) -> None:
    """It stays known by its key, so that its entry is not told to have none."""
    assert len(problems_of(tmp_path, "references.bib", BIBTEX["a missing comma"][0].encode())) == 1


def test_a_faulty_entry_stays_known(tmp_path: Path) -> None:
    told = problems_of(tmp_path, "catalog.yaml", CATALOGUE.replace("authors: [Jane Doe]", "authors: Jane Doe").encode())
    assert told == ["catalog.yaml:6: doe2021recall: authors must be a list, not 'Jane Doe'"]


@pytest.mark.parametrize("seed", range(60))
def test_damage_anywhere_gives_lines_and_no_exception(tmp_path: Path, seed: int) -> None:
    """Bytes of a file are dropped, doubled, exchanged or made up."""
    chance = random.Random(seed)
    root = small_repository(tmp_path)
    path = ["catalog.yaml", "references.bib", "segloss/region/overlap.py", "tests/golden/oe2019overlap/cases.json"][
        seed % 4
    ]
    data = bytearray((root / path).read_bytes())
    for _ in range(chance.randint(1, 4)):
        at, length = chance.randrange(len(data)), chance.randint(1, 30)
        part = data[at : at + length]
        data[at : at + length] = chance.choice(
            [b"", part * 2, bytes(reversed(part)), bytes(chance.choices(b"{}[]@\"'\\:&*!#,-\n\x00 a", k=3))]
        )
    problems_of(tmp_path, path, bytes(data))


@pytest.mark.parametrize("loader", ["SafeLoader", "CSafeLoader"])
def test_both_parsers_of_yaml_give_the_same(monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    import yaml

    expected = read_yaml("catalog.yaml", CATALOGUE)
    monkeypatch.setattr("tools.strict_yaml.Loader", getattr(yaml, loader, Loader))
    assert read_yaml("catalog.yaml", CATALOGUE) == expected


def problems_of(root: Path, path: str, data: bytes) -> list[str]:
    """What is told of a damaged file; nothing is written, whatever is asked for."""
    small_repository(root)
    (root / path).write_bytes(data)
    before = contents(root)
    told = [str(problem) for problem in check(load(root))]
    assert all(LINE.fullmatch(line) for line in told)
    if load(root).problems:
        assert main(["build"], root) == 1
        assert contents(root) == before
    return told
