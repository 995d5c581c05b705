"""The page "One input, many values": recorded numbers of several implementations on the very same arrays."""

import hashlib
import inspect
import re
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import segloss
from segloss import catalog
from tests.parity import adapters
from tests.parity.run import Outcome, outcome
from tools.golden import GOLDEN, Golden
from tools.paper import Entry, front_matter, paper_name, words, written
from tools.verified import error, source, source_link

Numbers = Mapping[str, Any]

FUNCTIONS = {
    inspect.unwrap(function).__code__: name for name, function in vars(segloss).items() if inspect.isfunction(function)
}
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


@dataclass
class Observed:
    """A recorded case, and what our functions were called with to reproduce it."""

    key: str
    case: Mapping[str, Any]
    numbers: Numbers
    calls: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    value: float | None = None
    outcome: Outcome | None = None

    @property
    def name(self) -> str:
        """Its path below the recorded cases."""
        return f"{self.key}/{self.case['case']}"

    @property
    def kind(self) -> str:
        """Whose numbers these are."""
        return source(self.case["source"]).kind


@dataclass(frozen=True)
class Line:
    """A row of a table; `call` is an expression over `logits`, `target` and `present`, where one is known."""

    case: Observed
    call: str
    reasons: tuple[str, ...]


def digest(numbers: Numbers) -> str:
    """The same for the same logits and target, and only for them."""
    found = hashlib.sha256()
    for array in (numbers["logits"], numbers["target"]):
        found.update(repr((array.shape, array.dtype.kind)).encode() + np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def by_input(golden: Mapping[str, Golden], root: Path) -> list[list[Observed]]:
    """Recorded cases with the same arrays, where another implementation is among them."""
    groups: dict[str, list[Observed]] = {}
    for key, recorded in golden.items():
        for case in recorded.cases:
            with np.load(root / GOLDEN / key / f"{case.name}.npz", allow_pickle=False) as file:
                numbers = dict(file)
            groups.setdefault(digest(numbers), []).append(Observed(key, case.fields, numbers))
    return [group for group in groups.values() if any(case.kind == "third-party" for case in group)]


@contextmanager
def watching(case: Observed) -> Iterator[None]:
    """Note the arguments of our public functions that an adapter calls, and what the adapter returns."""
    given: dict[FrameType, tuple[str, dict[str, Any]]] = {}

    def note(frame: FrameType, event: str, result: Any) -> None:
        caller = frame.f_back.f_globals.get("__name__", "") if frame.f_back else ""
        if event == "call" and frame.f_code in FUNCTIONS and caller.startswith("tests.parity."):
            name = FUNCTIONS[frame.f_code]
            parameters = inspect.signature(getattr(segloss, name)).parameters
            given[frame] = name, {key: frame.f_locals[key] for key in parameters}
        elif event == "return" and frame in given:
            case.calls.append(given.pop(frame))
        elif event == "return" and frame.f_code is adapters.run.__code__ and isinstance(result, torch.Tensor):
            case.value = result.item()

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)


def observe(case: Observed, root: Path) -> None:
    """Run a case as the tests do."""
    with watching(case):
        case.outcome = outcome(case.key, root / GOLDEN / case.key, dict(case.case))


def changed(name: str, given: Mapping[str, Any], numbers: Numbers) -> dict[str, Any]:
    """The keywords that differ from the defaults, and from what a default chooses by itself."""
    automatic = "sigmoid" if numbers["logits"].shape[1] == 1 else "softmax"
    return {
        key: given[key]
        for key, parameter in inspect.signature(getattr(segloss, name)).parameters.items()
        if key not in ("logits", "target")
        and not (key == "activation" and given[key] == automatic)
        and (isinstance(given[key], torch.Tensor | list) or given[key] != parameter.default)
    }


def argument(value: object, numbers: Numbers) -> str:
    """A value as one writes it; a recorded array by its name."""
    if isinstance(value, torch.Tensor):
        same = [name for name, array in numbers.items() if np.array_equal(array, value.numpy())]
        return same[0] if same else f"torch.tensor({value.tolist()})"
    return written(value)


def call_text(name: str, keywords: Mapping[str, Any], numbers: Numbers) -> str:
    """A call of our function."""
    return f"{name}({', '.join(['logits', 'target', *(f'{k}={argument(v, numbers)}' for k, v in keywords.items())])})"


def evaluate(expression: str, numbers: Numbers) -> float | None:
    """The value of an expression on recorded arrays; None where it has none."""
    scope: dict[str, Any] = {name: torch.from_numpy(array) for name, array in numbers.items() if array.ndim}
    classes = scope["logits"].shape[1]
    scope["present"] = torch.stack([(scope["target"] == c).any() for c in range(classes)])
    try:
        return float(eval(expression, {**vars(segloss), "torch": torch}, scope))
    except (ValueError, TypeError, NameError, RuntimeError):
        return None


def same(a: float | None, b: float | None) -> bool:
    """Whether two values of ours are one number."""
    return a is not None and b is not None and abs(a - b) <= 1e-9 * max(abs(a), abs(b), 1e-3)


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
        return (total, []) if total and same(evaluate(total, case.numbers), case.value) else ("", [])
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
    return f"{text} (no effect here)" if abs(change) < 5e-7 else f"{text} ({signed(change)})"


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
