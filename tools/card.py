"""The behaviour card of a loss: what the contract promises of it and what its implementation does; nothing by hand."""

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from segloss.testing import CONTRACT, Loss
from segloss.testing.members import means
from tools.measured import SIDES, Measured
from tools.timed import Timed
from tools.verified import Case, error, summaries

RANKS = "ranks_equal_one_process"
"""The promise of `group`, which stands in a test of its own."""
PROMISES = (
    "range_holds",
    "best_at_truth",
    "absent_classes_are_finite",
    "extreme_logits_are_finite",
    "half_precision_is_close",
    "compiles",
    RANKS,
)
"""Promises that the card tells the outcome of."""
ROWS = (
    "Range",
    "Perfect prediction",
    "Empty prediction",
    "Towards the truth",
    "Absent class",
    "Half precision",
    "Batch",
    "Several processes",
    "torch.compile",
    "Time",
    "Memory",
    "Inputs besides",
    "Verified",
    "Exceptions",
)


@dataclass(frozen=True)
class Card:
    """Facts of a function with the parameters of a paper.

    `promises` has True for what the test-suite holds the loss to, False for an exception of the entry, and None for
    what does not concern it.
    """

    range: tuple[float | None, float | None]
    promises: Mapping[str, bool | None]
    exceptions: Mapping[str, str]
    pools: bool
    inputs: tuple[str, ...]
    measured: Measured
    timed: tuple[Timed, ...]
    cases: int
    sources: int
    failed: int
    value_error: float | None
    grad_error: float | None


def card(
    loss: Loss,
    exceptions: Mapping[str, str],
    measured: Measured,
    cases: Sequence[Case] = (),
    timed: Sequence[Timed] = (),
    inputs: Sequence[str] = (),
) -> Card:
    """The card of a loss; `exceptions` are those of its entry, under the names that the entry uses."""
    mine = {name.rpartition(".")[2]: reason for name, reason in exceptions.items() if concerns(name, loss)}
    found = list(summaries(cases))
    return Card(
        range=loss.range,
        promises={name: outcome(name, loss, mine) for name in PROMISES},
        exceptions=mine,
        pools=loss.accepts("batch") and not loss.params.get("batch", loss.parameters["batch"].default),
        inputs=tuple(dict.fromkeys(inputs)),
        measured=measured,
        timed=tuple(timed),
        cases=sum(each.cases for each in found),
        sources=len(found),
        failed=sum(each.failed for each in found),
        value_error=max((e.value_error for e in found if e.value_error is not None), default=None),
        grad_error=max((e.grad_error for e in found if e.grad_error is not None), default=None),
    )


def concerns(exception: str, loss: Loss) -> bool:
    """Whether an exception of an entry is about this loss."""
    of = exception.rpartition(".")[0]
    return not of or means(of, loss)


def outcome(name: str, loss: Loss, exceptions: Mapping[str, str]) -> bool | None:
    """What the tests say on a promise: an exception is a failure that they insist on, anything else would fail them."""
    if name == RANKS:
        binds = loss.accepts("group")
    else:
        binds = CONTRACT[name].binds(loss) and any(True for _ in CONTRACT[name].places(loss))
    return (name not in exceptions) if binds else None


def number(value: float) -> str:
    """A value with three digits, and with a true minus."""
    return "0" if abs(value) < 1e-9 else f"{value:.3g}".replace("-", "−")


def percent(value: float) -> str:
    """A share with two digits."""
    return "less than 0.001 %" if value < 1e-5 else f"{100 * value:.2g} %"


def interval(bounds: tuple[float | None, float | None]) -> str:
    """An interval, open where it has no bound."""
    low, high = bounds
    return f"{'(−∞' if low is None else '[' + number(low)}, {'∞)' if high is None else number(high) + ']'}"


def rows(found: Card) -> list[tuple[str, str]]:
    """The card in words: title and text of each of `ROWS`."""
    m, kept = found.measured, found.promises
    sample = f"on a small {m.task} sample, logits ±200"
    texts = [
        f"{interval(found.range)}" + (", for every prediction tried" if kept["range_holds"] else ""),
        f"{number(m.perfect)} {sample}",
        f"{number(m.empty)} {sample}",
        towards(kept["best_at_truth"]),
        absent_class(found),
        half_precision(found),
        batch(found),
        processes(found),
        {True: "compiles as one graph", False: "does not compile as one graph", None: "not tested"}[kept["compiles"]],
        ratios([(it.shape, it.time) for it in found.timed], "cross entropy") + measured_on(found),
        ratios([(it.shape, it.memory) for it in found.timed], "the logits") + measured_on(found),
        ", ".join(found.inputs) or "none",
        verification(found),
        exempt(found),
    ]
    return list(zip(ROWS, texts, strict=True))


