"""The page "Which loss should I use?": questions, and for each answer the losses that the catalogue has for it."""

import html
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tools.paper import Entry, Item, cited, front_matter, paper_name, short_name
from tools.sources import Function
from tools.survey import survey_section, take_home

Fit = Callable[[Entry, Item, Function], str | None]
"""Why a loss fits an answer: a sentence, "" where the fact needs none, None where it does not fit."""


@dataclass(frozen=True)
class Answer:
    """What a visitor may say, with the losses that fit."""

    value: str
    text: str
    fits: Fit


@dataclass(frozen=True)
class Question:
    """An answer either leaves out what does not fit (`must`), or speaks for what does."""

    name: str
    text: str
    none: str
    must: bool
    answers: tuple[Answer, ...]


def suits(word: str) -> Fit:
    """What the entry was proposed for."""
    return lambda entry, item, function: entry.get("suits", {}).get(word)


def family(*names: str) -> Fit:
    """The loss belongs to a family."""
    reason = {"boundary": "A loss of contours and distances.", "topology": "A loss of connectedness."}
    return lambda entry, item, function: reason.get(entry["family"], "") if entry["family"] in names else None


def task(name: str) -> Fit:
    """The loss takes labels of this kind."""
    return lambda entry, item, function: "" if name in item["task"] else None


def dims(number: int) -> Fit:
    """The loss takes so many spatial axes."""
    return lambda entry, item, function: "" if number in item["dims"] else None


def anisotropic(entry: Entry, item: Item, function: Function) -> str | None:
    """The loss takes volumes, and spacing where it measures distances."""
    if 3 not in item["dims"]:
        return None
    if "spacing" in function.parameter_names:
        return "Takes the voxel spacing."
    measures = entry["family"] in ("boundary", "shape", "structural") or "distance" in item.get("needs", [])
    return None if measures else ""


def alone(entry: Entry, item: Item, function: Function) -> str | None:
    """One can train with the loss alone."""
    return "" if item.get("standalone", True) else None


def plain(entry: Entry, item: Item, function: Function) -> str | None:
    """Alone, and of logits and labels only."""
    beyond = item.get("needs") or [name for name in function.required if name not in item.get("params", {})]
    return None if beyond else alone(entry, item, function)


QUESTIONS = (
    Question(
        "balance",
        "How large are the structures?",
        "large, or it does not matter",
        False,
        (Answer("rare", "some are small or rare", suits("imbalance")),),
    ),
    Question(
        "shape",
        "What is special about their shape?",
        "nothing",
        False,
        (
            Answer("thin", "thin or long, such as vessels", suits("thin")),
            Answer("touching", "many objects that touch", suits("touching")),
            Answer("contour", "the place of the contour matters most", family("boundary")),
            Answer("connected", "connectedness matters most", family("topology")),
        ),
    ),
    Question(
        "classes",
        "How do the classes lie?",
        "any",
        True,
        (
            Answer("binary", "one class and background", task("binary")),
            Answer("multiclass", "several, each voxel has one", task("multiclass")),
            Answer("multilabel", "several that may overlap", task("multilabel")),
        ),
    ),
    Question(
        "labels",
        "How good are the labels?",
        "complete and clean",
        False,
        (
            Answer("partial", "partial: classes are missing in some images", suits("partial")),
            Answer("noisy", "noisy", suits("noisy")),
            Answer("scarce", "scarce or weak: many images have none", suits("scarce")),
        ),
    ),
    Question(
        "volume",
        "What are the images?",
        "any",
        True,
        (
            Answer("2d", "2D", dims(2)),
            Answer("3d", "3D, with equal spacing", dims(3)),
            Answer("anisotropic", "3D, with unequal spacing", anisotropic),
        ),
    ),
    Question(
        "effort",
        "What may it cost?",
        "I can prepare inputs and add terms",
        True,
        (
            Answer("alone", "one loss alone, inputs may be prepared", alone),
            Answer("plain", "one loss alone, of logits and labels only", plain),
        ),
    ),
)


