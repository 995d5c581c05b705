"""The page "One input, many values": recorded numbers of several implementations on the very same arrays."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import segloss
from segloss import catalog
from tools.golden import GOLDEN, Golden
from tools.observed import Observed, by_input, call_text, changed, evaluate, observe, same
from tools.paper import Entry, front_matter, paper_name, words, written
from tools.verified import error, source, source_link

NAMES = {"dice": "Dice", "jaccard": "Jaccard", "tversky": "Tversky", "wasserstein": "Wasserstein", "lovasz": "Lovász"}
NAMES |= {"ce": "CE", "f1": "F1", "softmax": "softmax", "f": "F"}

REASONS = {
    "batch": {True: "takes all images of the batch as one", False: "takes each image by itself"},
    "include_background": {False: "leaves out the background"},
    "absent": {
        "skip": "leaves out the classes an image does not have",
        "penalise": "counts a class that is not there by what is predicted of it",
        "smooth": "counts a class that is not there by the formula",
    },
    "volume_power": {2: "weights a class by 1/V²", 1: "weights a class by 1/V", 0: "weights all classes alike"},
    "activation": {"sigmoid": "takes a sigmoid of each channel, no softmax", "none": "takes probabilities"},
    "weighting": {"generalised": "weights the classes by their volumes"},
}
ANY = {
    "smooth": "has a constant of {} in the ratio",
    "label_distance": "has a matrix of distances between the classes",
    "weight": "weights the classes",
    "ignore_index": "leaves out the voxels of label {}",
    "mask": "leaves out voxels",
}
INSTEAD = {"generalised_dice_loss": "takes one ratio over all classes together"}


@dataclass(frozen=True)
class Line:
    """A row of a table; `call` is an expression over `logits`, `target` and `present`, where one is known."""

    case: Observed
    call: str
    reasons: tuple[str, ...]


FRAMES = {
    "{}": "",
    "{} - 1": "is minus the coefficient, one less",
    "{} / logits.shape[1]": "divides by the number of classes once more",
}
AGGREGATES = {
    "{}.mean()": "",
    "{}.sum(1).mean()": "adds up the classes",
    "({} * present).mean()": "counts a class that is not in the batch as 0",
}


def explained(case: Observed) -> tuple[str, list[str]]:
    """The shortest expression with the value that the adapter returned, and what of it is not the default."""
    calls = [(name, changed(name, given, case.numbers)) for name, given in case.calls]
    if len(calls) != 1:
        total = " + ".join(call_text(*call, case.numbers) for call in calls)
        for frame, sign in FRAMES.items():
            if total and same(evaluate(frame.format(total), case.numbers), case.value):
                return frame.format(total), ["is the sum of these losses", *([sign] if sign else [])]
        return "", []
    name, keywords = calls[0]
    plain = {k: v for k, v in keywords.items() if k != "reduction"}
    shapes = [("{}", "", plain)]
    if keywords.get("reduction") == "none":
        shapes += [(shape, reason, keywords) for shape, reason in AGGREGATES.items()]
    for shape, reason, given in shapes:
        for frame, sign in FRAMES.items():
            pattern = frame.format(shape)
            text = pattern.format(call_text(name, given, case.numbers))
            if same(evaluate(text, case.numbers), case.value):
                without = frame.format("{}.mean()").format(call_text(name, given, case.numbers))
                aggregate = [effect(reason, case, without)] if reason else []
                return text, [*differences(name, plain, given, pattern, case), *aggregate, *([sign] if sign else [])]
    return "", []


def differences(
    name: str, plain: Mapping[str, Any], given: Mapping[str, Any], pattern: str, case: Observed
) -> Iterator[str]:
    """What each keyword does, and by how much it changes this value."""
    for key, value in plain.items():
        others = {k: v for k, v in given.items() if k != key}
        default = inspect.signature(getattr(segloss, name)).parameters[key].default
        shown = value if isinstance(value, str | int | float) else None
        text = REASONS.get(key, {}).get(shown) or ANY.get(key, f"has `{key}` {{}}, not {written(default)}")
        yield effect(text.format(shown), case, pattern.format(call_text(name, others, case.numbers)))


def effect(text: str, case: Observed, without: str) -> str:
    """A reason with the difference it makes."""
    other = evaluate(without, case.numbers)
    if other is None or case.value is None:
        return text
    change = case.value - other
    return f"{text} (no effect here)" if same(case.value, other) else f"{text} ({signed(change)})"


def signed(change: float) -> str:
    """A difference with its sign; small ones by their size."""
    return (f"{change:+.4f}" if abs(change) >= 5e-4 else f"{change:+.0e}").replace("-", "−")


def habits(case: Observed, call: str) -> Iterator[str]:
    """What a library does besides, by the parameters of its case; nothing of it shows in the value's first digits."""
    params, repository = case.case["params"], case.case["source"]["repo"] or ""
    ours = case.calls[0][1].get("smooth") if case.calls else None
    theirs = params.get("smooth", params.get("smooth_nr"))
    if theirs and ours and ours != theirs:
        yield f"writes that constant {written(theirs)}, since it counts {'half' if ours < theirs else 'twice'} there"
    if "segmentation_models" in repository and params.get("batch") and "present" not in call:
        yield "counts a class that is not in the batch as 0 (no effect here)"
    if "eps" in params and ours != params["eps"]:
        yield f"guards the denominator with {written(params['eps'])}"
    if re.search(r"float32 sums|sums are float32|(alpha|weights) (internally )?float32", said(case)):
        yield "computes in part in float32"
    if re.search(r"not apply softmax|no softmax inside", said(case)):
        yield "takes probabilities, and no logits"


