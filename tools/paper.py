"""The page of a paper, in Markdown."""

import json
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any
from urllib.parse import urlencode

from tools.address import NOWHERE, Addresses
from tools.card import Card, card_section
from tools.explore import explorer
from tools.modules import PER_BATCH, class_name, has_module
from tools.pagetext import apart, as_code, attribute, fenced, link, shown
from tools.pictures import Pictures, gallery
from tools.sources import Function
from tools.verified import Case, not_offered_section, verified_section

Entry = Mapping[str, Any]
"""The fields of catalog.yaml, and `families`, the authors' family names."""
Item = Mapping[str, Any]

INPUTS = {
    "multiclass": "logits, target = torch.randn(2, 3, {s}), torch.randint(3, (2, {s}))",
    "binary": "logits, target = torch.randn(2, 1, {s}), torch.randint(2, (2, {s}))",
    "multilabel": "logits, target = torch.randn(2, 3, {s}), torch.rand(2, 3, {s}) > 0.5",
}
GIVEN = {
    "instances": "torch.randint(4, (2, {s}))",
    "image": "torch.rand(2, 1, {s})",
    "weight_map": "1 + torch.rand(2, 1, {s})",
    "annotated": "[[1], [1, 2]]",
    "partner": "torch.randint(3, (2, {s}))",
    "share": "0.4",
    "labels": "torch.randint(3, (2, {s}))",
}
"""Inputs beyond logits and target, by the name of their parameter."""
TASK_WORDS = {
    "binary": "binary (one channel, sigmoid)",
    "multiclass": "multiclass (softmax)",
    "multilabel": "multilabel (overlapping classes, sigmoid)",
}


def items(entry: Entry) -> list[Item]:
    """Losses and measures of an entry."""
    return [*entry.get("losses", []), *entry.get("measures", [])]


def functions(entry: Entry) -> list[str]:
    """Functions of an entry, each once."""
    return list(dict.fromkeys(item["function"] for item in items(entry)))


def short_name(function: str) -> str:
    """The name of a function without its path."""
    return function.rpartition(".")[2]


def words(function: str) -> str:
    """The name of a function as one says it."""
    return short_name(function).removesuffix("_loss").replace("_", " ")


def union(entry: Entry, field: str, default: Sequence[Any] = ()) -> list[Any]:
    """The values a field takes over the functions of an entry, in their first order."""
    return list(dict.fromkeys(value for item in items(entry) for value in item.get(field, default)))


def year(entry: Entry) -> str:
    """The year of the first public appearance."""
    return str(entry["date"])[:4]


def cited(entry: Entry) -> str:
    """The authors as a text names them."""
    first, *others = entry["families"]
    return f"{first} et al." if len(others) > 1 else " and ".join([first, *others])


def paper_name(entry: Entry) -> str:
    """Authors and year."""
    return f"{cited(entry)} {year(entry)}"


def label(entry: Entry) -> str:
    """The name of the page in the navigation."""
    functions = ", ".join(dict.fromkeys(words(item["function"]) for item in items(entry)))
    return f"{paper_name(entry)}: {functions}"


def code_kind(entry: Entry) -> str:
    """Whose code there is: official, third-party or none."""
    code = entry.get("code", [])
    return "official" if any(c.get("official") for c in code) else "third-party" if code else "none"


def label_kind(entry: Entry) -> str:
    """Whether some function takes soft labels."""
    return "soft" if any(item.get("soft_labels") for item in items(entry)) else "hard"


def links(entry: Entry) -> str:
    """Where the paper is to be read."""
    found = []
    if "doi" in entry:
        found.append(link(shown(f"doi:{entry['doi']}"), f"https://doi.org/{entry['doi']}"))
    if "arxiv" in entry:
        found.append(link(shown(f"arXiv:{entry['arxiv']}"), f"https://arxiv.org/abs/{entry['arxiv']}"))
    if "url" in entry:
        found.append(link(shown(entry["url"].split("/")[2]), entry["url"]))
    return " · ".join(found)


