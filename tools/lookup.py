"""DOI or arXiv id -> BibTeX record, asked of doi.org and arxiv.org."""

import re
import urllib.error
import urllib.request

from bibtexparser.entrypoint import parse_string

from tools.schema import WRONG, Reader, Spot, arxiv, doi

SECONDS = 10
LARGEST = 100_000


class NotFoundError(ValueError):
    """Why there is no record, for the one who asked."""


def by_doi(given: str) -> str:
    """The record that doi.org hands out."""
    name = re.sub(r"^(https?://(dx\.)?doi\.org/|doi:)", "", given.strip(), flags=re.IGNORECASE)
    return tidy(answer(f"https://doi.org/{valid(doi, 'DOI', name)}"), name)


def by_arxiv(given: str) -> str:
    """The record that arxiv.org hands out."""
    name = re.sub(r"^(https?://arxiv\.org/(abs|pdf)/|arxiv:)", "", given.strip(), flags=re.IGNORECASE)
    name = re.sub(r"v\d+$", "", name.removesuffix(".pdf"))
    return tidy(answer(f"https://arxiv.org/bibtex/{valid(arxiv, 'arXiv id', name)}"), name)


def valid(reader: Reader, what: str, name: str) -> str:
    """The name, if the catalogue would take it."""
    found: list[str] = []
    if reader(name, Spot((), lambda _, message: found.append(message))) is WRONG:
        raise NotFoundError(f"{what} {found[0]}")
    return name


def answer(address: str) -> str:
    """What an address answers when asked for BibTeX."""
    request = urllib.request.Request(address, headers={"Accept": "application/x-bibtex", "User-Agent": "segloss"})
    instead = "save the BibTeX record from the publisher's page and give it with --bib FILE"
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content = response.read(LARGEST + 1)
    except urllib.error.HTTPError as error:
        known = "it is not known there" if error.code == 404 else f"the answer was {error.code} {error.reason}"
        raise NotFoundError(f"{address}: {known}; {instead}") from error
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", None) or error
        raise NotFoundError(f"{address} cannot be reached ({reason}); {instead}") from error
    if len(content) > LARGEST:
        raise NotFoundError(f"{address}: the answer is longer than any record; {instead}")
    return content.decode("utf-8", errors="replace")


def tidy(text: str, name: str) -> str:
    """One field a line; addresses by https, and none where it only repeats the DOI."""
    entries = parse_string(text).entries
    if len(entries) != 1:
        raise NotFoundError(f"{name}: the answer holds {len(entries)} BibTeX records, not one")
    fields = {field.key.lower(): re.sub(r"\s+", " ", str(field.value)).strip() for field in entries[0].fields}
    if "doi" in fields:
        fields.pop("url", None)
    elif fields.get("url", "").startswith("http://"):
        fields["url"] = "https" + fields["url"].removeprefix("http")
    lines = [f"  {field} = {{{value}}}," for field, value in fields.items()]
    return "\n".join([f"@{entries[0].entry_type}{{{entries[0].key},", *lines, "}"]) + "\n"
