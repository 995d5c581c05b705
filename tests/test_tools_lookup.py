"""`python -m tools new` with a DOI or an arXiv id: the record it makes, and what it says without an answer."""

import json
import urllib.request
from pathlib import Path

import jsonschema
import pytest

from tests.answers import opened
from tests.small import ROOT, contents, small_repository
from tools.__main__ import main
from tools.catalogue import CATALOGUE, SCHEMA, load
from tools.checks import check
from tools.strict_yaml import read_yaml


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(urllib.request, "urlopen", opened)
    return small_repository(tmp_path / "repository")


def started(root: Path, *given: str) -> int:
    return main(["new", *given, "--family", "region", "--function", "new_loss"], root)


@pytest.mark.parametrize("given", ["2001.12345", "arXiv:2001.12345v2", "https://arxiv.org/abs/2001.12345"])
def test_an_arxiv_id_is_enough(root: Path, given: str) -> None:
    assert started(root, "--arxiv", given) == 0
    fields = load(root).entries["roe2020new"].fields
    assert (fields["date"], fields["title"]) == ("2020-01", "A New Loss for Image Segmentation")
    assert fields["authors"] == ["Richard Roe", "María van den Berg"]
    assert (fields["arxiv"], fields["venue"]) == ("2001.12345", "arXiv 2020")
    assert len(check(load(root))) == 4, "only what is left to write"


@pytest.mark.parametrize("given", ["10.1007/978-3-319-67389-9_44", "https://doi.org/10.1007/978-3-319-67389-9_44"])
def test_a_doi_is_enough(root: Path, given: str) -> None:
    assert started(root, "--doi", given) == 0
    fields = load(root).entries["vandenberg2020new"].fields
    assert (fields["doi"], fields["venue"]) == ("10.1007/978-3-319-67389-9_44", "Machine Learning in Examples 2020")
    assert "\n  title = {The New: Loss of Images},\n" in load(root).records["vandenberg2020new"].text
    assert len(check(load(root))) == 4, "only what is left to write"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("--doi", "10.1000/unknown"), "https://doi.org/10.1000/unknown: it is not known there; save the BibTeX"),
        (("--doi", "10.1000/slow"), "cannot be reached (timed out); save the BibTeX record"),
        (("--doi", "10.1000/offline"), "cannot be reached (Name or service not known); save the BibTeX record"),
        (("--doi", "10.1000/page"), "the answer holds 0 BibTeX records, not one"),
        (("--doi", "10.1000/endless"), "the answer is longer than any record"),
        (("--doi", "2001.12345"), "DOI must be a DOI such as 10.1007/"),
        (("--arxiv", "10.1000/new"), "arXiv id must be an arXiv id such as"),
        (("--arxiv", "2001.12345/../../x"), "arXiv id must be an arXiv id such as"),
    ],
)
def test_without_an_answer_nothing_is_written(
    root: Path, capsys: pytest.CaptureFixture[str], given: tuple[str, str], expected: str
) -> None:
    before = contents(root)
    assert started(root, *given) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert expected in told.err
    assert contents(root) == before


def test_the_family_of_a_known_function_is_known(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["new", "--arxiv", "2001.12345", "--function", "overlap_loss"], root) == 0
    assert load(root).entries["roe2020new"].fields["family"] == "region"
    assert main(["new", "other2020new", "--arxiv", "2001.12345", "--function", "fresh_loss"], root) == 2
    assert "fresh_loss is new; name the family it belongs to with --family" in capsys.readouterr().err


def test_the_catalogue_has_the_form_of_its_schema() -> None:
    schema = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    text = (ROOT / CATALOGUE).read_text(encoding="utf-8")
    assert text.startswith(f"# yaml-language-server: $schema={SCHEMA}\n")
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(read_yaml(CATALOGUE, text).value)


@pytest.mark.parametrize(
    "change",
    [
        {"date": "yesterday"},
        {"titel": "A misspelt field"},
        {"family": "regio"},
        {"authors": []},
        {"doi": "https://doi.org/10.1000/x"},
        {"url": "http://example.org"},
        {"code": [{"url": "https://example.org/r", "framework": "x"}]},
        {"losses": [{"function": "f", "params": {}, "task": ["binary", "binary"], "dims": [2], "range": [0, 1]}]},
        {"losses": [{"function": "f", "params": {}, "task": ["binary"], "dims": [4], "range": [0, 1]}]},
        {"losses": [{"function": "f", "params": {}, "task": ["binary"], "dims": [2], "range": [0]}]},
    ],
)
def test_the_schema_refuses_what_the_check_refuses(change: dict[str, object]) -> None:
    schema = json.loads((ROOT / SCHEMA).read_text(encoding="utf-8"))
    entry = {"date": "2020", "title": "T", "authors": ["A B"], "venue": "V 2020", "family": "region"}
    jsonschema.validate({"roe2020new": entry}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"roe2020new": entry | change}, schema)
