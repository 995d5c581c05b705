"""A wheel carries the catalogue with it and works outside the repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import segloss
from segloss import catalog, cli
from tests.small import ROOT


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, installed into a folder of its own; it is built from a copy, so that the repository stays clean."""
    place = tmp_path_factory.mktemp("wheel")
    others = ("build", "site", "docs", "tests", "web", "benchmarks", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, place / "source", ignore=shutil.ignore_patterns(".*", *others))
    pip = [sys.executable, "-m", "pip", "--quiet", "--no-input", "--disable-pip-version-check"]
    built = [
        *pip,
        "wheel",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(place),
        str(place / "source"),
    ]
    subprocess.run(built, check=True, cwd=place)
    (wheel,) = place.glob("*.whl")
    assert wheel.name.startswith("segloss_catalog-")
    subprocess.run(
        [*pip, "install", "--no-index", "--no-deps", "--target", str(place / "target"), str(wheel)],
        check=True,
        cwd=place,
    )
    shutil.rmtree(place / "source")
    return place / "target"


def outside(installed: Path, *command: str) -> str:
    """Output of a command which sees the installed package and not the repository."""
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=installed.parent, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_ships_the_catalogue_and_its_types(installed: Path) -> None:
    for name in ("catalog.yaml", "references.bib"):
        assert (installed / "segloss" / "data" / name).read_bytes() == (ROOT / name).read_bytes()
    assert (installed / "segloss" / "py.typed").is_file()
    assert not (installed / "tools").exists()
    assert not (installed / "tests").exists()


@pytest.mark.parametrize("words", ["list --family region", "show tversky_loss", "cite salehi2017tversky dice_loss"])
def test_the_commands_work_from_the_wheel(installed: Path, capsys: pytest.CaptureFixture[str], words: str) -> None:
    assert cli.main(words.split()) == 0
    assert outside(installed, str(installed / "bin" / "segloss"), *words.split()) == capsys.readouterr().out


def test_the_catalogue_works_from_the_wheel(installed: Path) -> None:
    code = (
        "import segloss\n"
        "from pathlib import Path\n"
        "from segloss import catalog\n"
        "print(Path(segloss.__file__).parent)\n"
        "print(len(catalog.entries()), catalog.find(function='tversky_loss')[-1].key)\n"
        "print(segloss.cite('TverskyLoss')[:32])\n"
        "print(segloss.__version__)\n"
    )
    where, found, record, version = outside(installed, sys.executable, "-c", code).splitlines()
    assert Path(where) == installed / "segloss"
    assert found == f"{len(catalog.entries())} salehi2017tversky"
    assert record == "@inproceedings{salehi2017tversky"
    assert version == segloss.__version__