def said(case: Observed) -> str:
    """What was written down with the case."""
    return " ".join(case.case.get(name) or "" for name in ("how", "notes"))


def line(case: Observed, function: str) -> Line:
    """The row of a case in the table of a function."""
    assert case.outcome
    if case.outcome.status == "not offered":
        return Line(case, "", (case.outcome.reason,))
    call, reasons = explained(case)
    for name in dict.fromkeys(name for name, _ in case.calls if name != function):
        reasons.insert(0, INSTEAD.get(name, f"is another loss here, `{name}`"))
    return Line(case, call, (*reasons, *habits(case, call)))


def tables(golden: Mapping[str, Golden], root: Path) -> dict[str, list[list[Line]]]:
    """Per function of ours its tables, one an input; functions with the longest table first."""
    found: dict[str, list[list[Line]]] = {}
    for group in by_input(golden, root):
        for case in group:
            observe(case, root)
        mine: dict[str, list[Observed]] = {}
        for case in group:
            mine.setdefault(function_of(case, group), []).append(case)
        for function, cases in mine.items():
            if any(case.kind == "third-party" for case in cases):
                shown = sorted((case for case in cases if case.kind != "oracle"), key=lambda case: case.kind)
                found.setdefault(function, []).append([line(case, function) for case in shown])
    for some in found.values():
        some.sort(key=len, reverse=True)
    return dict(sorted(found.items(), key=lambda item: -len(item[1][0])))


def function_of(case: Observed, group: Sequence[Observed]) -> str:
    """Our function for a case: what most cases of that loss call, else most of that input, else the paper's first."""
    for near in ([c for c in group if c.case["loss"] == case.case["loss"]], group):
        names = Counter(name for c in near for name, _ in c.calls[:1])
        if names:
            return names.most_common(1)[0][0]
    return catalog.get(case.key).implementations[0].function.rpartition(".")[2]


INTRODUCTION = """
# One input, many values

Losses of one name give different numbers in different libraries, and mostly no error tells so.
Here several implementations have seen the very same logits and labels. Their values were recorded once, in float64,
from the code at the commit or release that is named; the tests compare them with ours, value and gradient.
For the arguments, see [Translation](translation.md).

- **Value** is the recorded one. The first line of a table is our function with its defaults.
- **Our call** gives that number, with the relative error in the last column.
- **Why it differs** is told against our defaults. In brackets: by how much the value changes through this alone;
  *no effect here* means that on another input it may have one.

The input of a table is in the file that stands above it:

```python
import numpy as np
import torch
import segloss

file = np.load("tests/golden/{file}.npz")
logits, target = torch.from_numpy(file["logits"]), torch.from_numpy(file["target"])
present = torch.stack([(target == c).any() for c in range(logits.shape[1])])
print({call})
```
"""
HEADER = ["| implementation | value | our call, and why it differs | error |", "| --- | --- | --- | --- |"]


