"""The grammar of a docstring: a sentence, the formula, then sections."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

SECTION = re.compile(r"([A-Z][a-z]+):")
ARGUMENT = re.compile(r"\*{0,2}(\w+)(?: \([^)]*\))?:(?: |$)")
CITED = re.compile(r"\[([a-z]+\d{4}[a-z0-9]+)\]")


@dataclass(frozen=True)
class Section:
    """The lines of a section, and the line of the file where it begins."""

    line: int
    lines: tuple[str, ...]

    @property
    def text(self) -> str:
        """The lines, joined."""
        return "\n".join(self.lines)

    @property
    def arguments(self) -> dict[str, tuple[int, str]]:
        """What an Args section describes: name -> line of the file, text."""
        found: dict[str, tuple[int, str]] = {}
        name = None
        for at, line in enumerate(self.lines, self.line + 1):
            if match := ARGUMENT.match(line):
                name = match[1]
                found[name] = at, line[match.end() :]
            elif name and line.startswith(" "):
                found[name] = found[name][0], f"{found[name][1]} {line.strip()}"
        return found


@dataclass(frozen=True)
class Docstring:
    """A docstring taken apart."""

    line: int
    raw: bool
    text: str
    summary: str
    body: str
    sections: Mapping[str, Section]

    @property
    def arguments(self) -> dict[str, tuple[int, str]]:
        """What Args describes: name -> line of the file, text."""
        return self.sections["Args"].arguments if "Args" in self.sections else {}

    @property
    def cited(self) -> list[str]:
        """Keys named in brackets under References."""
        return CITED.findall(self.sections["References"].text) if "References" in self.sections else []


def parse(text: str, line: int, raw: bool) -> Docstring:
    """Takes a docstring apart; `line` is the line of the file where it begins."""
    first, *rest = text.expandtabs().split("\n")
    margin = min((len(row) - len(row.lstrip()) for row in rest if row.strip()), default=0)
    rows = [first.strip(), *(row[margin:].rstrip() for row in rest)]
    heads = [at for at, row in enumerate(rows) if SECTION.fullmatch(row)]
    sections = {}
    for at, end in pairwise([*heads, len(rows)]):
        below = rows[at + 1 : end]
        inner = min((len(row) - len(row.lstrip()) for row in below if row), default=0)
        sections[rows[at][:-1]] = Section(line + at, tuple(row[inner:] for row in below))
    before = "\n".join(rows[: heads[0]] if heads else rows).strip()
    summary, _, body = before.partition("\n\n")
    return Docstring(line, raw, "\n".join(rows), " ".join(summary.split()), body.strip(), sections)
