"""The catalogue at run time and on the command line."""

import io
import json
import pickle
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
import yaml

import segloss
from segloss import catalog, cli
from tests.small import ROOT

ENTRIES = yaml.safe_load((ROOT / "catalog.yaml").read_text(encoding="utf-8"))


def keys(**conditions: object) -> list[str]:
    return [entry.key for entry in catalog.find(**conditions)]


def test_every_entry_is_there_in_the_order_of_the_file() -> None:
    assert list(catalog.entries()) == list(ENTRIES) == keys()


@pytest.mark.parametrize("key", ENTRIES)
def test_an_entry_holds_what_the_file_says(key: str) -> None:
    entry, fields = catalog.get(key), ENTRIES[key]
    assert (entry.key, entry.date, entry.title, list(entry.authors)) == (
        key,
        str(fields["date"]),
        fields["title"],
        fields["authors"],
    )
    assert str(entry.year) == str(fields["date"])[:4]
    assert [code.url for code in entry.code] == [code["url"] for code in fields.get("code", [])]
    for implementation, given in zip(
        entry.implementations, fields.get("losses", []) + fields.get("measures", []), strict=True
    ):
        assert implementation.function == given["function"]
        assert implementation.params == given["params"]
        assert implementation.range == tuple(given["range"])
        partial = implementation.load()
        assert (partial.func.__name__, partial.keywords) == (implementation.name, given["params"])
        assert getattr(segloss, implementation.name) is partial.func
    assert entry.link.startswith("https://")
    assert entry.bibtex.startswith("@")
    assert f"{{{key}," in entry.bibtex


def test_entries_cannot_be_changed_and_can_be_pickled() -> None:
    entry = catalog.get("salehi2017tversky")
    with pytest.raises(AttributeError):
        entry.title = "x"
    assert pickle.loads(pickle.dumps(entry)) == entry


def test_finding_by_one_condition() -> None:
    assert keys(family="measures") == ["moltz2020contour", "csurka2013measure"]
    assert keys(year=2013) == ["csurka2013measure"]
    assert keys(function="lovasz_hinge_loss") == ["berman2018lovasz"]
    assert keys(function="segloss.region.lovasz_hinge_loss") == ["berman2018lovasz"]
    assert keys(function=segloss.lovasz_hinge_loss) == ["berman2018lovasz"]
    assert "ronneberger2015unet" in keys(needs="instances")
    assert "ronneberger2015unet" not in keys(needs="nothing")
    assert "lin2017focal" in keys(needs="nothing")
    assert keys(needs="distance") == []
    assert keys(year=1950) == []
    assert "fidon2017wasserstein" not in keys(task="multilabel")
    assert "fidon2017wasserstein" in keys(task="multiclass")
    assert {*keys(official=True), *keys(official=False)} == set(ENTRIES)
    assert "berman2018lovasz" in keys(official=True)
    assert "berman2018lovasz" in keys(soft_labels=False)
    assert "berman2018lovasz" not in keys(soft_labels=True)
    assert keys(dims=2, function="boundary_f1") == ["csurka2013measure"]
    assert keys(dims=1, function="boundary_f1") == []


def test_conditions_on_losses_are_met_by_one_and_the_same() -> None:
    assert "berman2018lovasz" in keys(task="multiclass", function="lovasz_softmax_loss")
    assert "berman2018lovasz" not in keys(task="multiclass", function="lovasz_hinge_loss")


