"""references.bib -> records."""

import logging
import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bibtexparser import model
from bibtexparser.entrypoint import parse_string
from bibtexparser.middlewares.names import parse_single_name_into_parts, split_multiple_persons_names
from pylatexenc.latex2text import LatexNodes2Text

from tools.problems import Problem

logging.getLogger("bibtexparser").setLevel(logging.CRITICAL)
logging.getLogger("pylatexenc").setLevel(logging.CRITICAL)

VERBATIM = ("url", "doi", "eprint")
_LATEX = LatexNodes2Text(math_mode="verbatim")


@dataclass(frozen=True)
class Record:
    """A BibTeX record: its text as in the file, and its fields with LaTeX decoded."""

    key: str
    path: str
    line: int
    text: str
    fields: Mapping[str, str]
    authors: tuple[tuple[str, str], ...] = ()
    """Given names and family name of each."""
    broken: bool = False

    def problem(self, text: str) -> Problem:
        """A problem of this record."""
        return Problem(self.path, self.line, f"{self.key}: {text}")

    @property
    def families(self) -> list[str]:
        """Family names of the authors."""
        return [family for _, family in self.authors]

    @property
    def names(self) -> list[str]:
        """Full names of the authors, given names first."""
        return [f"{given} {family}".strip() for given, family in self.authors]

    @property
    def arxiv(self) -> str | None:
        """The arXiv id, without version."""
        if "eprint" not in self.fields or self.fields.get("archiveprefix", "arxiv").lower() != "arxiv":
            return None
        return re.sub(r"v\d+$", "", self.fields["eprint"].removeprefix("arXiv:"))


def read_bibliography(path: str, content: str) -> tuple[dict[str, Record], list[Problem]]:
    """Records by key, and problems. A broken record stays known by its key, so that no other rule misses it."""
    records: dict[str, Record] = {}
    problems: list[Problem] = []
    remainder = False  # of a broken record, which has its message already
    for block in parse_string(content).blocks:
        line = (block.start_line or 0) + 1
        if isinstance(block, model.Entry):
            record, found = _record(path, line, block)
            problems += found
            records.setdefault(record.key, record)
        elif isinstance(block, model.DuplicateBlockKeyBlock):
            first = (block.previous_block.start_line or 0) + 1
            problems.append(
                Problem(path, line, f"{block.key}: the key stands here a second time, first in line {first}; keep one")
            )
        elif isinstance(block, model.ParsingFailedBlock):
            key = _key(block.raw)
            records.setdefault(key, Record(key, path, line, block.raw or "", {}, broken=True))
            problems.append(Problem(path, line, f"{key}: {_reason(block)}"))
        elif isinstance(block, model.ImplicitComment) and not remainder:
            problems += _stray(path, line, block.comment)
        elif isinstance(block, model.String | model.Preamble):
            problems.append(
                Problem(path, line, "records are handed out one by one; write the words out in each of them")
            )
        remainder = isinstance(block, model.ParsingFailedBlock)
    return records, problems


def _record(path: str, line: int, block: model.Entry) -> tuple[Record, list[Problem]]:
    problems = []
    given = {name.lower(): str(field.value) for name, field in block.fields_dict.items()}
    fields = {name: verbatim(value) if name in VERBATIM else decoded(value) for name, value in given.items()}
    authors: list[tuple[str, str]] = []
    if not block.key:
        problems.append(Problem(path, line, f"a record without a key; write @{block.entry_type}{{salehi2017tversky, …"))
    try:
        authors = list(_authors(given.get("author", "")))
    except ValueError as error:
        problems.append(Problem(path, line, f"{block.key}: author cannot be split into names: {error}"))
    return Record(block.key, path, line, str(block.raw).strip(), fields, tuple(authors)), problems


def _authors(author: str) -> Iterator[tuple[str, str]]:
    for name in split_multiple_persons_names(author):
        parts = parse_single_name_into_parts(name)
        yield decoded(" ".join(parts.first)), decoded(" ".join([*parts.von, *parts.last, *parts.jr]))


def decoded(text: str) -> str:
    """Text of a field without LaTeX: accents as letters, no braces, spaces joined."""
    try:
        return " ".join(_LATEX.latex_to_text(text).split())
    except (ValueError, IndexError, RecursionError):
        return " ".join(text.split())


def verbatim(text: str) -> str:
    """An address or identifier: only backslashes before special characters go."""
    return re.sub(r"\\([_%&#~$])", r"\1", text.strip())


def folded(text: str) -> str:
    """Text to compare by: letters and digits alone, without accents and capitals."""
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if letter.isalnum()).casefold()


def _key(raw: str | None) -> str:
    found = re.match(r"@\s*\w+\s*[{(]\s*([^,\s{}=]*)", raw or "")
    return found.group(1) if found else ""


def _reason(block: model.ParsingFailedBlock) -> str:
    if isinstance(block, model.DuplicateFieldKeyBlock):
        return f"field {', '.join(sorted(block.duplicate_keys))} stands twice in the record; keep one"
    reason: Any = getattr(block.error, "abort_reason", None) or block.error
    return f"broken record: {str(reason).rstrip('.')}; see to its braces and commas"


def _stray(path: str, line: int, comment: str) -> Iterator[Problem]:
    for at, text in enumerate(comment.splitlines()):
        if text.strip() and not text.lstrip().startswith("%"):
            yield Problem(
                path, line + at, f"text outside of any record: {text.strip()[:40]!r}; a comment begins with %"
            )
            return
