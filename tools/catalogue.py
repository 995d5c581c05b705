"""Files -> one object: entries, bibliography, code and recorded values, and what could not be read of them."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.bibliography import Record, read_bibliography
from tools.entries import Entry, json_schema, read_entries, schema
from tools.families import FAMILIES
from tools.golden import Golden, read_golden
from tools.problems import Problem, nearest, read_text
from tools.sources import Function, constant, promises, read_functions
from tools.wanted import read_wanted

CATALOGUE = "catalog.yaml"
BIBLIOGRAPHY = "references.bib"
README = "README.md"
SCHEMA = "catalog.schema.json"


@dataclass(frozen=True)
class Catalogue:
    """All that the rules look at and the generated files are made from."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    functions: Mapping[str, Function] = field(default_factory=dict)
    golden: Mapping[str, Golden] = field(default_factory=dict)
    oracles: Mapping[str, str] = field(default_factory=dict)
    """The text of every transcription, by its path."""
    wanted: Mapping[str, Entry] = field(default_factory=dict)
    """Papers without an entry."""
    common: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)
    """JSON Schema of the file of entries."""
    promises: frozenset[str] | None = None
    version: str = "0"
    readme: str = ""
    problems: tuple[Problem, ...] = ()
    unread: frozenset[str] = frozenset()
    """Families with a file that could not be read, whose functions are therefore not all known."""
    readable: bool = True

    def meant(self, function: str) -> str:
        """The function of this path, else the one whose name is nearest to it, else the path itself."""
        if function in self.functions:
            return function
        names = {known.rpartition(".")[2]: known for known in self.functions}
        return names.get(nearest(function.rpartition(".")[2], names) or "", function)

    def claims(self, function: str) -> list[Entry]:
        """Entries with this function. A misspelt name has its own message and counts for the function nearest to it."""
        return [entry for entry in self.entries.values() if function in map(self.meant, entry.functions)]

    def spellings(self, key: str) -> tuple[str, ...]:
        """The key of an entry and, where no BibTeX record has it, the key of a record that it is nearest to."""
        near = None if key in self.records else nearest(key, self.records.keys() - self.entries.keys())
        return (key, near) if near else (key,)

    def families(self) -> dict[str, list[Function]]:
        """Functions by family, each by name."""
        found: dict[str, list[Function]] = {}
        for function in sorted(self.functions.values(), key=lambda function: function.name):
            found.setdefault(function.family, []).append(function)
        return {family: found[family] for family in FAMILIES if family in found}


def load(root: Path) -> Catalogue:
    """Reads the repository at `root`; what cannot be read is a problem and never an exception."""
    content, no_catalogue = read_text(root, CATALOGUE)
    bibtex, no_bibliography = read_text(root, BIBLIOGRAPHY)
    values = [constant(root, "segloss/catalog.py", name) or () for name in ("TASKS", "DIMS", "NEEDS", "SUITS")]
    reader = schema(tuple(FAMILIES), *values)
    entries, faults, readable = ({}, [], False) if no_catalogue else read_entries(CATALOGUE, content, reader)
    records, broken = read_bibliography(BIBLIOGRAPHY, bibtex)
    functions, unreadable = read_functions(root, tuple(FAMILIES))
    golden, misshapen = read_golden(root)
    wanted, unwanted = read_wanted(root)
    return Catalogue(
        entries=entries,
        records=records,
        functions=functions,
        golden=golden,
        oracles=_oracles(root),
        wanted=wanted,
        common=tuple(constant(root, "segloss/core/vocabulary.py", "COMMON") or ()),
        schema=json_schema(reader),
        promises=promises(root),
        version=_version(root),
        readme=read_text(root, README)[0],
        problems=(*no_catalogue, *no_bibliography, *faults, *broken, *unreadable, *misshapen, *unwanted),
        unread=frozenset(problem.path.split("/")[1] for problem in unreadable),
        readable=readable and not no_bibliography,
    )


def _oracles(root: Path) -> dict[str, str]:
    paths = sorted(file.relative_to(root).as_posix() for file in (root / "tests/oracles").glob("*.py"))
    return {path: read_text(root, path)[0] for path in paths}


def _version(root: Path) -> str:
    try:
        return tomllib.loads(read_text(root, "pyproject.toml")[0])["project"]["version"]
    except (tomllib.TOMLDecodeError, KeyError):
        return "0"
