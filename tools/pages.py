"""The pages of the site that the catalogue determines; not committed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from segloss.core.vocabulary import COMMON
from tools.address import NOWHERE, Addresses, addresses
from tools.behaviour import Subject
from tools.card import Card, card, record
from tools.catalogue import Catalogue
from tools.choose import choose_page
from tools.compare import compare_data, compare_page
from tools.cost import cost_pages
from tools.families import FAMILIES
from tools.feed import feed
from tools.licences import licences_page
from tools.lineage import lineage_page, read_edges
from tools.measured import Measured, Probe, all_measured
from tools.one_input import one_input_page
from tools.pagetext import apart, as_code
from tools.paper import (
    Entry,
    breadcrumbs,
    cited,
    front_matter,
    items,
    keywords,
    paper_page,
    pictured,
    short_name,
    union,
)
from tools.pictures import Pictures, pictures
from tools.problems import read_text
from tools.reliability import FIGURES, reliability_page
from tools.sources import Function
from tools.table import catalogue_page
from tools.timed import RESULTS_OF_GPU, Benchmark, benchmark
from tools.verified import Case, summaries, verified
from tools.wanted import wanted_page

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Placed:
    """What pages say that is not in the entries: addresses, the line of each entry, and measured times."""

    where: Addresses = NOWHERE
    lines: Mapping[str, int] = field(default_factory=dict)
    times: Mapping[str, float] = field(default_factory=dict)


UNPLACED = Placed()
"""None of this is known."""


def pages(catalogue: Catalogue) -> dict[str, str]:
    """Path -> text; what the recorded cases gave is computed here."""
    families = {key: record.families for key, record in catalogue.records.items()}
    entries = {key: {**entry.fields, "families": families[key]} for key, entry in catalogue.entries.items()}
    bibtex = {key: catalogue.records[key].text for key in entries}
    cases = {key: verified(golden, ROOT) for key, golden in catalogue.golden.items() if key in entries}
    one_input = one_input_page(catalogue.golden, entries, ROOT)
    subject, files = subjects(entries, catalogue.functions)
    drawn = pictures(ROOT, subject, files)
    probe = probes(entries)
    found = all_measured(ROOT, probe, files)
    timed = benchmark(ROOT)
    made = cards(entries, catalogue.functions, probe, found, cases, timed)
    lines = {key: entry.line() for key, entry in catalogue.entries.items()}
    where = Placed(addresses(ROOT), lines, timed.costs())
    wanted = {key: paper.fields for key, paper in catalogue.wanted.items()}
    return {
        **render(entries, bibtex, catalogue.functions, cases, drawn, where, made),
        **guides(entries, catalogue.functions),
        **cost_pages(timed, benchmark(ROOT, RESULTS_OF_GPU)),
        "docs/one-input.md": one_input,
        "docs/wanted.md": wanted_page(wanted),
        "docs/licences.md": licences_page(ROOT),
        "docs/reliability.md": reliability_page(read_text(ROOT, FIGURES)[0]),
        "nav.yml": navigation(entries),
    }


def navigation(entries: Mapping[str, Entry]) -> str:
    """The menu of the site, which mkdocs.yml takes over; a page has its title from itself."""
    families = [f"families/{family}.md" for family in FAMILIES if any(e["family"] == family for e in entries.values())]
    menu = [
        *PAGES,
        {"Families": families},
        {"Papers": [f"papers/{key}.md" for key in sorted(entries)]},
        *({title: list(pages)} for title, pages in SECTIONS.items()),
    ]
    return yaml.safe_dump({"nav": menu}, sort_keys=False)


PAGES = ("index.md", "catalog.md", "choose.md", "compare.md", "lineage.md")
SECTIONS = {
    "Guides": ("conventions.md", "translation.md", "one-input.md", "precompute.md", "integrations.md"),
    "Project": ("cost.md", "how-to-contribute.md", "wanted.md", "reliability.md", "licences.md"),
}


def guides(entries: Mapping[str, Entry], code: Mapping[str, Function]) -> dict[str, str]:
    """The pages that lead to a loss: by questions, and by kinship."""
    return {
        "docs/choose.md": choose_page(entries, code),
        "docs/lineage.md": lineage_page(read_edges(ROOT), entries),
    }


def probes(entries: Mapping[str, Entry]) -> dict[str, Probe]:
    """Every function with every set of parameter values, by its call, with what any paper claims that it takes."""
    found: dict[str, Probe] = {}
    for entry in entries.values():
        for item in items(entry):
            name, measure = pictured(item), item in entry.get("measures", [])
            tasks, dims = (dict.fromkeys([*known, *more]) for known, more in claims(found.get(name), item))
            found[name] = Probe(item["function"], item.get("params", {}), [*tasks], [*dims], measure)
    return found


def claims(known: Probe | None, item: Mapping[str, Any]) -> list[tuple[Sequence[Any], Sequence[Any]]]:
    """Tasks and numbers of axes that are known of a call, each with those that an item adds."""
    tasks, dims = (known.tasks, known.dims) if known else ([], [])
    return [(tasks, item["task"]), (dims, item["dims"])]


def cards(
    entries: Mapping[str, Entry],
    code: Mapping[str, Function],
    probe: Mapping[str, Probe],
    found: Mapping[str, Measured],
    cases: Mapping[str, Sequence[Case]],
    timed: Benchmark,
) -> dict[str, dict[str, Card]]:
    """The cards of each paper, by the call."""
    made: dict[str, dict[str, Card]] = {}
    for key, entry in entries.items():
        made[key] = {}
        for item in items(entry):
            name, function, params = pictured(item), item["function"], item.get("params", {})
            loss = replace(probe[name].loss(), range=tuple(item.get("range", (None, None))))
            inputs = [*(given for given in code[function].required if given not in params), *item.get("needs", [])]
            exceptions, times = entry.get("exceptions", {}), timed.of(function, params)
            made[key][name] = card(loss, exceptions, found[name], cases.get(key, ()), times, inputs)
    return made


def subjects(
    entries: Mapping[str, Entry], code: Mapping[str, Function]
) -> tuple[dict[str, Subject], dict[str, list[Path]]]:
    """Every function with every set of parameter values, by its call, and the files its behaviour stands in."""
    found, files = {}, {}
    for entry in entries.values():
        for item in items(entry):
            function, name = code[item["function"]], pictured(item)
            measure = item in entry.get("measures", [])
            found[name] = Subject(item["function"], item.get("params", {}), item["task"], function.required, measure)
            files[name] = [ROOT / path for path in sources(function)]
    return found, files


def sources(function: Function) -> list[str]:
    """The file of a function, and those of other families from which it imports."""
    imported = {module for module, _ in function.names.values() if module.startswith("segloss.")}
    others = {f"{module.replace('.', '/')}.py" for module in imported if not module.startswith("segloss.core")}
    return [function.path, *sorted(others)]


def render(
    entries: Mapping[str, Entry],
    bibtex: Mapping[str, str],
    code: Mapping[str, Function],
    cases: Mapping[str, Sequence[Case]],
    drawn: Mapping[str, Pictures] = MappingProxyType({}),
    placed: Placed = UNPLACED,
    made: Mapping[str, Mapping[str, Card]] = MappingProxyType({}),
) -> dict[str, str]:
    """The pages; `code` has the functions by their paths, `drawn` the pictures by the call, `made` the cards."""
    found = {
        f"docs/papers/{key}.md": paper_page(
            key,
            entries,
            bibtex[key],
            code,
            cases.get(key, ()),
            drawn,
            placed.where,
            placed.lines.get(key, 0),
            made.get(key, {}),
        )
        for key in entries
    }
    for family in dict.fromkeys(entry["family"] for entry in entries.values()):
        found[f"docs/families/{family}.md"] = family_page(family, entries)
    found["docs/catalog.md"] = catalogue_page(entries, cases, placed.times)
    data = records(entries, cases, bibtex, made)
    found["docs/catalog.json"] = json.dumps(data, indent=1, ensure_ascii=False, default=str) + "\n"
    found["docs/feed.xml"] = feed(entries, placed.where)
    found["docs/compare.md"] = compare_page(entries)
    found["docs/compare.json"] = compare_data(entries, code, drawn, made)
    found["docs/references.bib"] = "\n\n".join(bibtex[key].strip() for key in entries) + "\n"
    found["docs/vocabulary.md"] = vocabulary_table()
    return found


def family_page(family: str, entries: Mapping[str, Entry]) -> str:
    """What unites a family, and its papers."""
    mine = {key: entry for key, entry in entries.items() if entry["family"] == family}
    title = f"{family.capitalize()} family" if family != "measures" else "Measures"
    lines = front_matter(title, description=f"{title} of segloss: what unites these losses, and their papers.")
    lines += breadcrumbs(("Catalogue", "../catalog.md"))
    lines += [f"# {family.capitalize()}", "", FAMILIES[family], ""]
    needs = any(union(entry, "needs") for entry in mine.values())
    header = ["Paper", "Functions", "Parameters in the paper", *(["Needs"] if needs else [])]
    lines += [row(header), row(["---"] * len(header))]
    for key, entry in mine.items():
        calls = dict.fromkeys((short_name(item["function"]), keywords(item.get("params", {}))) for item in items(entry))
        cells = [
            titled(f"../papers/{key}.md", entry),
            "<br>".join(f"`{name}`" for name, _ in calls),
            "<br>".join(as_code(given) if given else "the defaults" for _, given in calls),
        ]
        lines.append(row([*cells, ", ".join(union(entry, "needs"))][: len(header)]))
    return "\n".join([*lines, ""])


def titled(page: str, entry: Entry) -> str:
    """The title, linked to the page of the paper, with authors and venue below."""
    return f"[{apart(entry['title'])}]({page})<br><small>{apart(cited(entry))}, {apart(entry['venue'])}</small>"


def row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def cell(text: str) -> str:
    """Text that does not break a table."""
    return text.replace("|", "\\|")


def records(
    entries: Mapping[str, Entry],
    cases: Mapping[str, Sequence[Case]],
    bibtex: Mapping[str, str],
    made: Mapping[str, Mapping[str, Card]] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """The catalogue for machines, with what was verified, how every function behaves, and the BibTeX record."""
    return [
        {
            "key": key,
            **{k: v for k, v in entry.items() if k != "families"},
            **{k: [with_card(item, made.get(key, {})) for item in entry[k]] for k in KINDS if k in entry},
            "verified": verification(cases.get(key, ())),
            "bibtex": bibtex[key].strip(),
        }
        for key, entry in entries.items()
    ]


KINDS = ("losses", "measures")


def with_card(item: Mapping[str, Any], made: Mapping[str, Card]) -> dict[str, Any]:
    """A loss or measure, and its card."""
    found = made.get(pictured(item))
    return {**item, **({"card": record(found)} if found else {})}


def verification(cases: Sequence[Case]) -> list[dict[str, Any]]:
    """What each source of recorded cases gave."""
    return [
        {
            "kind": found.source.kind,
            "repository": found.source.repository or None,
            "commit": found.source.commit or None,
            "cases": found.cases,
            "failed": found.failed,
            "value_error": found.value_error,
            "grad_error": found.grad_error,
        }
        for found in summaries(cases)
    ]


def vocabulary_table() -> str:
    """The shared keywords, for the page of conventions."""
    lines = ["| keyword | meaning |", "| --- | --- |"]
    return "\n".join([*lines, *(row([f"`{name}`", cell(meaning)]) for name, meaning in COMMON.items()), ""])
