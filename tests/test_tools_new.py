"""`python -m tools new`: what it writes, what it refuses, and what is left to do."""

from pathlib import Path

import pytest

from tests.small import ORACLE, contents, remove, small_repository, write
from tools.__main__ import main
from tools.catalogue import load
from tools.checks import check

BIB = r"""@Article{whatever:1,
  Author = {Mar{\'\i}a van den Berg and Roe, Richard},
  Title = {A {New} Loss: Part "One" \& Two},
  Journal = {Journal of Examples},
  Year = {2020},
  Month = mar,
  Doi = {10.1000/new},
  Eprint = {2001.12345v3}, ArchivePrefix = {arXiv},
}
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_repository(tmp_path / "repository")


def started(root: Path, *changes: str, bib: str = BIB) -> int:
    (root.parent / "paper.bib").write_text(bib, encoding="utf-8")
    given = {
        "key": "berg2020new",
        "--family": "region",
        "--function": "new_loss",
        "--bib": str(root.parent / "paper.bib"),
    }
    given |= dict(change.split("=") for change in changes)
    key = given.pop("key")
    return main(["new", key, *(word for pair in given.items() for word in pair)], root)


def test_new_writes_record_entry_and_stubs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    assert started(root) == 0
    told = capsys.readouterr().out
    new = contents(root)
    assert sorted(path for path in new if new[path] != before.get(path)) == [
        "catalog.yaml",
        "references.bib",
        "segloss/region/new.py",
        "tests/golden/berg2020new/cases.json",
        "tests/oracles/berg2020new.py",
    ]
    assert all(path in told for path in new if new[path] != before.get(path))
    assert "python -m tools record berg2020new" in told.partition("left to do:")[2]
    entry = load(root).entries["berg2020new"]
    assert list(load(root).entries) == ["doe2021recall", "berg2020new", "oe2019overlap"]
    assert {name: entry.fields[name] for name in ("date", "title", "authors", "venue", "doi", "arxiv", "family")} == {
        "date": "2020-01",
        "title": 'A New Loss: Part "One" & Two',
        "authors": ["María van den Berg", "Richard Roe"],
        "venue": "Journal of Examples 2020",
        "doi": "10.1000/new",
        "arxiv": "2001.12345",
        "family": "region",
    }
    assert "# The oldest one.\noe2019overlap:" in new["catalog.yaml"].decode()
    assert "\n\n" + BIB.replace("whatever:1", "berg2020new") + "\n" in new["references.bib"].decode()
    assert list(load(root).records) == ["doe2021recall", "berg2020new", "oe2019overlap"]


def test_what_new_leaves_is_told_by_the_check_until_it_is_done(root: Path) -> None:
    started(root)
    assert [str(problem).split(": ", 1)[1] for problem in check(load(root))] == [
        "berg2020new: usage is still to be filled in",
        "new_loss: the docstring is still to be filled in",
        "berg2020new: no case yet; run python -m tools record berg2020new",
        "is still to be filled in; remove it if the numbers are those of the authors",
    ]
    for path in ("catalog.yaml", "segloss/region/new.py"):
        write(root, path, (root / path).read_text(encoding="utf-8").replace("FILL IN", "Done"))
    write(root, "tests/oracles/berg2020new.py", ORACLE)
    assert main(["record", "berg2020new"], root) == 0
    assert check(load(root)) == []


def test_new_says_the_year_of_a_venue_once(root: Path) -> None:
    assert started(root, bib=BIB.replace("Journal of Examples", "Proceedings of 2020 Examples")) == 0
    assert load(root).entries["berg2020new"].fields["venue"] == "Proceedings of 2020 Examples"


def test_new_for_a_function_that_exists_writes_no_stub(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    assert started(root, "--function=overlap_loss") == 0
    assert "segloss/region/overlap.py  name [berg2020new] under References:" in capsys.readouterr().out
    assert sorted(path for path in contents(root) if path not in before) == [
        "tests/golden/berg2020new/cases.json",
        "tests/oracles/berg2020new.py",
    ]


def test_new_for_a_measure(root: Path) -> None:
    assert started(root, "--family=measures", "--function=hausdorff_distance") == 0
    assert (root / "segloss/measures/hausdorff_distance_measure.py").is_file()
    assert load(root).entries["berg2020new"].fields["measures"][0]["function"] == "segloss.measures.hausdorff_distance"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("key=oe2019overlap", "tools new: oe2019overlap is in catalog.yaml already, line 18"),
        ("key=Berg2020", "tools new: key 'Berg2020': write family name, year and a word of the title"),
        ("--family=regio", "family 'regio' is not one of distribution, region"),
        ("--function=NewLoss", "function 'NewLoss' is not a name in lower case"),
        ("--function=new", "function 'new': losses end in _loss, and measures do not"),
        ("--family=boundary", "overlap_loss stands in segloss/region/overlap.py already, of the family region"),
        ("--bib=nowhere.bib", "tools new: nowhere.bib:1: there is no such file"),
    ],
)
def test_new_refuses_what_cannot_be_meant(
    root: Path, capsys: pytest.CaptureFixture[str], change: str, expected: str
) -> None:
    before = contents(root)
    more = ["--function=overlap_loss"] if change == "--family=boundary" else []
    assert started(root, change, *more) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert expected in told.err
    assert contents(root) == before


@pytest.mark.parametrize(
    ("bib", "expected"),
    [
        ("", "paper.bib: holds 0 records; it must hold the one of the paper"),
        (BIB + BIB.replace("whatever", "other"), "paper.bib: holds 2 records"),
        (BIB.replace("2020}", "2020"), "paper.bib:1: whatever:1: broken record"),
        (BIB.replace("Author", "Editor"), "paper.bib:1: the record has no author"),
        ("not BibTeX", "paper.bib:1: text outside of any record"),
    ],
)
def test_new_refuses_a_record_that_cannot_be_used(
    root: Path, capsys: pytest.CaptureFixture[str], bib: str, expected: str
) -> None:
    before = contents(root)
    assert started(root, bib=bib) == 2
    assert expected in capsys.readouterr().err
    assert contents(root) == before


@pytest.mark.parametrize(
    "path", ["tests/oracles/berg2020new.py", "tests/golden/berg2020new/cases.json", "segloss/region/new.py"]
)
def test_new_overwrites_nothing(root: Path, capsys: pytest.CaptureFixture[str], path: str) -> None:
    write(root, path, "[]")
    before = contents(root)
    assert started(root) == 2
    assert "exists already and is not overwritten" in capsys.readouterr().err
    assert contents(root) == before


def test_new_waits_for_a_catalogue_that_can_be_read(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "catalog.yaml", "a: [")
    assert started(root) == 2
    assert "cannot be extended before it can be read: catalog.yaml:2: not valid YAML" in capsys.readouterr().err
    write(root, "catalog.yaml", "{doe2021recall: {date: 2019}}")
    assert started(root) == 2
    capsys.readouterr()


def test_new_begins_an_empty_catalogue(root: Path) -> None:
    for path in ("segloss/region/overlap.py", "segloss/measures/share.py", "tests/golden"):
        remove(root, path)
    write(root, "references.bib", "")
    write(root, "catalog.yaml", "# nothing yet\n{}\n")
    assert started(root) == 2
    write(root, "catalog.yaml", "# nothing yet\n")
    assert started(root) == 0
    assert list(load(root).entries) == ["berg2020new"]


def test_new_leaves_nothing_where_it_cannot_write(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(root)
    monkeypatch.setattr(Path, "write_bytes", refuse)
    assert started(root) == 2
    assert capsys.readouterr().err == "tools new: [Errno 13] Permission denied\n"
    assert contents(root) == before


def refuse(*_: object) -> None:
    raise PermissionError(13, "Permission denied")
