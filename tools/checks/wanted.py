"""Rules for the papers that are wanted."""

import re
import unicodedata
from collections.abc import Iterator

from tools.catalogue import Catalogue
from tools.checks.entries import FILL_IN
from tools.problems import Problem


def wanted_papers_have_no_entry(catalogue: Catalogue) -> Iterator[Problem]:
    """Neither the key, nor the title, nor an identifier of a wanted paper is that of an entry."""
    for wanted in catalogue.wanted.values():
        if wanted.key in catalogue.entries:
            yield wanted.problem("has an entry in catalog.yaml; remove it here")
            continue
        for entry in catalogue.entries.values():
            for name in ("title", "doi", "arxiv", "url"):
                given, known = wanted.fields.get(name), entry.fields.get(name)
                if given and known and plain(given) == plain(known):
                    yield wanted.problem(f"{name} is that of {entry.key} in catalog.yaml; remove it here", name)


def wanted_papers_stand_once(catalogue: Catalogue) -> Iterator[Problem]:
    """No two wanted papers are the same."""
    seen: dict[tuple[str, str], str] = {}
    for wanted in catalogue.wanted.values():
        for name in ("title", "doi", "arxiv", "url"):
            if given := wanted.fields.get(name):
                first = seen.setdefault((name, plain(given)), wanted.key)
                if first != wanted.key:
                    yield wanted.problem(f"{name} is that of {first} above; remove one", name)


def wanted_keys_have_the_year(catalogue: Catalogue) -> Iterator[Problem]:
    """The year in the key is the year of the paper."""
    for wanted in catalogue.wanted.values():
        year = wanted.fields.get("year")
        if year and (found := re.search(r"\d{4}", wanted.key)) and found[0] != year:
            yield wanted.problem(f"year is {year}, but the key says {found[0]}; make them the same", "year")


def nothing_is_left_to_fill_in(catalogue: Catalogue) -> Iterator[Problem]:
    """No placeholder is left."""
    for wanted in catalogue.wanted.values():
        for name, value in wanted.fields.items():
            if FILL_IN in str(value):
                yield wanted.problem(f"{name} is still to be filled in", name)


def plain(text: str) -> str:
    """Text by its letters and digits alone."""
    return "".join(letter for letter in unicodedata.normalize("NFKD", text).casefold() if letter.isalnum())
