"""The path of CONTRIBUTING.md, walked command by command in a copy of the repository, from an arXiv id to its tests."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = [
    line.split("#")[0].strip()
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    if not language
    for line in block.splitlines()
]
ENVIRONMENT = [". .venv/bin/activate", "make site", "make test"]
"""What makes the environment that the test runs in, and what runs the test; `.ci/run` runs them."""
WRITTEN = {
    "catalog.yaml": (("FILL IN: alone, or added to which loss with which weight", "Alone."), ("[0, null]", "[0, 1]")),
    "segloss/region/new.py": (
        ("FILL IN: a noun phrase that names the formula.", "Squared error of the truth."),
        ("FILL IN: a sentence that says what is computed.", "Mean square of the probability that is missing."),
        ("$$FILL IN$$", "$$L_i = (1 - p_i)^2$$\n\n    $p_i$ is the probability of the truth at voxel $i$."),
        ("FILL IN: the shape under each reduction, and the range.", "A scalar from 0 to 1, or one value a voxel."),
        ("        FILL IN\n", "        tensor(0.4999)\n"),
        ("target: Labels", "target: HardLabels"),
        (
            "from segloss.core import Activation, Labels, Logits, Mask, Reduction, Value\n",
            "from segloss.core import (\n    Activation,\n    HardLabels,\n    Logits,\n    Mask,\n    Reduction,\n"
            "    Value,\n    check_reduction,\n    log_likelihood,\n    over_voxels,\n    prepare,\n)\n",
        ),
        (
            'raise RuntimeError("FILL IN: the formula")',
            "check_reduction(reduction)\n    x = prepare(logits, target, activation=activation, "
            "ignore_index=ignore_index, mask=mask, soft=False)\n"
            "    return over_voxels(log_likelihood(x).expm1().square(), x, reduction)",
        ),
    ),
    "tests/oracles/roe2020new.py": (
        ("FILL IN: the formula and its number in the paper, transcribed as directly as possible.", "Equation 1."),
        ("FILL IN: a mean or sum over what", "mean over voxels"),
        (
            'raise RuntimeError("FILL IN: the formula")',
            "p = torch.softmax(logits, 1).gather(1, target.unsqueeze(1))\n    return ((1 - p) ** 2).mean()",
        ),
    ),
}
ADAPTER = '''"""Adapters."""

import segloss


def new(words, logits, target):
    words.finish()
    return segloss.new_loss(logits, target, activation=words.case["activation"])


ADAPTERS = {"new": new}
'''


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, str]]:
    """Status and output of every command, and the time between them used to write what is written by hand."""
    place = tmp_path_factory.mktemp("walk")
    clone, other = place / "segloss", place / "other"
    kept_out = shutil.ignore_patterns(".*", "site", "papers", "families", "pictures", "node_modules", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=kept_out)
    other.mkdir()
    shutil.copy(ROOT / "tests" / "answers.py", other / "recorded_answers.py")
    (other / "sitecustomize.py").write_text(
        "import urllib.request, recorded_answers\nurllib.request.urlopen = recorded_answers.opened\n"
    )
    paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
    environment = {**os.environ, "PATH": os.pathsep.join(paths), "PYTHONPATH": f"{clone}{os.pathsep}{other}"}
    results = {}
    for command in COMMANDS:
        if command in ENVIRONMENT:
            continue
        done = subprocess.run(
            command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, check=False, timeout=1800
        )
        results[command] = done.returncode, done.stdout + done.stderr
        if command == "python -m tools check":
            write(clone)
    return results


def write(clone: Path) -> None:
    for path, changes in WRITTEN.items():
        text = (clone / path).read_text(encoding="utf-8")
        for old, new in changes:
            assert old in text, f"{path}: {old}"
            text = text.replace(old, new, 1)
        (clone / path).write_text(text, encoding="utf-8")
    (clone / "tests/parity/adapters/roe.py").write_text(ADAPTER, encoding="utf-8")


def test_the_path_is_short() -> None:
    assert len(COMMANDS) + len(["git clone", "cd"]) <= 10
    assert len(WRITTEN) + len(["the adapter"]) <= 4
    assert len(re.findall(r"^\d\. \*\*", PAGE, re.MULTILINE)) == 4


def test_what_is_not_walked_is_run_by_the_ci() -> None:
    run = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert all(command in run for command in ENVIRONMENT if command.startswith("make"))
    assert set(ENVIRONMENT) <= set(COMMANDS)


def test_the_check_says_what_is_left(walked: dict[str, tuple[int, str]]) -> None:
    status, told = walked["python -m tools check"]
    assert status == 1
    assert [re.sub(r":\d+: ", ": ", line) for line in told.splitlines()] == [
        "catalog.yaml: roe2020new: usage is still to be filled in",
        "segloss/region/new.py: new_loss: the docstring is still to be filled in",
        "tests/golden/roe2020new/cases.json: roe2020new: no case yet; run python -m tools record roe2020new",
        "tests/oracles/roe2020new.py: is still to be filled in; remove it if the numbers are those of the authors",
        "4 problems",
    ]


def test_every_other_command_succeeds(walked: dict[str, tuple[int, str]]) -> None:
    assert len(walked) == len(COMMANDS) - len(ENVIRONMENT)
    for command, (status, told) in walked.items():
        assert status == (command == "python -m tools check"), f"{command}\n{told}"
    tests = next(told for command, (_, told) in walked.items() if command.startswith("pytest"))
    assert re.search(r"\.{20,}", tests), "the contract and the recorded case should have run"
