"""Thousands of broken files, tools killed at any moment, tools at the same time: never a traceback, nothing lost."""

import hashlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.small import BIBLIOGRAPHY, CATALOGUE, ROOT, contents, recorded, small_repository, write
from tests.tried import tell
from tools.__main__ import main
from tools.bibliography import read_bibliography
from tools.catalogue import load
from tools.checks import check
from tools.entries import read_entries, schema
from tools.golden import LARGEST, read_arrays, read_cases
from tools.render import committed
from tools.writing import write_all

TRIED: Counter[str] = Counter()
pytestmark = pytest.mark.xdist_group("figures")  # one process counts what it tried

SLOWEST = 2.0  # seconds that one broken file may take
READER = schema(("region", "measures"), ("binary", "multiclass", "multilabel"), (1, 2, 3), ("distance", "image"))
PIECES = (
    "{",
    "}",
    "[",
    "]",
    ":",
    "- ",
    '"',
    "'",
    "\n",
    "  ",
    "\t",
    "@",
    ",",
    "\\",
    "%",
    "#",
    "&a",
    "*a",
    "!!python/x ",
)
PIECES += ("\x00", "\ud7ff", "é", "null", "1e999", "99999999999999999999", "../../", "NaN", "$", "---\n", "|", "<<: ")


def mutated(text: str, chance: random.Random) -> str:
    """A text with pieces put in, taken out, doubled or moved."""
    for _ in range(chance.randint(1, 6)):
        start, end = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        end = min(end, start + chance.choice((1, 3, 20, 400)))
        change = chance.randrange(4)
        put = (chance.choice(PIECES), "", 2 * text[start:end], text[start:end][::-1])[change]
        text = text[:start] + put + text[start if change == 0 else end :]
        if not text:
            return ""
    return text


def catalogue(text: str) -> object:
    return read_entries("catalog.yaml", text, READER)


def bibliography(text: str) -> object:
    return read_bibliography("references.bib", text)


def cases(text: str) -> object:
    return read_cases("doe2021recall", "cases.json", text)


CASES = json.dumps([recorded("2d", "recall"), recorded("3d", "recall", params={"a": 1.0})], indent=1)


@pytest.mark.parametrize(
    ("read", "text", "number"),
    [(catalogue, CATALOGUE, 1500), (bibliography, BIBLIOGRAPHY, 1500), (cases, CASES, 2000)],
    ids=["YAML", "BibTeX", "JSON"],
)
def test_a_broken_text_is_told_and_nothing_more(read: Callable[[str], object], text: str, number: int) -> None:
    chance = random.Random(8)
    for _ in range(number):
        broken, begun = mutated(text, chance), time.process_time()
        read(broken)
        assert time.process_time() - begun < SLOWEST, broken
    TRIED["texts"] += number


def test_a_broken_repository_is_told_and_untouched(tmp_path: Path) -> None:
    """The whole check, with its rules, on a repository with one broken file."""
    root, chance = small_repository(tmp_path / "repository"), random.Random(9)
    files = ["catalog.yaml", "references.bib", "tests/golden/oe2019overlap/cases.json", "segloss/region/overlap.py"]
    sound = {path: (root / path).read_text(encoding="utf-8") for path in files}
    outside = contents(tmp_path)
    for at in range(200):
        path = files[at % len(files)]
        (root / path).write_text(mutated(sound[path], chance), encoding="utf-8", errors="replace")
        for problem in check(load(root)):
            assert "\n" not in str(problem)
        (root / path).write_text(sound[path], encoding="utf-8")
    TRIED["repositories"] += 200
    assert contents(tmp_path) == outside, "nothing may be written"