def badges(entry: Entry) -> str:
    """Facts of the entry; each leads to the catalogue filtered by it."""

    def badge(text: str, **query: str) -> str:
        return f"[{text}](../catalog.md?{urlencode(query)})"

    dims = union(entry, "dims")
    found = [badge(entry["family"], family=entry["family"])]
    found += [badge(task, task=task) for task in union(entry, "task")]
    found += [badge(f"{n}D", dims=f"{n}D") for n in dims]
    found += [badge(f"needs {need}", needs=need) for need in union(entry, "needs")]
    if label_kind(entry) == "soft":
        found.append(badge("soft labels", labels="soft"))
    if code_kind(entry) == "official":
        found.append(badge("authors' code", code="official"))
    return '<div class="badges" markdown>\n' + "\n".join(found) + "\n</div>"


def written(value: object) -> str:
    """A value as one writes it in a call: 1.3333333333333333 is 4 / 3."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and len(repr(value)) > 9:
        fraction = Fraction(value).limit_denominator(12)
        if float(fraction) == value:
            return f"{fraction.numerator} / {fraction.denominator}"
    return repr(value)


def keywords(params: Mapping[str, Any]) -> str:
    """Parameters as keywords of a call."""
    return ", ".join(f"{key}={written(value)}" for key, value in params.items())


def call(name: str, params: Mapping[str, Any], first: str = "") -> str:
    """A call, with the arguments that come `first`."""
    return f"{name}({', '.join(part for part in (first, keywords(params)) if part)})"


def example(item: Item, function: Function, helpers: Sequence[Function] = ()) -> str:
    """Code that runs as it stands: the function with the paper's parameters and, of a loss, its module form.

    An input that one of the `helpers` prepares, as its name says, is prepared by it.
    """
    task = next(task for task in INPUTS if task in item["task"])
    side = "32, 32" if 2 in item["dims"] else "16, 16, 16" if 3 in item["dims"] else "64"
    params = {"activation": "sigmoid"} if task == "multilabel" else {}
    params |= item.get("params", {})
    required = [name for name in function.required if name not in params]
    lines = ["import torch", "import segloss", "", INPUTS[task].format(s=side)]
    for given in required:
        lines += prepared(given, next((helper for helper in helpers if given in helper.name), None), side)
    inputs = ", ".join(["logits, target", *(f"{given}={given}" for given in required)])
    if has_module(function):
        lines.append("loss = " + call(f"segloss.{function.name}", params, inputs))
        kept = ", ".join(f"{name}={name}" for name in required if name not in PER_BATCH)
        called = ", ".join(["logits, target", *(f"{name}={name}" for name in required if name in PER_BATCH)])
        lines.append("criterion = " + call(f"segloss.{class_name(function.name)}", params, kept))
        lines.append(f"assert criterion({called}) == loss")
    else:
        lines.append("score = " + call(f"segloss.{function.name}", params, inputs))
    return "\n".join(fenced("\n".join(lines), "python")).rstrip()


def prepared(given: str, helper: Function | None, side: str) -> Iterator[str]:
    """How an input comes to be: by a helper from what that takes first, else at random."""
    if helper is None:
        yield f"{given} = {GIVEN[given].format(s=side)}"
        return
    first = helper.parameter_names[0]
    if first != "target":
        yield f"{first} = {GIVEN[first].format(s=side)}"
    yield f"{given} = segloss.{helper.name}({first})"


def facts(item: Item) -> str:
    """What a function takes and gives, in sentences."""
    low, high = item.get("range", [None, None])
    interval = ("(−∞" if low is None else f"[{low}") + ", " + ("∞)" if high is None else f"{high}]")
    *some, last = [str(n) for n in item["dims"]]
    axes = f"{', '.join(some)} or {last}" if some else last
    sentences = [
        f"Tasks: {', '.join(TASK_WORDS[task] for task in item['task'])}.",
        f"Spatial axes: {axes}.",
        f"Values in {interval}.",
    ]
    if item.get("soft_labels"):
        sentences.append("Takes soft labels.")
    if item.get("needs"):
        sentences.append(f"Needs besides logits and target: {', '.join(item['needs'])}.")
    if not item.get("standalone", True):
        sentences.append("Not to be trained with alone.")
    return " ".join(sentences)


def documentation(function: str) -> list[str]:
    """What the docstring of a function says."""
    return [f"::: {function}", "    options:", "      heading_level: 2", ""]


def function_section(
    key: str,
    function: str,
    entries: Mapping[str, Entry],
    code: Function,
    helpers: Sequence[Function],
    drawn: Mapping[str, Pictures],
    cards: Mapping[str, Card],
) -> list[str]:
    """Documentation of a function, the call that is the loss of this paper, and what that does."""
    lines = documentation(function)
    lines += ["All other keywords mean [the same everywhere](../conventions.md#keywords).", ""]
    others = [k for k, entry in entries.items() if k != key and any(i["function"] == function for i in items(entry))]
    if others:
        papers = ", ".join(f"[{apart(paper_name(entries[k]))}]({k}.md)" for k in others)
        lines += [f"Other papers with this function: {papers}.", ""]
    mine = [item for item in items(entries[key]) if item["function"] == function]
    lines += ["**As in the paper**", ""]
    for item in mine:
        lines += [example(item, code, helpers), "", facts(item), ""]
        name = pictured(item)
        if name in cards:
            lines += [*card_section(cards[name]), compare_link(name), ""]
        if name in drawn:
            lines += gallery(drawn[name])
    return [*lines, *explorer(mine[0], code)]


def pictured(item: Item) -> str:
    """The call whose pictures are those of an item."""
    return call(short_name(item["function"]), item.get("params", {}))


def compared(name: str) -> str:
    """A call as the address of the comparison names it."""
    return name.removesuffix("()").replace(" ", "")


def compare_link(name: str) -> str:
    """Link to the comparison with this call chosen."""
    return f"[Compare with other losses](../compare.md?{urlencode({'loss': compared(name)})})"


def prose(title: str, text: str | Sequence[str] | None) -> list[str]:
    """A section of text, or of a list of sentences; none where there is nothing to say."""
    if not text:
        return []
    body = [shown(text)] if isinstance(text, str) else [f"- {shown(sentence)}" for sentence in text]
    return [f"## {title}", "", *body, ""]


def exceptions_section(entry: Entry) -> list[str]:
    """Promises this entry is exempt from, with the reasons."""
    found = entry.get("exceptions", {})
    parts = [(*name.rpartition("."), shown(reason)) for name, reason in found.items()]
    lines = [f"- {promise.replace('_', ' ')}{of and f' ({as_code(of)})'}: {reason}" for of, _, promise, reason in parts]
    return ["## Exceptions", "", "What every loss here promises, and this one cannot.", "", *lines, ""] if lines else []


def code_section(entry: Entry) -> list[str]:
    """Code of the authors and of others."""
    if not entry.get("code"):
        return []
    lines = ["## Code elsewhere", "", "| file | whose | framework | licence |", "| --- | --- | --- | --- |"]
    for found in entry["code"]:
        whose = "authors" if found.get("official") else "others"
        note = f"<br>{apart(found['note'])}" if "note" in found else ""
        licence = apart(found.get("license") or "none stated")
        lines.append(f"| {code_link(found)}{note} | {whose} | {apart(found['framework'])} | {licence} |")
    return [*lines, ""]


def code_link(found: Mapping[str, Any]) -> str:
    """The file at its commit, where the entry names both."""
    url, path, commit = found["url"].rstrip("/"), found.get("path"), found.get("commit")
    name = "/".join(PurePosixPath(url).parts[-2:])
    if commit:
        name += f"@{commit[:7] if len(commit) == 40 else commit}"
        url += f"/blob/{commit}/{path}" if path else f"/tree/{commit}"
    return link(shown(name), url) + (f"<br>{as_code(path)}" if path else "")


def neighbours(older: str | None, newer: str | None, entries: Mapping[str, Entry], family: str) -> list[str]:
    """Links to the older and the newer paper of the family."""
    found = []
    if older:
        found.append(f"[← {apart(paper_name(entries[older]))}]({older}.md)")
    found.append(f"[{family} family](../families/{family}.md)")
    if newer:
        found.append(f"[{apart(paper_name(entries[newer]))} →]({newer}.md)")
    return ['<div class="neighbours" markdown>', *found, "</div>", ""]


def front_matter(title: str, *hide: str, description: str = "", **more: str) -> list[str]:
    """Title, description and more of the page, which the theme prints as HTML, and the side bars it does without."""
    given = {"title": title, **({"description": description} if description else {}), **more}
    lines = ["---", *(f"{name}: {json.dumps(attribute(text), ensure_ascii=False)}" for name, text in given.items())]
    return [*lines, *([f"hide: [{', '.join(hide)}]"] if hide else []), "---", ""]


def breadcrumbs(*parts: tuple[str, str]) -> list[str]:
    """The way to a page: names and the pages they lead to, from the outermost on; the page itself is not named."""
    steps = "\n".join(f"[{name}]({page})" for name, page in parts)
    return ['<nav class="breadcrumbs" aria-label="Breadcrumbs" markdown>', "", steps, "", "</nav>", ""]


def social(entry: Entry) -> str:
    """What a link to the page is shown with: who proposed what, where."""
    names = ", ".join(dict.fromkeys(words(function) for function in functions(entry)))
    return f"{cited(entry)}, {entry['venue']}: {names} ({entry['family']}). Formula, parameters, verified code."


def origins(places: Sequence[tuple[str, str, int]], where: Addresses, entry_line: int) -> list[str]:
    """Where the code of a page and its entry stand; links where the repository has an address."""
    lines = []
    for name, path, line in places:
        text = f"<code>{shown(path)}</code>, line {line}"
        at = where.source(path, line)
        lines.append(f"- Source of {as_code(name)}: {link(text, at) if at else text}")
    if entry_line:
        text = f"<code>catalog.yaml</code>, line {entry_line}"
        edit = where.edit("catalog.yaml", entry_line)
        read = where.source("catalog.yaml", entry_line)
        lines.append(
            f"- Entry: {link(text, read) if read else text}" + (f" · {link('Edit this entry', edit)}" if edit else "")
        )
    return ["## In the repository", "", *lines, ""] if lines else []


def paper_page(
    key: str,
    entries: Mapping[str, Entry],
    bibtex: str,
    code: Mapping[str, Function],
    cases: Sequence[Case],
    drawn: Mapping[str, Pictures],
    where: Addresses = NOWHERE,
    line: int = 0,
    cards: Mapping[str, Card] = MappingProxyType({}),
) -> str:
    """The whole page, with the helpers among the functions that cite the paper; `line` is that of the entry."""
    entry = entries[key]
    family = [k for k, e in entries.items() if e["family"] == entry["family"]]
    at = family.index(key)
    newer, older = family[at - 1] if at else None, family[at + 1] if at + 1 < len(family) else None
    lines = front_matter(label(entry), description=social(entry), social_title=entry["title"])
    lines += breadcrumbs(
        ("Catalogue", "../catalog.md"), (entry["family"].capitalize(), f"../families/{entry['family']}.md")
    )
    lines += [f"# {apart(entry['title'])}", "", ", ".join(map(apart, entry["authors"])) + "  "]
    lines += [f"*{apart(entry['venue'])}*, {entry['date']} · {links(entry)}", "", badges(entry), ""]
    helpers = [it for it in code.values() if not it.is_loss and it.docstring and key in it.docstring.cited]
    for function in functions(entry):
        lines += function_section(key, function, entries, code[function], helpers, drawn, cards)
    for helper in helpers:
        lines += documentation(helper.import_path)
    lines += prose("Usage", entry.get("usage"))
    lines += verified_section(cases)
    lines += prose("Deviations", entry.get("deviations"))
    lines += not_offered_section(cases)
    lines += exceptions_section(entry)
    lines += prose("Notes", entry.get("notes"))
    lines += code_section(entry)
    mine = [*(code[function] for function in functions(entry)), *helpers]
    lines += origins([(it.name, it.path, it.line) for it in mine], where, line)
    lines += ["## Cite", "", *fenced(bibtex, "bibtex")]
    lines += neighbours(older, newer, entries, entry["family"])
    return "\n".join(lines)
