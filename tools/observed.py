"""Recorded cases on the same arrays, and the calls of our functions that reproduce them."""

import hashlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch

import segloss
from tests.parity import adapters
from tests.parity.run import Outcome, outcome
from tools.golden import GOLDEN, Golden, read_arrays
from tools.paper import written
from tools.verified import source

Numbers = Mapping[str, Any]

FUNCTIONS = {
    inspect.unwrap(function).__code__: name for name, function in vars(segloss).items() if inspect.isfunction(function)
}


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
            numbers = read_arrays(root / GOLDEN / key / f"{case.name}.npz")
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
    """A value as one writes it; an array of the case by its name."""
    if isinstance(value, torch.Tensor | list):
        for name, array in numbers.items():
            if np.array_equal(array, np.asarray(value)):
                return name
        value = value.tolist() if isinstance(value, torch.Tensor) else value
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
