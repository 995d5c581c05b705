"""`python -m tools record`: the golden form from a naive transcription."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.small import ORACLE, contents, small_repository, write
from tools.__main__ import main
from tools.catalogue import load


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_repository(tmp_path / "repository")


def test_recorded_values_have_the_golden_form(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "tests/oracles/oe2019overlap.py", ORACLE.replace('("2d"', '("2d_first"'))
    assert main(["record", "oe2019overlap"], root) == 0
    cases = json.loads((root / "tests/golden/oe2019overlap/cases.json").read_text(encoding="utf-8"))
    assert [case["case"] for case in cases] == ["2d", "2d_other_1", "2d_first", "2d_map"]
    assert cases[3]["source"] == {
        "kind": "oracle",
        "repo": None,
        "commit": None,
        "file": "tests/oracles/oe2019overlap.py",
        "callable": "value",
    }
    assert (cases[3]["extras"], cases[3]["params"], cases[3]["differentiable"]) == (["map"], {"gamma": 2.0}, True)
    with np.load(root / "tests/golden/oe2019overlap/2d_map.npz") as arrays:
        kinds = {name: (array.dtype.str, array.shape) for name, array in arrays.items()}
        assert kinds == {
            "logits": ("<f8", (2, 3, 4, 5)),
            "target": ("<i2", (2, 4, 5)),
            "value": ("<f8", ()),
            "grad": ("<f4", (2, 3, 4, 5)),
            "map": ("<f4", (2, 3)),
        }
        p = np.exp(arrays["logits"])
        p /= p.sum(1, keepdims=True)
        expected = -2 * p[:, :1] * p / 40
        expected[:, :1] += 2 * p[:, :1] / 40
        np.testing.assert_allclose(arrays["value"], 2 * p[:, 0].mean())
        np.testing.assert_allclose(arrays["grad"], expected, rtol=1e-5, atol=1e-9)
    before = contents(root)
    capsys.readouterr()
    assert main(["record", "oe2019overlap"], root) == 0
    assert capsys.readouterr().out == "oe2019overlap: the recorded values have not changed\n"
    assert contents(root) == before


def test_recording_again_removes_what_the_transcription_has_no_more(root: Path) -> None:
    write(root, "tests/oracles/oe2019overlap.py", ORACLE.replace('("2d"', '("2d_first"'))
    main(["record", "oe2019overlap"], root)
    write(
        root,
        "tests/oracles/oe2019overlap.py",
        ORACLE.replace('("2d", None), ("2d_map", torch.ones(2, 3))', '("2d_map", torch.ones(2, 3)),'),
    )
    main(["record", "oe2019overlap"], root)
    assert [case.name for case in load(root).golden["oe2019overlap"].cases] == ["2d", "2d_other_1", "2d_map"]
    assert not (root / "tests/golden/oe2019overlap/2d_first.npz").exists()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "return gamma",
            "return gama",
            "tests/oracles/berg2020new.py:22: berg2020new: NameError: name 'gama' is not defined",
        ),
        ("def cases():", "def case():", "tests/oracles/berg2020new.py: berg2020new: defines no function cases()"),
        ("[:, 0].mean()", "[:, 0]", "value() must give a finite number, not"),
        ("[:, 0].mean()", "[:, 0].mean() / 0", "value() must give a finite number, not inf"),
        ("[:, 0].mean()", "[:, 0].mean().detach()", "the value does not depend on the logits; say"),
        ('"loss": "new",', "", "case '2d' lacks loss"),
        ('"reduction"', '"reducton"', "case '2d' has an unknown 'reducton'; did you mean 'reduction'?"),
        ('"case": name', '"case": "a/" + name', "case 'a/2d' is not a name that can be a file name"),
        ('"case": name', '"case": "same"', "case 'same' is recorded already"),
        ("gamma, map=None", "gama, map=None", "TypeError: value() got an unexpected keyword argument 'gamma'"),
        ("def cases():", "def cases()", "tests/oracles/berg2020new.py:6: berg2020new: SyntaxError: expected ':'"),
        ("yield {", "x = {", "TypeError: 'NoneType' object is not iterable"),
    ],
)
def test_a_transcription_that_fails_is_told_and_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, expected: str
) -> None:
    assert old in ORACLE
    write(root, "tests/oracles/berg2020new.py", ORACLE.replace(old, new))
    before = contents(root)
    assert main(["record", "berg2020new"], root) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.err.count("\n") == 1
    assert contents(root) == before


def test_recording_without_a_transcription_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "tests/oracles/berg2020new.py", ORACLE)
    assert main(["record", "berg2020nev"], root) == 2
    assert (
        capsys.readouterr().err
        == "tools record: there is no tests/oracles/berg2020nev.py; did you mean 'berg2020new'?\n"
    )