def towards(kept: bool | None) -> str:
    """Whether a step towards the truth is always a step down."""
    return {
        True: "a step towards the truth never raises it",
        False: "a step towards the truth can raise it",
        None: "a measure: without a gradient",
    }[kept]


def absent_class(found: Card) -> str:
    """What an absent class costs, and what its gradient does."""
    it = found.measured.absent
    text = f"{number(it.right)} when nothing of it is predicted, {number(it.one_voxel)} with one voxel of it"
    if it.lowered is not None:
        share = "lowers" if it.lowered > 0.995 else "raises" if it.lowered < 0.005 else f"{it.lowered:.0%} lowers"
        text += f"; the gradient {share} its scores" if "%" not in share else f"; of the gradient {share} its scores"
    elif found.promises["absent_classes_are_finite"] is not None:
        text += "; its scores have no gradient"
    return text + ("; NaN or infinity can occur" if found.promises["absent_classes_are_finite"] is False else "")


def half_precision(found: Card) -> str:
    """How far half precision is off."""
    m = found.measured
    size = " × ".join(map(str, SIDES[m.axes]))
    parts = [f"{percent(deviation)} ({name})" for name, deviation in m.half.items()]
    text = f"{', '.join(parts)} away from the float64 value on {size} voxels"
    if found.promises["half_precision_is_close"]:
        text += "; less than 1 % on a megapixel"
    return text + ("; can be more than 1 % on a megapixel" if exempted(found, "half_precision_is_close") else "")


def exempted(found: Card, promise: str) -> bool:
    """Whether the entry has an exception from a promise that would bind the loss."""
    return found.promises[promise] is False


def batch(found: Card) -> str:
    """Whether the images of a batch are independent."""
    if not found.measured.alone:
        return "what an image contributes depends on the other images of its batch"
    return "each image counts by itself" + ("; with batch=True they count as one" if found.pools else "")


def processes(found: Card) -> str:
    """Whether data-parallel training is the same as in one process."""
    if found.promises[RANKS]:
        return "exact with group=, value and gradient"
    text = "not exact with group=" if exempted(found, RANKS) else "no group="
    alone = "; each image counts by itself, so processes with equally many images agree with one"
    return text + (alone if found.measured.alone else "; each process has its own loss")


def ratios(found: Sequence[tuple[Sequence[int], float | None]], unit: str) -> str:
    """Multiples of a unit, each with the shape of the logits."""
    each = [f"{ratio:.3g} × {unit} on {' × '.join(map(str, shape))}" for shape, ratio in found if ratio is not None]
    return ", ".join(each) or "not measured"


def measured_on(found: Card) -> str:
    """Where and when the ratios were measured."""
    return "".join(dict.fromkeys(f" ({it.machine}, {it.date})" for it in found.timed))


def verification(found: Card) -> str:
    """How many recorded cases are reproduced, and how well."""
    if not found.cases:
        return "no recorded case"
    text = f"{found.cases} case{'s' * (found.cases > 1)} of {found.sources} source{'s' * (found.sources > 1)}"
    text += f", worst error {error(found.value_error)}"
    if found.grad_error is not None:
        text += f", of the gradient {error(found.grad_error)}"
    return text + (f"; {found.failed} disagree" if found.failed else "")


def exempt(found: Card) -> str:
    """The promises that this loss cannot give."""
    names = ", ".join(name.replace("_", " ") for name in found.exceptions)
    return f"not promised: {names}" if names else "none"


LINKS = {"Verified": "verified-against", "Exceptions": "exceptions"}


def card_section(found: Card) -> list[str]:
    """The card in the page of a paper."""
    lines = ["**Behaviour** ([how to read it](../conventions.md#behaviour-card))", "", '<dl class="card">']
    for title, text in rows(found):
        shown = html.escape(text)
        if title in LINKS and (found.cases if title == "Verified" else found.exceptions):
            shown = f'<a href="#{LINKS[title]}">{shown}</a>'
        lines.append(f"<div><dt>{title}</dt><dd>{shown}</dd></div>")
    return [*lines, "</dl>", ""]


def record(found: Card) -> dict[str, Any]:
    """The card for machines."""
    m = found.measured
    return {
        "sample": {"task": m.task, "axes": m.axes},
        "perfect": m.perfect,
        "empty": m.empty,
        "absent_class": {"right": m.absent.right, "one_voxel": m.absent.one_voxel, "lowered": m.absent.lowered},
        "half_precision": {"voxels": list(SIDES[m.axes]), "deviation": dict(m.half), "cosine": dict(m.cosine)},
        "batch_independent": m.alone,
        "ddp_exact": bool(found.promises[RANKS]),
        "promises": dict(found.promises),
        "exceptions": list(found.exceptions),
        "inputs": list(found.inputs),
        "timed": [{**asdict(it), "shape": list(it.shape)} for it in found.timed],
        "cases": found.cases,
        "failed": found.failed,
        "value_error": found.value_error,
        "grad_error": found.grad_error,
    }
