"""catalog.yaml -> entries."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tools.problems import Problem
from tools.schema import (
    Spot,
    arxiv,
    boolean,
    commit,
    date,
    distinct,
    doi,
    fields,
    https,
    interval,
    named,
    one_of,
    parameter,
    several,
    text,
)
from tools.strict_yaml import Place, read_yaml

KEY = re.compile(r"[a-z]+\d{4}[a-z0-9]+")


@dataclass(frozen=True)
class Entry:
    """A paper's entry: the fields that are right, as in the file, and where each part of it stands."""

    key: str
    path: str
    fields: Mapping[str, Any]
    lines: Mapping[Place, int] = field(repr=False)

    def line(self, *place: str | int) -> int:
        """Line of a part, or of the nearest part around it that is there."""
        while (self.key, *place) not in self.lines:
            place = place[:-1]
        return self.lines[(self.key, *place)]

    def problem(self, text: str, *place: str | int) -> Problem:
        """A problem of this entry, at one of its parts."""
        return Problem(self.path, self.line(*place), f"{self.key}: {text}")

    def gives(self, *place: str | int) -> bool:
        """Whether the file has something at this place, be it right or wrong."""
        return (self.key, *place) in self.lines

    @property
    def items(self) -> list[tuple[tuple[str, int], Mapping[str, Any]]]:
        """Losses and measures, each with its place."""
        return [
            ((part, at), item) for part in ("losses", "measures") for at, item in enumerate(self.fields.get(part, []))
        ]

    @property
    def functions(self) -> list[str]:
        """Paths of the functions, each once."""
        return list(dict.fromkeys(item["function"] for _, item in self.items if "function" in item))


def schema(
    families: Sequence[str],
    tasks: Sequence[str],
    dims: Sequence[int],
    needs: Sequence[str],
    suits: Sequence[str] = (),
) -> Any:
    """The reader of an entry."""
    measure = {
        "function": text,
        "params": named(parameter),
        "task": distinct(one_of(tasks), least=1),
        "dims": distinct(one_of(dims), least=1),
        "range": interval,
    }
    loss = {**measure, "soft_labels": boolean, "needs": distinct(one_of(needs)), "standalone": boolean}
    code = {
        "url": https,
        "path": text,
        "commit": or_null(commit),
        "framework": text,
        "official": boolean,
        "license": or_null(text),
        "note": text,
    }
    entry = {
        "date": date,
        "title": text,
        "authors": several(text, least=1),
        "venue": text,
        "doi": doi,
        "arxiv": arxiv,
        "url": https,
        "code": several(fields(code, required=("url", "framework", "official"))),
        "family": one_of(families),
        "losses": several(fields(loss, required=measure)),
        "measures": several(fields(measure, required=measure)),
        "usage": text,
        "suits": fields(dict.fromkeys(suits, text), required=()),
        "deviations": several(text),
        "notes": text,
        "not_offered": named(text),
        "exceptions": named(text),
    }
    return fields(entry, required=("date", "title", "authors", "venue", "family"))


def or_null(reader: Any) -> Any:
    """A reader that lets null pass."""
    return lambda value, spot: None if value is None else reader(value, spot)


def read_entries(path: str, content: str, reader: Any) -> tuple[dict[str, Entry], list[Problem], bool]:
    """Entries by key, problems, and whether the file could be read at all.

    A faulty entry stays, without its faulty fields, so that one mistake is one problem.
    """
    document = read_yaml(path, content)
    problems = list(document.problems)
    if not document.readable:
        return {}, problems, False
    if document.value is None:
        return {}, problems, True
    if not isinstance(document.value, dict):
        return (
            {},
            [*problems, Problem(path, 1, "must be a mapping from keys such as salehi2017tversky to entries")],
            False,
        )
    entries = {}
    for key, value in document.value.items():

        def report(place: Place, message: str, key: str = key) -> None:
            at = place
            while at not in document.lines:
                at = at[:-1]
            problems.append(Problem(path, document.lines[at], f"{key}: {message}"))

        if not KEY.fullmatch(key):
            report((key,), "is not a key; write family name, year and a word of the title, such as salehi2017tversky")
        entries[key] = Entry(key, path, reader(value, Spot((key,), report)), document.lines)
    return entries, problems, True
