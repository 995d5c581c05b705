"""The pictures of a loss: drawn from what it does, once, the same every time, with words for what is to be seen."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import pictures as drawing
from tools.behaviour import FACTORS, Subject, behaviour
from tools.pictures import FOLDER, files_of, pictures
from tools.scene import SIDE, lesion, organ, states, truth, vessel

ROOT = Path(__file__).resolve().parents[2]
DICE = Subject("segloss.region.dice_loss", {}, ["binary", "multiclass"], [])
FILE = ROOT / "segloss" / "region" / "dice.py"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A copy of what the pictures of a loss follow from."""
    for path in drawing.OWN:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(ROOT / "segloss" / "core", tmp_path / "segloss" / "core")
    shutil.copy(FILE, tmp_path / "dice.py")
    return tmp_path


def test_the_scene_has_what_the_errors_concern() -> None:
    assert organ().any()
    assert lesion().any()
    assert vessel().any()
    for state in states():
        assert 0 < (state.predicted != truth()).sum() < truth().sum()


def test_the_gradient_raises_what_is_missed_and_lowers_what_is_too_much() -> None:
    found = behaviour(DICE)
    assert (found.gradients["Miss"][lesion()] < 0).all()
    too_much = states()[1].predicted & ~truth()
    assert (found.gradients["Over-segmentation"][too_much] > 0).all()
    for values in found.values.values():
        assert abs(FACTORS[values.argmin()] - 1) <= 0.25  # soft contours move the minimum
    assert (np.diff(found.noise) > 0).all()


def test_one_channel_and_two_give_the_same_gradient() -> None:
    one = behaviour(Subject("segloss.distribution.focal_loss", {}, ["binary"], []))
    two = behaviour(Subject("segloss.distribution.focal_loss", {}, ["multiclass"], []))
    for name, gradient in one.gradients.items():
        np.testing.assert_allclose(two.gradients[name], gradient, rtol=1e-9, atol=1e-15)


def test_pictures_are_drawn_once_and_again_when_a_source_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def drawn() -> dict[str, bytes]:
        found = pictures(root, {"dice": DICE}, {"dice": [root / "dice.py"]})["dice"]
        assert [panel.title for panel in found.panels] == [state.name for state in states()]
        return {name: (root / FOLDER / name).read_bytes() for name in files_of(found)}

    first = drawn()
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "draw", None)
        assert drawn() == first
    shutil.rmtree(root / FOLDER)
    assert drawn() == first
    (root / "dice.py").write_text("# changed\n" + (root / "dice.py").read_text(encoding="utf-8"), encoding="utf-8")
    second = drawn()
    assert not set(second) & set(first)
    assert sorted(second.values()) == sorted(first.values())
    assert {file.name for file in (root / FOLDER).iterdir() if file.suffix != ".json"} == set(second)


def test_a_picture_is_small_and_has_words(root: Path) -> None:
    found = pictures(root, {"dice": DICE}, {"dice": [root / "dice.py"]})["dice"]
    assert sum((root / FOLDER / name).stat().st_size for name in files_of(found)) < 50_000
    for panel in found.panels:
        picture = Image.open(io.BytesIO((root / FOLDER / panel.file).read_bytes()))
        assert picture.size == (SIDE * drawing.ZOOM, SIDE * drawing.ZOOM)
        assert "of the gradient falls on the voxels that are wrong" in panel.text
    assert "nothing is predicted" in found.text
    lines = "\n".join(drawing.gallery(found))
    assert lines.count("<img") == lines.count(' alt="') == len(found.panels) + 1
    assert json.loads(next((root / FOLDER).glob("*.json")).read_text(encoding="utf-8"))["scale"] > 0


def test_a_loss_without_gradient_says_so() -> None:
    assert "zero everywhere" in drawing.described(np.zeros((SIDE, SIDE)), states()[0])
