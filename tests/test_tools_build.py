"""What `python -m tools build` writes, and that writing is all or nothing."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from segloss import catalog
from tests.small import LOSS, ROOT, contents, small_repository, write
from tools.__main__ import main
from tools.bibliography import read_bibliography
from tools.catalogue import load
from tools.families import FAMILIES
from tools.modules import class_name
from tools.render import committed, escaped
from tools.writing import write_all


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_repository(tmp_path / "repository")


def build_without_pages(root: Path) -> dict[str, str]:
    files = committed(load(root))
    write_all(root, files)
    return files


def test_the_readme_table_stands_between_its_marks(root: Path) -> None:
    text = committed(load(root))["README.md"]
    assert text.startswith("# Small\n\n<!-- catalogue:begin -->\n| Date | First author | Title |")
    assert text.endswith("|\n<!-- catalogue:end -->\n\nThe end.\n")
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line.startswith("| 20")
    ]
    assert rows == [
        [
            "2021-05",
            "Jane Doe",
            "Recall as a measure",
            "[Journal of Examples 2021](https://example.org/recall.pdf)",
            "[`recall`](segloss/measures/share.py)",
            "[✓ 1 case](docs/papers/doe2021recall.md)",
        ],
        [
            "2019-12-24",
            "Ørjan van der Oe",
            "The Lovász overlap loss [(pytorch, authors)](https://github.com/oe/overlap/blob/"
            "0123456789abcdef0123456789abcdef01234567/overlap/loss.py) [(matlab)](https://example.org/toolbox)",
            "[CVPR 2020](https://doi.org/10.1000/overlap%282%29_1)",
            "[`overlap_loss`](segloss/region/overlap.py)",
            "[✓ 1 case](docs/papers/oe2019overlap.md)",
        ],
    ]


def test_text_cannot_break_the_table() -> None:
    assert escaped("a|b [c](d) *e* `f` <b>\nx") == r"a\|b \[c\](d) \*e\* \`f\` \<b\> x"


def test_a_readme_without_marks_gets_the_table_at_its_end(root: Path) -> None:
    write(root, "README.md", "# Other\n")
    text = build_without_pages(root)["README.md"]
    assert text.startswith("# Other\n\n<!-- catalogue:begin -->\n")
    assert committed(load(root))["README.md"] == text


def test_the_check_of_a_build_shows_a_difference(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(root)
    assert main(["build", "--check"], root) == 1
    told = capsys.readouterr().out
    assert "--- README.md\n+++ README.md (generated)\n" in told
    assert told.endswith("6 generated files are stale: run `python -m tools build`\n")
    assert contents(root) == before
    build_without_pages(root)
    assert main(["build", "--check"], root) == 0
    write(root, "segloss/modules.py", (root / "segloss/modules.py").read_text(encoding="utf-8") + "\n")
    assert main(["build", "--check"], root) == 1
    assert capsys.readouterr().out.endswith("1 generated file is stale: run `python -m tools build`\n")


def test_a_build_gives_the_same_twice(root: Path) -> None:
    assert build_without_pages(root) == committed(load(root))
    assert write_all(root, committed(load(root))) == []


def test_module_forms_keep_keywords_and_take_the_inputs_of_a_batch(root: Path) -> None:
    (form,) = [
        node for node in ast.parse(committed(load(root))["segloss/modules.py"]).body if isinstance(node, ast.ClassDef)
    ]
    init, forward = [node for node in form.body if isinstance(node, ast.FunctionDef)]
    assert form.name == "OverlapLoss"
    assert ast.unparse(init.args) == (
        "self, *, alpha: float=0.5, kind: Kind | None=None, ignore_index: int | None=None, reduction: Reduction='mean'"
    )
    assert (
        ast.unparse(forward.args)
        == "self, logits: Logits, target: Labels, *, weight_map: torch.Tensor, mask: Mask | None=None"
    )
    assert (
        ast.unparse(forward.body[-1])
        == "return overlap_loss(logits, target, weight_map=weight_map, mask=mask, **self.keywords)"
    )


def test_a_module_form_without_keywords(root: Path) -> None:
    text = LOSS[: LOSS.index("    *,")] + LOSS[LOSS.index(") -> Value") :]
    write(root, "segloss/region/overlap.py", text)
    source = committed(load(root))["segloss/modules.py"]
    assert "def __init__(self) -> None:" in source
    assert "return overlap_loss(logits, target, **self.keywords)" in source


def test_generated_code_is_formatted_and_without_complaint(root: Path) -> None:
    files = [path for path in build_without_pages(root) if path.endswith(".py")]
    for command in (["format", "--diff"], ["check", "--ignore", "D104"]):
        call = [sys.executable, "-m", "ruff", *command, "--no-cache", "--config", str(ROOT / "pyproject.toml"), *files]
        done = subprocess.run(call, cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("function", "name"),
    [
        ("tversky_loss", "TverskyLoss"),
        ("boundary_f1_loss", "BoundaryF1Loss"),
        ("soft_cldice_loss", "SoftClDiceLoss"),
        ("ce_loss", "CELoss"),
    ],
)
def test_names_of_module_forms(function: str, name: str) -> None:
    assert class_name(function) == name


def test_families_are_those_of_the_library() -> None:
    assert tuple(FAMILIES) == catalog.FAMILIES


def test_writing_is_all_or_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = contents(root)
    replace, calls = os.replace, []

    def failing(source: Path, target: Path) -> None:
        calls.append(target)
        if len(calls) == 3:
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(OSError, match="No space left"):
        write_all(root, {"catalog.yaml": "new", "new/folder/file": "new", "references.bib": "new", "README.md": None})
    assert contents(root) == before
    assert not (root / "new").exists()


def test_writing_keeps_the_mode_of_a_file(root: Path) -> None:
    (root / "README.md").chmod(0o640)
    assert write_all(root, {"README.md": "new", "other.md": "new"}) == ["README.md", "other.md"]
    assert (root / "README.md").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("words", [[], ["chek"], ["new"], ["new", "a"], ["build", "--chek"], ["record"]])
def test_a_call_that_cannot_be_followed_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(words)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_key_stays_where_braces_and_spaces_are_odd() -> None:
    records, problems = read_bibliography("f.bib", "@misc{ a2020b ,title={x}, author={A}, year=2020}")
    assert (list(records), problems) == (["a2020b"], [])