def one_input_page(golden: Mapping[str, Golden], entries: Mapping[str, Entry], root: Path) -> str:
    """The page; `entries` as for the pages of papers."""
    found = tables({key: golden[key] for key in golden if key in entries}, root)
    function, first = next(iter(found.items()))
    lines = front_matter("One input, many values", "navigation")
    example = f"segloss.{function}(logits, target)"
    lines += [INTRODUCTION.strip().format(file=first[0][0].case.name, call=example), ""]
    for function, some in found.items():
        lines += [f"## {title(function)}", ""]
        for table in some:
            lines += [described(table, entries), "", *HEADER, *ours(function, table[0].case)]
            lines += [*map(row, table), ""]
    return "\n".join(lines)


def title(function: str) -> str:
    """The name of a loss as one writes it."""
    found = " ".join(NAMES.get(word, word) for word in words(function).split())
    return found[0].upper() + found[1:] + ("" if function.endswith("_loss") else " (measure)")


def described(table: Sequence[Line], entries: Mapping[str, Entry]) -> str:
    """What the input is, where it is, and the papers whose cases these are."""
    case = table[0].case
    batch, channels, *shape = case.numbers["logits"].shape
    noun = {1: "signal", 2: "image", 3: "volume"}[len(shape)] + "s" * (batch != 1)
    size, classes = " × ".join(map(str, shape)), f"{channels} classes" if channels > 1 else "one channel"
    papers = ", ".join(
        f"[{paper_name(entries[key])}](papers/{key}.md)" for key in dict.fromkeys(each.case.key for each in table)
    )
    return " ".join([f"{papers}: {batch} {noun} of {size}, {classes}, `{GOLDEN}/{case.name}.npz`.", absent(case)])


def absent(case: Observed) -> str:
    """Which classes are missing in which image; conventions differ most about these."""
    logits, target = case.numbers["logits"], case.numbers["target"]
    if target.ndim == logits.ndim and target.shape[1] == logits.shape[1] > 1:
        return ""
    labels = range(max(logits.shape[1], 2))
    missing = [(c, b) for b, image in enumerate(target) for c in labels if not np.any(image == c)]
    told = " and ".join(f"class {c} is not in image {b}" for c, b in missing)
    return f"{told[0].upper()}{told[1:]}, both counted from 0." if told else "Every class is in every image."


def ours(function: str, case: Observed) -> list[str]:
    """Our function with its defaults, where it has one for every argument."""
    call = f"{function}(logits, target)"
    value = evaluate(call, case.numbers)
    return [] if value is None else [f"| **segloss** | {shown(value)} | `{call}` | – |"]


def row(line: Line) -> str:
    """A recorded value, how to get it, and why it is another."""
    recorded, result = line.case.case["source"], line.case.outcome
    assert result
    whose = ", the authors" if line.case.kind == "official" else ""
    called = re.sub(r",(?! )", ", ", recorded["callable"] or "").replace("|", "\\|")
    release = re.search(r"\((?:wheel )?(\d[\d.]*)\)$", recorded["file"] or "")
    named = recorded if recorded["commit"] or not release else {**recorded, "commit": release[1]}
    implementation = source_link(source(named)).replace("@]", "]")
    names = ", ".join(f"`{name}`" for name in dict.fromkeys(name for name, _ in line.case.calls))
    call = f"`{line.call}`" if line.call else f"values of {names}, put together" if names else "yes"
    call = {"passed": call, "not offered": "not reproduced"}.get(result.status, "**disagrees**")
    cells = [
        f"{implementation}{whose}<br>`{called}`",
        shown(float(line.case.numbers["value"])),
        f"{call}<br>{sentence(line.reasons)}",
        error(result.value_error),
    ]
    return f"| {' | '.join(cells)} |"


def shown(value: float) -> str:
    """Six decimals, with a minus that does not break."""
    return f"{value:.6f}".replace("-", "−")


def sentence(reasons: Sequence[str]) -> str:
    """Reasons one after the other."""
    found = "; ".join(reason.rstrip(".") for reason in reasons)
    return f"{found[0].upper()}{found[1:]}." if found else "Nothing differs."