@pytest.mark.parametrize("text", ["lovász surrogate", "LOVASZ Triki", "berman2018", "rannen CVPR", "lovasz_hinge"])
def test_finding_by_words(text: str) -> None:
    assert keys(text=text) == ["berman2018lovasz"]
    assert keys(text=f"{text} zebra") == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: catalog.get("salehi2017tverski"),
            "key 'salehi2017tverski' is not in the catalogue; did you mean 'salehi2017tversky'?",
        ),
        (
            lambda: catalog.find(family="regio"),
            "family 'regio' is not one of distribution, region, .*; did you mean 'region'?",
        ),
        (
            lambda: catalog.find(task="multi-class"),
            "task 'multi-class' is not one of binary, multiclass, multilabel; did you mean 'multiclass'?",
        ),
        (lambda: catalog.find(dims=4), "dims 4 is not one of 1, 2, 3"),
        (lambda: catalog.find(dims=True), "dims True is not one of 1, 2, 3"),
        (lambda: catalog.find(needs="distances"), "needs 'distances' is not one of .*; did you mean 'distance'?"),
        (
            lambda: catalog.find(function="tverski_loss"),
            "function 'tverski_loss' is not in the catalogue; did you mean 'tversky_loss'?",
        ),
        (lambda: catalog.find(function=torch.relu), "function 'relu' is not in the catalogue"),
        (lambda: catalog.find(year="2017"), "year must be a whole number such as 2017, not '2017'"),
        (
            lambda: segloss.cite("salehi2017tverski"),
            "name 'salehi2017tverski' is not in the catalogue; did you mean 'salehi2017tversky'?",
        ),
        (lambda: segloss.cite(3), "name 'int' is not in the catalogue"),
    ],
)
def test_unknown_values_are_refused_with_advice(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        call()


@pytest.mark.parametrize(
    "name",
    [
        "salehi2017tversky",
        "tversky_loss",
        "segloss.region.tversky_loss",
        "TverskyLoss",
        segloss.tversky_loss,
        segloss.TverskyLoss,
    ],
)
def test_citing_by_key_function_class_or_name(name: object) -> None:
    assert segloss.cite(name).startswith("@inproceedings{salehi2017tversky,")


def test_citing_an_instance_or_the_call_of_an_entry() -> None:
    assert segloss.cite(segloss.TverskyLoss()) == segloss.cite("tversky_loss")
    assert segloss.cite(catalog.get("salehi2017tversky").losses[0].load()) == segloss.cite("tversky_loss")


def test_every_paper_of_a_function_is_cited_the_oldest_first() -> None:
    records = segloss.cite("dice_loss").split("\n\n@")
    found = [entry.key for entry in catalog.find(function="dice_loss")]
    assert len(found) > 1
    assert [record.partition("{")[2].partition(",")[0] for record in records] == found[::-1]


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert cli.main(words) == 0
    return capsys.readouterr().out


def test_listing(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "list").splitlines()
    assert [line.split()[1] for line in lines] == list(ENTRIES)
    narrowed = output(capsys, "list", "--family", "region", "--task", "multiclass", "--dims", "3", "--needs", "nothing")
    assert [line.split()[1] for line in narrowed.splitlines()] == keys(
        family="region", task="multiclass", dims=3, needs="nothing"
    )
    assert output(capsys, "list", "--needs", "skeleton") == "no paper meets every condition\n"


def test_listing_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(output(capsys, "list", "--json", "--family", "measures"))
    assert [entry["key"] for entry in found] == ["moltz2020contour", "csurka2013measure"]
    assert found[1]["measures"][0]["function"] == "segloss.measures.jaccard_index"
    assert json.loads(output(capsys, "list", "--json", "--needs", "skeleton")) == []


def test_showing(capsys: pytest.CaptureFixture[str]) -> None:
    shown = output(capsys, "show", "salehi2017tversky")
    assert "segloss.tversky_loss(logits, target, alpha=0.3, beta=0.7)" in shown
    assert "https://doi.org/10.1007/978-3-319-67389-9_44" in shown
    assert "from 0 to 1" in shown
    assert output(capsys, "show", "DiceLoss").count("https://doi.org/") >= 2


def test_citing_on_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert output(capsys, "cite", "tversky_loss", "TverskyLoss", "tversky_loss") == segloss.cite("tversky_loss") + "\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list", "--family", "regio"], "segloss list: family 'regio' is not one of"),
        (
            ["show", "tverski_loss"],
            "segloss show: name 'tverski_loss' is not in the catalogue; did you mean 'tversky_loss'?",
        ),
        (["cite", "dice_loss", "nothing_like_it"], "segloss cite: name 'nothing_like_it' is not in the catalogue"),
    ],
)
def test_errors_take_one_line(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert cli.main(words) == 2
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert told.err.startswith(message)


@pytest.mark.parametrize("words", [[], ["lst"], ["cite"], ["list", "--dims", "two"], ["list", "--families", "region"]])
def test_calls_that_cannot_be_followed_take_one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(words)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_terminal_without_accents_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert cli.main(["show", "berman2018lovasz"]) == 0
    assert b"Lov\\xe1sz" in written.getvalue()


def test_importing_leaves_the_heavy_packages_alone() -> None:
    code = "import sys, torch; before = set(sys.modules); import segloss; print(*set(sys.modules) - before)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.split()
    assert not {"yaml", "bibtexparser", "scipy", "pylatexenc", "importlib.metadata"} & set(loaded)


def test_a_reader_that_goes_away_is_no_error() -> None:
    code = "import sys; from segloss.cli import main; sys.exit(main(['list', '--json']))"
    listing = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert listing.stdout is not None
    listing.stdout.close()
    _, told = listing.communicate(timeout=60)
    assert (listing.returncode, told) == (0, b"")


def test_one_version_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == segloss.__version__
    assert citation["cff-version"] == "1.2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
