"""A package of others brings a catalogue: it is found, cited and checked; a broken one does no harm."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

import segloss
from segloss import catalog
from segloss.testing import CONTRACT, Case, check_loss
from tests.small import ROOT

ENTRY = """roe2022square:
  date: 2022-03
  title: A Square Loss
  authors: [Richard Roe]
  venue: Journal of Examples 2022
  url: https://example.org/square.pdf
  family: distribution
  losses:
    - function: other_losses.square_loss
      params: {}
      task: [binary, multiclass, multilabel]
      dims: [1, 2, 3]
      range: [0, 1]
"""
RECORD = "@article{roe2022square,\n  author = {Roe, Richard},\n  title = {A Square Loss},\n  year = {2022},\n}\n"
LOSS = """from segloss.core import check_reduction, log_likelihood, over_voxels, prepare


def square_loss(logits, target, *, activation="auto", ignore_index=None, mask=None, reduction="mean"):
    check_reduction(reduction)
    x = prepare(logits, target, activation=activation, ignore_index=ignore_index, mask=mask, soft=False)
    return over_voxels(log_likelihood(x).expm1().square(), x, reduction)
"""


def package(folder: Path, name: str = "other_losses", entry: str = ENTRY, loss: str = LOSS) -> None:
    """Installs it as pip would: the module, and what it says of itself."""
    for path, text in {
        f"{name}/__init__.py": loss,
        f"{name}/catalog.yaml": entry,
        f"{name}/references.bib": RECORD,
        f"{name}-1.0.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{name}-1.0.dist-info/entry_points.txt": f"[segloss.catalogues]\n{name} = {name}\n",
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text, encoding="utf-8")


def python(folder: Path, code: str) -> str:
    environment = {**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_its_entries_are_found_cited_and_shown(tmp_path: Path) -> None:
    package(tmp_path)
    code = (
        "from segloss import catalog, cli\n"
        "found = catalog.entries()\n"
        "print(found['roe2022square'].package, sorted((e.date for e in found.values()), reverse=True)"
        " == [e.date for e in found.values()], len(found))\n"
        "print(catalog.find(function='square_loss')[0].key, catalog.cite('square_loss')[:22])\n"
        "cli.main(['show', 'roe2022square'])\n"
    )
    first, second, *shown = python(tmp_path, code).splitlines()
    assert first == f"other_losses True {len(catalog.entries()) + 1}"
    assert second == "roe2022square @article{roe2022square"
    assert "  other_losses.square_loss(logits, target)" in shown


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("a: [", "the catalogue of other_losses cannot be read and is left out: ParserError"),
        ("roe2022square: {date: 2022}", "the catalogue of other_losses cannot be read and is left out"),
        (ENTRY.replace("roe2022square", "salehi2017tversky"), "salehi2017tversky of other_losses is left out"),
    ],
)
def test_a_broken_catalogue_is_left_out_with_a_warning(tmp_path: Path, entry: str, told: str) -> None:
    package(tmp_path, entry=entry)
    out = python(
        tmp_path, "from segloss import catalog\nprint(len(catalog.entries()), catalog.get('salehi2017tversky').package)"
    )
    assert out.startswith(f"{len(catalog.entries())} segloss\n")
    assert told in out


def test_its_losses_are_held_to_the_contract(tmp_path: Path) -> None:
    code = "from segloss.testing import check_catalogue\nprint(check_catalogue('other_losses'))"
    package(tmp_path / "right")
    assert python(tmp_path / "right", code) == "Checked(kept=['roe2022square-square_loss'], lacking={})\n"
    package(tmp_path / "wrong", loss=LOSS.replace("log_likelihood(x).expm1()", "3 * log_likelihood(x).expm1()"))
    code = (
        "from segloss.testing import check_catalogue\ntry:\n    check_catalogue('other_losses')\n"
        "except AssertionError as error:\n    print(error)"
    )
    told = python(tmp_path / "wrong", code)
    assert told.startswith("square_loss breaks 1 of ")
    assert "\nrange_holds, " in told


def test_a_loss_without_its_package_says_what_to_install(tmp_path: Path) -> None:
    code = "from segloss.testing import check_catalogue\nprint(check_catalogue('other_losses'))"
    lacks = "raise ImportError('squares need rulers: pip install rulers')\n    "
    package(tmp_path / "told", loss=LOSS.replace("return", f"{lacks}return"))
    told = "Checked(kept=[], lacking={'roe2022square-square_loss': 'squares need rulers: pip install rulers'})\n"
    assert python(tmp_path / "told", code) == told
    package(tmp_path / "untold", loss=LOSS.replace("return", "import rulers\n    return"))
    failed = "from segloss.testing import check_catalogue\ntry:\n    check_catalogue('other_losses')\n"
    failed += "except AssertionError as error:\n    print(error)"
    assert "square_loss should say what to install" in python(tmp_path / "untold", failed)


def test_the_contract_needs_no_test_library(tmp_path: Path) -> None:
    code = (
        "import sys, segloss.testing\nprint({'pytest', 'hypothesis', '_pytest', 'tests', 'tools'} & set(sys.modules))"
    )
    assert python(tmp_path, code) == "set()\n"


def mean_square(logits: Tensor, target: Tensor, *, prices: Tensor) -> Tensor:
    return (prices * (logits.sigmoid() - target.unsqueeze(1).to(logits.dtype)).square()).mean()


def test_every_broken_promise_is_told() -> None:
    with pytest.raises(AssertionError, match=r"mean_square breaks \d+ of \d+ promises") as caught:
        check_loss(mean_square, {"task": ["binary"], "dims": [2], "range": [0, 1]}, extras={"prices": prices})
    assert len(str(caught.value).splitlines()) > 3


def prices(case: Case) -> Tensor:
    return torch.full((1,), 0.5, dtype=case.logits.dtype)


def test_exceptions_are_strict_and_known() -> None:
    claims = {"task": ["binary"], "dims": [2], "range": [0, 1]}
    with pytest.raises(AssertionError, match="range_holds: is kept; remove it from the exceptions"):
        check_loss(segloss.tversky_loss, claims, exceptions={"range_holds": "a reason"})
    with pytest.raises(ValueError, match="no promise is called rnage"):
        check_loss(segloss.tversky_loss, claims, exceptions={"rnage": "a reason"})
    with pytest.raises(ValueError, match="claims: tasks is not one of params, task"):
        check_loss(segloss.tversky_loss, {"tasks": ["binary"]})


def test_claims_may_be_those_of_an_entry() -> None:
    (claimed,) = catalog.get("salehi2017tversky").losses
    assert set(check_loss(segloss.tversky_loss, claimed)) <= set(CONTRACT)
