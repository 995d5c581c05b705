"""The page of the catalogue: a table of all papers whose rows hold what a script filters and sorts by."""

import re
from collections.abc import Mapping, Sequence

from tools.pagetext import attribute
from tools.paper import Entry, cited, code_kind, front_matter, functions, label_kind, short_name, union, year
from tools.verified import Case, summaries


def cost(entry: Entry, times: Mapping[str, float]) -> tuple[float, float] | None:
    """The least and the greatest ratio over the functions of an entry."""
    found = [times[name] for name in map(short_name, functions(entry)) if name in times]
    return (min(found), max(found)) if found else None


def in_words(found: tuple[float, float]) -> str:
    """Ratios with two digits."""
    low, high = (f"{number:.2g}" if number < 100 else f"{number:.0f}" for number in found)
    return f"{low}×" if low == high else f"{low}–{high}×"


def venue_name(entry: Entry) -> str:
    """The venue without its year."""
    return re.sub(r"\s+(19|20)\d{2}$", "", " ".join(entry["venue"].split()))


def verified_kind(cases: Sequence[Case]) -> str:
    """What the numbers are compared with: the best source that has a case and none that disagrees."""
    kinds = [found.source.kind for found in summaries(cases) if found.cases and not found.failed]
    words = {"official": "authors' code", "third-party": "code of others", "oracle": "transcription"}
    return next((words[kind] for kind in words if kind in kinds), "no")


def alone_kind(entry: Entry) -> str:
    """Whether one can train with some loss of the entry alone; a measure is not for training."""
    losses = entry.get("losses", [])
    return "a measure" if not losses else "yes" if any(item.get("standalone", True) for item in losses) else "no"


def record(key: str, entry: Entry, cases: Sequence[Case], times: Mapping[str, float]) -> dict[str, str]:
    """What the script compares, by the name it has in the address; several values are separated by spaces."""
    found = cost(entry, times)
    return {
        "key": key,
        "date": str(entry["date"]),
        "title": " ".join(entry["title"].split()),
        "family": entry["family"],
        "task": " ".join(union(entry, "task")),
        "dims": " ".join(f"{n}D" for n in sorted(union(entry, "dims"))),
        "year": year(entry),
        "venue": venue_name(entry),
        "needs": " ".join(union(entry, "needs")) or "nothing",
        "labels": label_kind(entry),
        "alone": alone_kind(entry),
        "code": code_kind(entry),
        "verified": verified_kind(cases),
        **({"cost": f"{found[0]:.4g}"} if found else {}),
    }


def catalogue_page(
    entries: Mapping[str, Entry], cases: Mapping[str, Sequence[Case]], times: Mapping[str, float]
) -> str:
    """The table; without the script it is whole, newest first."""
    lines = front_matter("Catalogue", "navigation", "toc", description="Every paper of segloss in one table.")
    lines += ["# Catalogue", ""]
    lines += ["Every paper, newest first. The address keeps what you choose, so that a link shows the same to others."]
    lines += ["All of it as data: [catalog.json](catalog.json), [references.bib](references.bib)"]
    lines += ['and the <a href="../feed.xml">feed</a>. Not here yet: [wanted papers](wanted.md).']
    lines += ["Two to four losses side by side: [compare](compare.md).", ""]
    if any(cost(entry, times) for entry in entries.values()):
        lines += ["Cost is the time of forward and backward pass over that of cross-entropy.", ""]
    columns = ["Date", "Paper", "Functions", "Family", "Takes", "Needs", "Code", "Verified"]
    columns += ["Cost"] if any(cost(entry, times) for entry in entries.values()) else []
    lines += ['<div class="catalogue">', '<table class="papers" role="table" aria-label="Papers">']
    lines += ['<thead role="rowgroup"><tr role="row">']
    lines += [f'<th scope="col" role="columnheader" class="of-{name.lower()}">{name}</th>' for name in columns]
    lines += ["</tr></thead>", '<tbody role="rowgroup">']
    for key, entry in entries.items():
        lines.append(table_row(record(key, entry, cases.get(key, ()), times), entry, columns, times))
    return "\n".join([*lines, "</tbody>", "</table>", "</div>", ""])


def table_row(fields: Mapping[str, str], entry: Entry, columns: Sequence[str], times: Mapping[str, float]) -> str:
    """One paper, in HTML."""
    data = " ".join(f'data-{name}="{attribute(value)}"' for name, value in fields.items())
    found = cost(entry, times)
    authors = f"{apart_html(cited(entry))}, {apart_html(entry['venue'])}"
    cells = {
        "Date": fields["date"],
        "Paper": f'<a href="../papers/{fields["key"]}/">{apart_html(entry["title"])}</a><br><small>{authors}</small>',
        "Functions": "<br>".join(f"<code>{attribute(short_name(name))}</code>" for name in functions(entry)),
        "Family": f'<a href="../families/{entry["family"]}/">{entry["family"]}</a>',
        "Takes": f"{fields['task'].replace(' ', ', ')}; {fields['dims'].replace(' ', ', ')}; {fields['labels']} labels",
        "Needs": fields["needs"].replace(" ", ", "),
        "Code": fields["code"],
        "Verified": fields["verified"],
        "Cost": in_words(found) if found else "",
    }
    line = "".join(
        f'<td role="cell" class="of-{name.lower()}" data-label="{name}">{cells[name]}</td>' for name in columns
    )
    return f'<tr role="row" {data}>{line}</tr>'


def apart_html(text: str) -> str:
    """Text of a cell, which keeps its direction of writing to itself."""
    return f"<bdi>{attribute(text)}</bdi>"
