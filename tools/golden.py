"""tests/golden -> recorded cases."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from tools.problems import Problem, did_you_mean, read_text

GOLDEN = "tests/golden"
KINDS = ("official", "oracle", "third-party")
REQUIRED = {
    "case": str,
    "loss": str,
    "activation": str,
    "params": dict,
    "reduction": str,
    "source": dict,
    "rtol": float,
}
LARGEST = 64 * 2**20
"""Bytes that the arrays of a case may take."""
SOURCE = ("kind", "repo", "commit", "file", "callable")


class TooLargeError(ValueError):
    """A file that unpacks to more than any recorded case needs."""


@dataclass(frozen=True)
class Case:
    """One recorded value."""

    name: str
    line: int
    fields: Mapping[str, Any]

    @property
    def words(self) -> list[str]:
        """What a glob of `not_offered` is compared with."""
        source = self.fields.get("source")
        called = source.get("callable") if isinstance(source, dict) else None
        return [word for word in (self.name, called, self.fields.get("loss")) if isinstance(word, str)]

    @property
    def is_third_party(self) -> bool:
        """Whether it is of a library, whose loss may have no gradient to record."""
        source = self.fields.get("source")
        return isinstance(source, dict) and source.get("kind") == "third-party"

    def matches(self, glob: str) -> bool:
        """Whether a glob of `not_offered` means this case."""
        return any(fnmatchcase(word, glob) for word in self.words)


@dataclass(frozen=True)
class Golden:
    """The folder of a paper."""

    key: str
    path: str
    cases: tuple[Case, ...]
    empty: bool = False
    """Whether cases.json is there and lists nothing."""

    def problem(self, text: str, line: int = 1) -> Problem:
        """A problem of this folder."""
        return Problem(self.path, line, f"{self.key}: {text}")

    def offered(self, not_offered: Mapping[str, str]) -> list[Case]:
        """Cases which our functions reproduce."""
        return [case for case in self.cases if not any(case.matches(glob) for glob in not_offered)]


def read_golden(root: Path) -> tuple[dict[str, Golden], list[Problem]]:
    """Recorded cases by key, and what is wrong with their form."""
    golden: dict[str, Golden] = {}
    problems: list[Problem] = []
    for folder in sorted(path for path in (root / GOLDEN).glob("*") if path.is_dir() and path.name != "__pycache__"):
        key, path = folder.name, f"{GOLDEN}/{folder.name}/cases.json"
        text, found = read_text(root, path)
        cases, more = ([], []) if found else read_cases(key, path, text)
        golden[key] = Golden(key, path, tuple(cases), empty=not (cases or found or more))
        problems += [*found, *more, *(_files(golden[key], folder) if cases else ())]
    return golden, problems


def read_cases(key: str, path: str, text: str) -> tuple[list[Case], list[Problem]]:
    """Cases of a cases.json; a faulty case stays known by its name."""
    try:
        recorded = json.loads(text, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        return [], [Problem(path, error.lineno, f"{key}: not valid JSON: {error.msg}")]
    except (ValueError, RecursionError) as error:
        return [], [Problem(path, 1, f"{key}: not valid JSON: {error}")]
    if not isinstance(recorded, list):
        return [], [Problem(path, 1, f"{key}: must be a list of cases")]
    cases: dict[str, Case] = {}
    problems: list[Problem] = []
    for at, fields in enumerate(recorded):
        name = fields.get("case") if isinstance(fields, dict) else None
        if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
            problems.append(
                Problem(
                    path, 1, f'{key}: case {at + 1} needs a name that can be a file name, as in "case": "2d_binary"'
                )
            )
            continue
        case = Case(name, _line(text, name), fields)
        faults = [*_faults(fields), *(["stands here twice; rename one"] if name in cases else [])]
        problems += [Problem(path, case.line, f"{key}: case {name!r} {fault}") for fault in faults]
        cases.setdefault(name, case)
    return list(cases.values()), problems


def _faults(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, kind in REQUIRED.items():
        if name not in fields:
            yield f"lacks {name!r}{did_you_mean(name, fields)}"
        elif not isinstance(fields[name], kind):
            yield f"has a wrong {name!r}: expected {kind.__name__}, found {type(fields[name]).__name__}"
    if isinstance(source := fields.get("source"), dict):
        for name in SOURCE:
            if name not in source:
                yield f"lacks {name!r} in its source; write null where there is none"
        if not str(source.get("kind")).startswith(KINDS):
            yield f"has source.kind {source.get('kind')!r}; expected one of {', '.join(KINDS)}"


def _files(golden: Golden, folder: Path) -> Iterator[Problem]:
    names = {case.name for case in golden.cases}
    for file in sorted(folder.glob("*.npz")):
        if file.stem not in names:
            yield Problem(
                f"{GOLDEN}/{golden.key}/{file.name}", 1, f"{golden.key}: no case of cases.json has this name; remove it"
            )
    for case in golden.cases:
        expected = ["logits", "target", "value"]
        if case.fields.get("differentiable"):
            expected.append("grad")
        extras = case.fields.get("extras", [])
        expected += [name for name in extras if isinstance(name, str)] if isinstance(extras, list) else []
        try:
            present = read_arrays(folder / f"{case.name}.npz")
        except FileNotFoundError:
            yield golden.problem(f"case {case.name!r} has no {case.name}.npz", case.line)
        except ValueError as error:
            yield golden.problem(f"case {case.name!r}: {case.name}.npz {error}", case.line)
        else:
            if missing := [name for name in expected if name not in present]:
                yield golden.problem(f"case {case.name!r}: {case.name}.npz lacks {', '.join(missing)}", case.line)


def read_arrays(file: Path) -> dict[str, np.ndarray]:
    """Arrays of a file of recorded values; ValueError where it is not one, holds objects, or unpacks to too much."""
    try:
        with zipfile.ZipFile(file) as packed:
            size = sum(member.file_size for member in packed.infolist())
        if size > LARGEST:
            raise TooLargeError(f"unpacks to {size} bytes, more than {LARGEST}")
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files if isinstance(arrays[name], np.ndarray)}
    except (FileNotFoundError, TooLargeError):
        raise
    except Exception as error:  # zip, zlib and numpy raise many kinds on bytes that are broken
        raise ValueError("is not a file of arrays") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def _line(text: str, name: str) -> int:
    found = re.search(rf'"case"\s*:\s*"{re.escape(name)}"', text)
    return text[: found.start()].count("\n") + 1 if found else 1
