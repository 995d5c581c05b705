"""wanted.yaml -> papers that are known and have no entry yet, and the page that asks for them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.entries import Entry, read_entries
from tools.families import FAMILIES
from tools.pagetext import apart, attribute, link, shown
from tools.problems import Problem, read_text
from tools.schema import WRONG, Spot, arxiv, date, doi, fields, https, one_of, reader, several, text

WANTED = "wanted.yaml"


@reader(type=["integer", "string"])
def year(value: Any, spot: Spot) -> Any:
    """A year, handed on as text."""
    if (found := date(value, spot)) is WRONG or len(found) == 4:
        return found
    return spot.wrong(f"must be a year such as 2021, not {found}")


def schema(families: Sequence[str]) -> Any:
    """The reader of a wanted paper."""
    wanted = {
        "title": text,
        "authors": several(text, least=1),
        "year": year,
        "doi": doi,
        "arxiv": arxiv,
        "url": https,
        "family": one_of(families),
        "note": text,
    }
    return fields(wanted, required=("title", "authors", "year", "family", "note"))


def read_wanted(root: Path) -> tuple[dict[str, Entry], list[Problem]]:
    """Wanted papers by key, and problems; a repository may do without the list."""
    if not (root / WANTED).is_file():
        return {}, []
    content, problems = read_text(root, WANTED)
    found, faults, _ = read_entries(WANTED, content, schema(tuple(FAMILIES)))
    return found, [*problems, *faults]


HEAD = """---
title: Wanted
description: "Papers on losses for image segmentation that have no entry in segloss yet: an invitation."
hide: [navigation]
---

<nav class="breadcrumbs" aria-label="Breadcrumbs" markdown>

[Catalogue](catalog.md)

</nav>

# Wanted

Papers that belong in the catalogue and have no entry yet. Each is an invitation: the [guide](how-to-contribute.md) says
how a paper is added, one entry, one function and its recorded numbers. `python -m tools new KEY` begins with the key
that is given here. What is missing in this list too goes into `wanted.yaml`.
"""


def wanted_page(wanted: Mapping[str, Mapping[str, Any]]) -> str:
    """The list, newest first, family by family."""
    lines = [HEAD]
    for family in FAMILIES:
        mine = {key: paper for key, paper in wanted.items() if paper["family"] == family}
        if mine:
            lines += [f"## {family.capitalize()}", ""]
            for key, paper in sorted(mine.items(), key=lambda it: (it[1]["year"], it[0]), reverse=True):
                lines += [
                    f'<div class="wanted" id="{attribute(key)}" markdown>',
                    "",
                    *listed(key, paper),
                    "",
                    "</div>",
                    "",
                ]
    return "\n".join(lines)


def listed(key: str, paper: Mapping[str, Any]) -> list[str]:
    """One paper: what it is, where it is read, what it proposes, and the key to begin with."""
    found = []
    if "doi" in paper:
        found.append(link(shown(f"doi:{paper['doi']}"), f"https://doi.org/{paper['doi']}"))
    if "arxiv" in paper:
        found.append(link(shown(f"arXiv:{paper['arxiv']}"), f"https://arxiv.org/abs/{paper['arxiv']}"))
    if "url" in paper:
        found.append(link(shown(paper["url"].split("/")[2]), paper["url"]))
    authors = apart(", ".join(paper["authors"]))
    return [
        f"**{apart(paper['title'])}**<br>{authors}, {paper['year']}{' · ' if found else ''}{' · '.join(found)}",
        "",
        f"{shown(paper['note'])} <small>Key to begin with: <code>{attribute(key)}</code></small>",
    ]
