"""Every rule of `python -m tools check`, on a small repository broken on purpose: one mistake gives one message."""

from pathlib import Path

import pytest
import yaml

from tests.small import LOSS, ROOT, recorded, remove, small_repository, write, write_golden
from tools import checks
from tools.__main__ import main
from tools.catalogue import load
from tools.checks import check

GOLDEN = "tests/golden/oe2019overlap/cases.json"
MISTAKES = yaml.safe_load((Path(__file__).parent / "mistakes.yaml").read_text(encoding="utf-8"))


def messages(root: Path) -> list[str]:
    return [str(problem) for problem in check(load(root))]


def test_nothing_is_wrong_with_the_small_repository(tmp_path: Path) -> None:
    assert messages(small_repository(tmp_path)) == []


def make(root: Path, mistake: dict[str, str]) -> None:
    text = (root / mistake["file"]).read_text(encoding="utf-8")
    assert mistake["old"] in text
    write(root, mistake["file"], text.replace(mistake["old"], mistake["new"], 1))


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake["told"][:50] for mistake in MISTAKES])
def test_one_mistake_gives_one_message_with_its_line(tmp_path: Path, mistake: dict[str, str]) -> None:
    root = small_repository(tmp_path)
    make(root, mistake)
    (message,) = messages(root)
    where, _, told = message.partition(": ")
    assert mistake["told"] in told
    path = mistake.get("in", mistake["file"])
    text = (root / path).read_text(encoding="utf-8")
    line = text[: text.index(mistake.get("at", mistake["new"].strip()))].count("\n") + 1
    assert where == f"{path}:{line}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "tests/golden/oe2019overlap",
            "catalog.yaml:18: oe2019overlap: has no recorded values in tests/golden/oe2019overlap/; write",
        ),
        ("tests/golden/oe2019overlap/2d.npz", f"{GOLDEN}:3: oe2019overlap: case '2d' has no 2d.npz"),
        ("tests/golden/oe2019overlap/cases.json", f"{GOLDEN}:1: there is no such file"),
        ("references.bib", "references.bib:1: there is no such file"),
        ("catalog.yaml", "catalog.yaml:1: there is no such file"),
    ],
)
def test_what_is_missing_is_told(tmp_path: Path, path: str, expected: str) -> None:
    root = small_repository(tmp_path)
    remove(root, path)
    assert messages(root)[0].startswith(expected)


