"""Rules that hold the catalogue and the bibliography together."""

import re
import unicodedata
from collections.abc import Iterator

from tools.bibliography import Record, folded
from tools.catalogue import BIBLIOGRAPHY, CATALOGUE, Catalogue
from tools.entries import Entry
from tools.problems import Problem, did_you_mean
from tools.schema import is_https


def every_entry_has_a_record(catalogue: Catalogue) -> Iterator[Problem]:
    """Every entry can be cited."""
    for key, entry in catalogue.entries.items():
        if key not in catalogue.records:
            advice = did_you_mean(key, catalogue.records.keys() - catalogue.entries.keys()) or "; add the record"
            yield entry.problem(f"is not a key of {BIBLIOGRAPHY}{advice}")


def every_record_has_an_entry(catalogue: Catalogue) -> Iterator[Problem]:
    """Nothing is cited that is not in the catalogue."""
    known = {spelling for key in catalogue.entries for spelling in catalogue.spellings(key)}
    for key, record in catalogue.records.items():
        if key and key not in known:
            yield record.problem(f"has no entry in {CATALOGUE}; add one or remove the record")


def titles_agree(catalogue: Catalogue) -> Iterator[Problem]:
    """Titles are the same but for capitals, accents and punctuation."""
    for entry, record in _pairs(catalogue):
        if "title" not in record.fields:
            yield record.problem("has no title")
        elif "title" in entry.fields and folded(entry.fields["title"]) != folded(record.fields["title"]):
            yield entry.problem(f"title differs from {_place(record)}: {record.fields['title']!r}", "title")


def authors_agree(catalogue: Catalogue) -> Iterator[Problem]:
    """As many authors, with the same family names in the same order."""
    for entry, record in _pairs(catalogue):
        authors = entry.fields.get("authors", [])
        if not record.families:
            yield record.problem("has no author")
        elif record.families[-1] == "others":
            yield record.problem("author ends with 'and others'; name them all")
        elif len(authors) != len(record.families) and authors:
            yield entry.problem(f"{len(authors)} authors, but {len(record.families)} in {_place(record)}", "authors")
        else:
            unlike = [pair for pair in zip(authors, record.families, strict=False) if not _is_family(*pair)]
            for author, family in unlike[:1]:
                yield entry.problem(f"author {author!r} is {family!r} in {_place(record)}", "authors")


def years_agree(catalogue: Catalogue) -> Iterator[Problem]:
    """The record's year is that of the first appearance or the one named in the venue."""
    for entry, record in _pairs(catalogue):
        year = record.fields.get("year", "")
        if not re.fullmatch(r"\d{4}", year):
            yield record.problem(f"year must have four digits, not {year!r}" if year else "has no year")
        elif "date" in entry.fields and "venue" in entry.fields:
            known = {entry.fields["date"][:4], *re.findall(r"\b\d{4}\b", entry.fields["venue"])}
            if year not in known:
                told = f"year {year} of {_place(record)} is neither that of the date nor that of the venue"
                yield entry.problem(f"{told} ({', '.join(sorted(known))})", "date")


def identifiers_agree(catalogue: Catalogue) -> Iterator[Problem]:
    """DOI and arXiv id are in both, or in neither."""
    for entry, record in _pairs(catalogue):
        for name, theirs in (("doi", record.fields.get("doi")), ("arxiv", record.arxiv)):
            ours = entry.fields.get(name)
            if ours is None and entry.gives(name):
                continue
            if (ours or "").lower() != (theirs or "").lower():
                field = "eprint" if name == "arxiv" else name
                told = f"{name} is {ours or 'not given'}, {field} of {_place(record)} is {theirs or 'not given'}"
                yield entry.problem(f"{told}; make them the same", name)


def links_are_https(catalogue: Catalogue) -> Iterator[Problem]:
    """Addresses of records are as safe as those of entries."""
    for record in catalogue.records.values():
        if "url" in record.fields and not is_https(record.fields["url"]):
            yield record.problem(f"url must be an address that begins with https://, not {record.fields['url'][:60]!r}")


def _pairs(catalogue: Catalogue) -> Iterator[tuple[Entry, Record]]:
    """Entries with their records, as far as these could be read."""
    for key, entry in catalogue.entries.items():
        record = catalogue.records.get(key)
        if record and not record.broken:
            yield entry, record


def _place(record: Record) -> str:
    return f"{record.path}:{record.line}"


def _is_family(author: str, family: str) -> bool:
    return f" {_words(family)} " in f" {_words(author)} "


def _words(name: str) -> str:
    letters = "".join(letter for letter in unicodedata.normalize("NFKD", name) if not unicodedata.combining(letter))
    return " ".join(re.findall(r"\w+", letters.casefold()))
