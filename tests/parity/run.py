"""Run recorded cases: each is passed, failed, or not offered for a reason that the catalogue gives."""

import json
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from segloss import catalog
from tests.parity.adapters import Case, run
from tools.golden import read_arrays

GOLDEN = Path(__file__).parents[1] / "golden"
FOUND = ("value", "grad")


@dataclass(frozen=True)
class Rounding:
    """Where and in which type a case is run, and how much its value and gradient may be off, relatively."""

    value: float
    grad: float
    device: str = "cpu"
    dtype: torch.dtype | None = None

    def of(self, x: Tensor) -> Tensor:
        """An input."""
        return x.to(self.device, self.dtype if x.is_floating_point() else None)


EXACT = Rounding(1e-7, 1e-6)


@dataclass(frozen=True)
class Outcome:
    """What came of a case; errors are relative, that of the gradient to its largest value."""

    case: str
    status: str
    kind: str
    value_error: float | None = None
    grad_error: float | None = None
    reason: str = ""


def cases(folder: Path) -> list[Case]:
    """The cases of a folder."""
    return json.loads((folder / "cases.json").read_text(encoding="utf-8"))


def verify(key: str, folder: Path | None = None) -> list[Outcome]:
    """The outcome of every case of a paper."""
    folder = folder or GOLDEN / key
    return [outcome(key, folder, case) for case in cases(folder)]


def outcome(key: str, folder: Path, case: Case, rounding: Rounding = EXACT) -> Outcome:
    """The outcome of one case."""
    name, kind = case["case"], case["source"]["kind"]
    if reason := not_offered(key, case):
        return Outcome(name, "not offered", kind, reason=reason)
    recorded: dict[str, Any] = read_arrays(folder / f"{name}.npz")
    differentiable = case.get("differentiable", "grad" in recorded)
    unsaid = "differentiable" not in case and kind != "third-party"
    if unsaid and not differentiable and not catalog.get(key).measures:
        return Outcome(name, "failed", kind, reason="a case of a loss must have a gradient")
    given = {name: rounding.of(torch.from_numpy(array)) for name, array in recorded.items() if name not in FOUND}
    logits, target = given.pop("logits").requires_grad_(differentiable), given.pop("target")
    try:
        value = run(case, logits, target, given)
    except (ValueError, TypeError, KeyError) as error:
        return Outcome(name, "failed", kind, reason=f"{type(error).__name__}: {error}")

    expected = float(recorded["value"])
    value_error = abs(value.item() - expected) / max(abs(expected), 1e-12)
    passed, grad_error = value_error <= max(case["rtol"], rounding.value), None
    if differentiable:
        value.backward()
        assert logits.grad is not None
        grad = recorded["grad"]
        grad_error = float(np.abs(logits.grad.cpu().numpy() - grad).max() / max(np.abs(grad).max(), 1e-12))
        passed = passed and grad_error <= max(case["rtol"], rounding.grad)
    reason = "" if passed else f"value {value.item()!r}, recorded {expected!r}"
    return Outcome(name, "passed" if passed else "failed", kind, value_error, grad_error, reason)


def not_offered(key: str, case: Case) -> str:
    """Why our functions do not reproduce a case, from the entry; empty where they should."""
    names = (case["case"], case["loss"], case["source"]["callable"] or "")
    for pattern, reason in catalog.get(key).not_offered.items():
        if any(fnmatchcase(name, pattern) for name in names):
            return reason
    return ""
