"""The pages of the site that the catalogue determines; not committed."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from segloss.core.vocabulary import COMMON
from tools.behaviour import Subject
from tools.catalogue import Catalogue
from tools.families import FAMILIES
from tools.licences import licences_page
from tools.one_input import one_input_page
from tools.paper import (
    Entry,
    cited,
    code_kind,
    front_matter,
    items,
    keywords,
    label_kind,
    paper_page,
    pictured,
    short_name,
    union,
)
from tools.pictures import Pictures, pictures
from tools.problems import read_text
from tools.reliability import FIGURES, reliability_page
from tools.render import escaped
from tools.sources import Function
from tools.verified import Case, summaries, verified

ROOT = Path(__file__).resolve().parent.parent


def pages(catalogue: Catalogue) -> dict[str, str]:
    """Path -> text; what the recorded cases gave is computed here."""
    families = {key: record.families for key, record in catalogue.records.items()}
    entries = {key: {**entry.fields, "families": families[key]} for key, entry in catalogue.entries.items()}
    bibtex = {key: catalogue.records[key].text for key in entries}
    cases = {key: verified(golden, ROOT) for key, golden in catalogue.golden.items() if key in entries}
    one_input = one_input_page(catalogue.golden, entries, ROOT)
    drawn = pictures(ROOT, *subjects(entries, catalogue.functions))
    return {
        **render(entries, bibtex, catalogue.functions, cases, drawn),
        "docs/one-input.md": one_input,
        "docs/licences.md": licences_page(ROOT),
        "docs/reliability.md": reliability_page(read_text(ROOT, FIGURES)[0]),
    }


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
) -> dict[str, str]:
    """The pages; `code` has the functions by their paths, `drawn` the pictures by the call."""
    found = {
        f"docs/papers/{key}.md": paper_page(key, entries, bibtex[key], code, cases.get(key, ()), drawn)
        for key in entries
    }
    for family in dict.fromkeys(entry["family"] for entry in entries.values()):
        found[f"docs/families/{family}.md"] = family_page(family, entries)
    found["docs/catalog.md"] = catalogue_page(entries)
    found["docs/catalog.json"] = json.dumps(records(entries, cases), indent=1, ensure_ascii=False, default=str) + "\n"
    found["docs/references.bib"] = "\n\n".join(bibtex[key].strip() for key in entries) + "\n"
    found["docs/vocabulary.md"] = vocabulary_table()
    return found


def functions(entry: Entry) -> list[str]:
    """Functions of an entry, each once."""
    return list(dict.fromkeys(item["function"] for item in items(entry)))


def code_names(entry: Entry) -> str:
    """Their names, one a line."""
    return "<br>".join(f"`{short_name(function)}`" for function in functions(entry))


def family_page(family: str, entries: Mapping[str, Entry]) -> str:
    """What unites a family, and its papers."""
    mine = {key: entry for key, entry in entries.items() if entry["family"] == family}
    lines = front_matter(f"{family.capitalize()} family" if family != "measures" else "Measures")
    lines += [f"# {family.capitalize()}", "", FAMILIES[family], ""]
    needs = any(union(entry, "needs") for entry in mine.values())
    header = ["Paper", "Functions", "Parameters in the paper", *(["Needs"] if needs else [])]
    lines += [row(header), row(["---"] * len(header))]
    for key, entry in mine.items():
        calls = dict.fromkeys((short_name(item["function"]), keywords(item.get("params", {}))) for item in items(entry))
        cells = [
            titled(f"../papers/{key}.md", entry),
            "<br>".join(f"`{name}`" for name, _ in calls),
            "<br>".join(f"`{given}`" if given else "the defaults" for _, given in calls),
        ]
        lines.append(row([*cells, ", ".join(union(entry, "needs"))][: len(header)]))
    return "\n".join([*lines, ""])


CATALOGUE_COLUMNS = ("Date", "Paper", "Functions", "Family", "Task", "Dims", "Needs", "Labels", "Code")


def catalogue_page(entries: Mapping[str, Entry]) -> str:
    """The table of all papers; a script adds filters and sorting."""
    lines = front_matter("Catalogue", "navigation", "toc")
    lines += ["# Catalogue", ""]
    lines += ["Every paper, newest first. A column's title sorts by it; the address keeps the choice, to be passed on."]
    lines += ["The same as data: [catalog.json](catalog.json) and [references.bib](references.bib).", ""]
    lines += ['<div class="catalogue" markdown>', "", row(CATALOGUE_COLUMNS), row(["---"] * len(CATALOGUE_COLUMNS))]
    lines += [catalogue_row(key, entry) for key, entry in entries.items()]
    return "\n".join([*lines, "", "</div>", ""])


def catalogue_row(key: str, entry: Entry) -> str:
    """One paper. The cells of the last columns are what the filters compare."""
    return row(
        [
            str(entry["date"]),
            titled(f"papers/{key}.md", entry),
            code_names(entry),
            f"[{entry['family']}](families/{entry['family']}.md)",
            ", ".join(union(entry, "task")),
            ", ".join(f"{n}D" for n in union(entry, "dims")),
            ", ".join(union(entry, "needs")) or "nothing",
            label_kind(entry),
            code_kind(entry),
        ]
    )


def titled(page: str, entry: Entry) -> str:
    """The title, linked to the page of the paper, with authors and venue below."""
    return f"[{escaped(entry['title'])}]({page})<br><small>{cited(entry)}, {escaped(entry['venue'])}</small>"


def row(cells: Sequence[str]) -> str:
    """A row of a table."""
    return "| " + " | ".join(cells) + " |"


def cell(text: str) -> str:
    """Text that does not break a table."""
    return text.replace("|", "\\|")


def records(entries: Mapping[str, Entry], cases: Mapping[str, Sequence[Case]]) -> list[dict[str, Any]]:
    """The catalogue for machines, with what was verified."""
    return [
        {
            "key": key,
            **{k: v for k, v in entry.items() if k != "families"},
            "verified": verification(cases.get(key, ())),
        }
        for key, entry in entries.items()
    ]


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
