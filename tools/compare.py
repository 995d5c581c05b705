"""The page on which losses stand side by side, and the data that its script shows."""

import json
import re
from collections.abc import Mapping
from typing import Any

from tools.card import ROWS, Card, rows
from tools.paper import Entry, compared, front_matter, items, paper_name, pictured, short_name
from tools.pictures import Pictures
from tools.render import escaped
from tools.scene import states
from tools.sources import Function

FORMULA = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
LEAD = "Prediction in which "


def formulas(function: Function) -> list[str]:
    """The formulas that stand by themselves in a docstring, in TeX."""
    body = function.docstring.body if function.docstring else ""
    return [" ".join(found.split()) for found in FORMULA.findall(body)]


def compare_data(
    entries: Mapping[str, Entry],
    code: Mapping[str, Function],
    drawn: Mapping[str, Pictures],
    made: Mapping[str, Mapping[str, Card]],
) -> str:
    """Every call once, with the papers that have it, oldest first, and the card of the oldest, as JSON."""
    found: dict[str, dict[str, Any]] = {}
    texts: dict[str, int] = {}
    for key, entry in sorted(entries.items(), key=lambda it: str(it[1]["date"])):
        for item in items(entry):
            name = pictured(item)
            if name not in found:
                found[name] = {
                    "name": compared(name),
                    "function": short_name(item["function"]),
                    "call": name.removesuffix("()"),
                    "family": entry["family"],
                    "formulas": formulas(code[item["function"]]),
                    "papers": [],
                    "card": [texts.setdefault(text, len(texts)) for text in card_texts(made.get(key, {}).get(name))],
                    **(shown(drawn[name]) if name in drawn else {}),
                }
            found[name]["papers"].append([key, paper_name(entry)])
    losses = sorted(found.values(), key=lambda it: (it["family"], it["name"]))
    data = {
        "rows": ROWS,
        "texts": list(texts),
        "states": [state.name for state in states()],
        "leads": leads(),
        "losses": losses,
    }
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def card_texts(found: Card | None) -> list[str]:
    """The texts of a card, in the order of `ROWS`."""
    return [text for _, text in rows(found)] if found else []


def leads() -> list[str]:
    """How the words for a picture of each state begin."""
    return [f"{LEAD}{state.wrong}: " for state in states()]


def shown(found: Pictures) -> dict[str, Any]:
    """Pictures by their files, with words for what is to be seen; what all share is left out of names and words."""
    stem = found.curves.removesuffix(".svg")
    panels = zip(found.panels, leads(), strict=False)
    return {
        "stem": stem,
        "panels": [[it.file.removeprefix(stem), it.text.removeprefix(lead)] for it, lead in panels],
        "scale": f"{found.scale:.2g}",
        "curves": found.text,
    }


def compare_page(entries: Mapping[str, Entry]) -> str:
    """The page: what the script fills, what it needs, and every paper to read without it."""
    lines = front_matter("Compare", "navigation", "toc")
    lines += ["# Compare losses", ""]
    lines += ["Two to four losses side by side: formula, what the gradient does at five known errors, how the value "]
    lines += ["grows with an error, and the behaviour that tests and measurements found. The address keeps the choice."]
    lines += [
        "",
        '<div class="compare">',
        "<p>Putting losses side by side needs JavaScript. Without it, the page of each",
    ]
    lines += ["paper below shows the same formula, pictures and behaviour of its losses.</p>", "</div>", ""]
    lines += ["## Papers", ""]
    for family in dict.fromkeys(entry["family"] for entry in entries.values()):
        papers = [
            f"[{escaped(paper_name(entry))}](papers/{key}.md)"
            for key, entry in entries.items()
            if entry["family"] == family
        ]
        lines += [f"**[{family.capitalize()}](families/{family}.md)**: {', '.join(papers)}", ""]
    return "\n".join(lines)