def test_broken_arrays_are_refused(tmp_path: Path) -> None:
    file, chance = tmp_path / "case.npz", random.Random(10)
    np.savez_compressed(file, allow_pickle=False, logits=np.arange(60.0).reshape(3, 20), value=np.float64(2))
    sound = file.read_bytes()
    refused = 0
    for _ in range(1500):
        broken = bytearray(sound)
        for _ in range(chance.randint(1, 8)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        file.write_bytes(broken[: chance.randrange(len(broken))] if chance.random() < 0.3 else broken)
        try:
            assert all(isinstance(array, np.ndarray) for array in read_arrays(file).values())
        except ValueError:
            refused += 1
    TRIED["array files"] += 1500
    assert refused > 500


def test_arrays_of_objects_and_bombs_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "case.npz"
    np.savez(file, logits=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="not a file of arrays"):
        read_arrays(file)
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("logits.npy", bytes(LARGEST + 1))
    with pytest.raises(ValueError, match="unpacks to"):
        read_arrays(file)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("logits.npy", header.getvalue())
    with pytest.raises(ValueError, match="not a file of arrays"):
        read_arrays(file)


BUILD = """
import os, signal, sys
from pathlib import Path
from tools.catalogue import load
from tools.render import committed
from tools import writing
left = int(sys.argv[2])
def counted(name):
    real = getattr(writing if name.startswith("_") else os, name)
    def call(*given):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*given)
    return call
if left:
    os.replace = counted("replace")
    writing._temporary = counted("_temporary")
root = Path(sys.argv[1])
writing.write_all(root, committed(load(root)))
"""


def build(root: Path, kill_at: int = 0) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", BUILD, str(root), str(kill_at)], env=environment)


def test_a_build_that_is_killed_loses_nothing(tmp_path: Path) -> None:
    """At every kind of moment: before, between and after the files; the next build ends as if nothing had been."""
    whole = small_repository(tmp_path / "whole")
    write_all(whole, committed(load(whole)))
    moments = (1, 3, 6, 8, 9, 11, 13, 16)
    for moment in moments:
        root = small_repository(tmp_path / f"killed {moment}")
        assert build(root, moment).wait(60) == -signal.SIGKILL, "it should die where it is told to"
        assert check(load(root)) == [], "the check accepts what is left"
        for path in committed(load(root)):
            if (root / path).exists():
                present = (root / path).read_bytes()
                old = (tmp_path / "whole" / path).read_bytes()
                assert present == old or path == "README.md", f"half of {path}"
        write_all(root, committed(load(root)))
        assert contents(root) == contents(whole)
    TRIED["kills"] += len(moments)


def test_builds_at_the_same_time_end_as_one(tmp_path: Path) -> None:
    whole, root = small_repository(tmp_path / "whole"), small_repository(tmp_path / "shared")
    write_all(whole, committed(load(whole)))
    for _ in range(2):
        assert [process.wait(120) for process in [build(root) for _ in range(4)]] == [0] * 4
        assert contents(root) == contents(whole)
        write(root, "README.md", "# Small\n\n<!-- catalogue:begin -->\nold\n<!-- catalogue:end -->\n\nThe end.\n")
    TRIED["builds at the same time"] += 8


def test_two_builds_are_the_same_to_the_byte() -> None:
    call = (
        "import hashlib\nfrom pathlib import Path\nfrom tools.catalogue import load\n"
        "from tools.render import committed\n"
        f"files = committed(load(Path({str(ROOT)!r})))\n"
        "print(hashlib.sha256(repr(sorted(files.items())).encode()).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", call],
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert len(found.pop().strip()) == 2 * hashlib.sha256().digest_size


def test_new_writes_only_below_the_repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = small_repository(tmp_path / "repository")
    (tmp_path / "paper.bib").write_text(BIBLIOGRAPHY.partition("\n\n")[0], encoding="utf-8")
    before = contents(tmp_path)
    for key in ("../../out2020side", "/tmp/out2020side", "a/b2020c", "..", "a2020b\n", "a2020b/../x"):
        for function in ("../x_loss", "x_loss", "import", "a/b_loss"):
            given = ["new", key, "--bib", str(tmp_path / "paper.bib"), "--family", "region", "--function", function]
            assert main(given, root) == 2
    assert main(["new", "a2020b", "--bib", str(tmp_path / "paper.bib"), "--family", "..", "--function", "x_loss"], root)
    capsys.readouterr()
    assert contents(tmp_path) == before
    TRIED["hostile names"] += 25


def test_the_figures_are_kept() -> None:
    if len(TRIED) == 6:
        tell("faults", dict(TRIED))