def test_recorded_values_without_a_place_are_told(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write_golden(root, "roe1999nothing", recorded("2d", "nothing"))
    write(root, "tests/golden/oe2019overlap/left_over.npz", "")
    write(root, "tests/golden/oe2019overlap/2d.npz", "not arrays")
    write(root, "tests/golden/doe2021recall/cases.json", "[]")
    remove(root, "tests/golden/doe2021recall/2d.npz")
    assert messages(root) == [
        "tests/golden/doe2021recall/cases.json:1: doe2021recall: no case yet; run python -m tools record doe2021recall",
        f"{GOLDEN}:3: oe2019overlap: case '2d': 2d.npz is not a file of arrays",
        "tests/golden/oe2019overlap/left_over.npz:1: oe2019overlap: no case of cases.json has this name; remove it",
        "tests/golden/roe1999nothing/cases.json:1: roe1999nothing: values are recorded, but catalog.yaml has no entry "
        "of this key; add it or remove the folder",
    ]


def test_a_case_is_recorded_once(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write_golden(root, "doe2021recall", recorded("2d", "recall"), recorded("2d", "recall"), recorded("../2d", "recall"))
    told = [message.split(": ", 2)[2] for message in messages(root)]
    assert told == [
        'case 3 needs a name that can be a file name, as in "case": "2d_binary"',
        "case '2d' stands here twice; rename one",
    ]


def test_a_misnamed_folder_of_values_is_one_message(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    (root / "tests/golden/oe2019overlap").rename(root / "tests/golden/oe2019overlab")
    (message,) = messages(root)
    assert message.endswith("has no recorded values in tests/golden/oe2019overlap/; did you mean 'oe2019overlab'?")


def test_an_entry_offers_something(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    text = (root / "catalog.yaml").read_text(encoding="utf-8")
    write(root, "catalog.yaml", text[: text.index("  losses:")] + "  losses: []\n")
    told = messages(root)
    assert told[0].endswith("oe2019overlap: offers nothing; add at least one function under losses or measures")
    assert told[1].startswith("segloss/region/overlap.py:12: overlap_loss: no entry of catalog.yaml names")


def test_a_loss_that_no_entry_claims_is_told(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write(root, "segloss/region/other.py", LOSS.replace("overlap_loss", "other_loss").replace("prepared", "_prepared"))
    (message,) = messages(root)
    assert message.startswith(
        "segloss/region/other.py:12: other_loss: no entry of catalog.yaml names segloss.region.other_loss; add"
    )


def test_public_functions_beside_the_families_are_helpers(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    write(root, "segloss/precompute.py", 'def made(labels):\n    """A map of the labels."""\n')
    (message,) = messages(root)
    assert message.startswith("segloss/precompute.py:2: made: prepares an input and has no section Returns, References")


@pytest.mark.parametrize(
    ("of", "told"),
    [
        ("overlap_loss.", ""),
        ("overlap_loss(alpha=0.3).", ""),
        ("overlab_loss.", "'overlab_loss' is not a function of this entry; did you mean 'overlap_loss'?"),
        ("overlab_loss(alpha=0.3).", "'overlab_loss' is not a function of this entry; did you mean 'overlap_loss'?"),
    ],
)
def test_an_exception_may_be_of_one_function(tmp_path: Path, of: str, told: str) -> None:
    root = small_repository(tmp_path)
    text = (root / "catalog.yaml").read_text(encoding="utf-8")
    write(root, "catalog.yaml", text.replace("{best_at_truth:", f"{{{of}best_at_truth:"))
    assert [message.partition(": oe2019overlap: ")[2] for message in messages(root)] == ([told] if told else [])


def test_without_a_contract_exceptions_are_not_judged(tmp_path: Path) -> None:
    root = small_repository(tmp_path)
    remove(root, "segloss/testing")
    assert messages(root) == []


def test_all_problems_are_told_at_once_and_the_status_is_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_repository(tmp_path)
    text = (root / "catalog.yaml").read_text(encoding="utf-8")
    write(
        root,
        "catalog.yaml",
        text.replace("dims: [2]", "dims: [4]").replace("usage:", "use:").replace("CVPR 2020", "CVPR"),
    )
    assert main(["check"], root) == 1
    *problems, summary = capsys.readouterr().out.splitlines()
    assert summary == "3 problems" == f"{len(problems)} problems"
    write(root, "catalog.yaml", text)
    assert main(["check"], root) == 0
    assert capsys.readouterr().out == "2 entries, 3 functions, 3 recorded cases: no problem\n"


def test_no_rule_is_without_a_test(tmp_path: Path) -> None:
    """Every rule is triggered by a mistake of the list, or by a test of its own."""
    silent = set(checks.RULES) - {
        checks.entries.something_is_offered,
        checks.functions.every_loss_is_claimed,
        checks.values.every_entry_has_values,
        checks.values.every_folder_has_cases,
        checks.values.every_folder_has_an_entry,
        checks.values.nothing_is_left_to_fill_in,
    }
    root = small_repository(tmp_path)
    for mistake in MISTAKES:
        before = (root / mistake["file"]).read_text(encoding="utf-8")
        make(root, mistake)
        catalogue = load(root)
        silent -= {rule for rule in silent if any(rule(catalogue))}
        write(root, mistake["file"], before)
    assert silent == set()


def test_the_repository_itself_has_no_problem() -> None:
    assert messages(ROOT) == []