@dataclass(frozen=True)
class Found:
    """The losses of a paper that fit an answer, by their place among its losses, and why."""

    items: tuple[int, ...]
    reason: str


def found(answer: Answer, entries: Mapping[str, Entry], code: Mapping[str, Function]) -> dict[str, Found]:
    """The papers with a loss that fits."""
    fitting = {}
    for key, entry in entries.items():
        reasons = {
            at: reason
            for at, item in enumerate(entry.get("losses", []))
            if (reason := answer.fits(entry, item, code[item["function"]])) is not None
        }
        if reasons:
            fitting[key] = Found(tuple(reasons), next(iter(reasons.values())))
    return fitting


def choose_page(entries: Mapping[str, Entry], code: Mapping[str, Function]) -> str:
    """Questions and answers as a table, the losses with their evidence, and what the survey measured."""
    answers = {(q, a): found(a, entries, code) for q in QUESTIONS for a in q.answers}
    lines = front_matter("Which loss should I use?", "navigation", "toc")
    lines += ["# Which loss should I use?", "", f"**Start here.** {take_home()}", ""]
    lines += [
        "Where something speaks for another loss, the questions find it. They go by what the catalogue knows of each "
        "paper: what it was proposed for, what it takes and needs, how its authors used it. That a loss was proposed "
        "for something is no proof that it helps with it.",
        "",
    ]
    lines += ['<div class="choose">', '<table class="choose-answers">']
    lines += ["<thead><tr><th>Question</th><th>Answer</th><th>Losses</th></tr></thead>", "<tbody>"]
    for question in QUESTIONS:
        shown = [answer for answer in question.answers if answers[question, answer]]
        for at, answer in enumerate(shown):
            lines.append(answer_row(question, answer, at, len(shown), answers[question, answer], entries))
    lines += ["</tbody>", "</table>", '<div class="choice-list">']
    for key, entry in entries.items():
        if entry.get("losses"):
            lines.append(choice(key, entry, answers))
    lines += ["</div>", "</div>", "", *survey_section()]
    return "\n".join(lines)


def answer_row(
    question: Question, answer: Answer, at: int, rows: int, fits: Mapping[str, Found], entries: Mapping[str, Entry]
) -> str:
    """One answer with links to its losses; its data are what the script needs."""
    facts = {"name": question.name, "must": question.must, "none": question.none, "value": answer.value}
    facts["fits"] = {key: fit.items for key, fit in fits.items()}
    head = f'<th scope="rowgroup" rowspan="{rows}">{html.escape(question.text)}</th>' if at == 0 else ""
    everything = len(fits) == sum(bool(entry.get("losses")) for entry in entries.values())
    links = ", ".join(f'<a href="#{key}">{html.escape(paper_name(entries[key]))}</a>' for key in fits)
    data = html.escape(json.dumps(facts))
    text = html.escape(answer.text)
    return f'<tr data-answer="{data}">{head}<td>{text}</td><td>{"all" if everything else links}</td></tr>'


def choice(key: str, entry: Entry, answers: Mapping[tuple[Question, Answer], Mapping[str, Found]]) -> str:
    """A paper: what it is, what speaks for it, how it was used."""
    names = [short_name(item["function"]) for item in entry["losses"]]
    code = ", ".join(f'<code data-name="{name}">{name}</code>' for name in dict.fromkeys(names))
    reasons = [
        f'<li data-reason="{question.name}={answer.value}">{html.escape(fits[key].reason)}</li>'
        for (question, answer), fits in answers.items()
        if key in fits and fits[key].reason
    ]
    return "".join(
        [
            f'<section class="choice" id="{key}" data-names="{html.escape(json.dumps(names))}">',
            f'<h2><a href="../papers/{key}/">{html.escape(entry["title"])}</a></h2>',
            f"<p><small>{html.escape(cited(entry))}, {html.escape(entry['venue'])}</small> {code}</p>",
            f'<ul class="reasons">{"".join(reasons)}</ul>' if reasons else "",
            f"<p>{html.escape(entry['usage'].strip())}</p>" if entry.get("usage") else "",
            "</section>",
        ]
    )
