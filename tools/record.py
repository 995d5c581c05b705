"""tests/oracles/KEY.py -> tests/golden/KEY: values of a naive transcription, with gradients by autograd in float64."""

import inspect
import io
import json
import re
import runpy
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tools.golden import GOLDEN, Golden, read_cases
from tools.problems import did_you_mean, read_text
from tools.scaffold import RefusedError, oracle_path
from tools.writing import Content

REQUIRED = ("case", "loss", "activation", "logits", "target")
OPTIONAL = ("params", "extras", "reduction", "rtol", "differentiable", "notes", "how")
RTOL = 1e-6


def record(root: Path, key: str) -> dict[str, Content]:
    """Files to write.

    Cases from elsewhere stay. Those of the transcription are replaced, and removed where it has them no more.
    """
    path = oracle_path(key)
    if not (root / path).is_file():
        known = [file.stem for file in (root / "tests/oracles").glob("*.py") if file.stem != "__init__"]
        raise RefusedError(f"there is no {path}{did_you_mean(key, known)}")
    others, former = recorded(root, key, path)
    arrays: dict[str, bytes] = {}
    fields: list[Mapping[str, Any]] = list(others)
    for case in run(root, path, key):
        if case["case"] in [other["case"] for other in fields]:
            raise RefusedError(
                f"{path}: {key}: case {case['case']!r} is recorded already, from {path} or elsewhere; rename it"
            )
        arrays[case["case"]] = packed(case)
        fields.append(described(case, path))
    folder = f"{GOLDEN}/{key}"
    return {
        **{f"{folder}/{name}.npz": None for name in former if name not in arrays},
        **{f"{folder}/{name}.npz": content for name, content in arrays.items()},
        f"{folder}/cases.json": json.dumps(fields, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }


def recorded(root: Path, key: str, path: str) -> tuple[list[Mapping[str, Any]], list[str]]:
    """What cases.json holds: cases from elsewhere, and the names of those that this transcription gave."""
    place = f"{GOLDEN}/{key}/cases.json"
    if not (root / place).exists():
        return [], []
    text, problems = read_text(root, place)
    cases, more = read_cases(key, place, text) if not problems else ([], [])
    for problem in (*problems, *more):
        raise RefusedError(str(problem))
    golden = Golden(key, place, tuple(cases))
    ours = [case for case in golden.cases if case.fields["source"].get("file") == path]
    return [case.fields for case in golden.cases if case not in ours], [case.name for case in ours]


def run(root: Path, path: str, key: str) -> list[dict[str, Any]]:
    """Every case with its value and gradient; an error in the transcription is told by its line."""
    try:
        module = runpy.run_path(str(root / path))
        for name in ("cases", "value"):
            if not callable(module.get(name)):
                raise RefusedError(
                    f"{path}: {key}: defines no function {name}(); python -m tools new writes a stub of it"
                )
        cases = [computed(case, module["value"], f"{path}: {key}") for case in module["cases"]()]
    except RefusedError:
        raise
    except Exception as error:  # whatever a transcription raises is its author's to see, without our frames
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(root / path)]
        line = frames[-1].lineno if frames else getattr(error, "lineno", None) or 1
        raise RefusedError(f"{path}:{line}: {key}: {type(error).__name__}: {error}") from error
    if not cases:
        raise RefusedError(f"{path}: {key}: cases() gives no case")
    return cases


def computed(case: object, value: Callable[..., Any], where: str) -> dict[str, Any]:
    """A case with `value` and, if it is differentiable, `grad`."""
    import torch

    if not isinstance(case, dict):
        raise RefusedError(f"{where}: cases() must give dictionaries, not {type(case).__name__}")
    missing = [name for name in REQUIRED if name not in case]
    unknown = [name for name in case if name not in (*REQUIRED, *OPTIONAL)]
    name = case.get("case")
    if missing:
        raise RefusedError(f"{where}: case {name!r} lacks {', '.join(missing)}")
    if unknown:
        raise RefusedError(
            f"{where}: case {name!r} has an unknown {unknown[0]!r}{did_you_mean(unknown[0], (*REQUIRED, *OPTIONAL))}"
        )
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name):
        raise RefusedError(f"{where}: case {name!r} is not a name that can be a file name")
    logits = torch.as_tensor(case["logits"]).detach().to(torch.float64, copy=True).requires_grad_()
    target = torch.as_tensor(case["target"])
    extras = {name: torch.as_tensor(extra) for name, extra in case.get("extras", {}).items()}
    accepted = inspect.signature(value).parameters
    words = {name: case[name] for name in ("loss", "activation") if name in accepted}
    result = torch.as_tensor(value(logits, target, **words, **case.get("params", {}), **extras))
    if result.ndim or not torch.isfinite(result):
        raise RefusedError(f"{where}: case {name!r}: value() must give a finite number, not {result.detach().tolist()}")
    differentiable = case.get("differentiable", True)
    if differentiable and not result.requires_grad:
        told = f"{where}: case {name!r}: the value does not depend on the logits"
        raise RefusedError(f'{told}; say "differentiable": False if it must not')
    grad = torch.autograd.grad(result, logits)[0] if differentiable else None
    return {**case, "logits": logits, "target": target, "extras": extras, "value": result, "grad": grad}


def packed(case: Mapping[str, Any]) -> bytes:
    """The arrays of a case, in the types of the golden form."""
    import numpy

    arrays = {
        name: case[name].detach().numpy() for name in ("logits", "target", "value", "grad") if case[name] is not None
    }
    arrays |= {name: extra.detach().numpy() for name, extra in case["extras"].items()}
    if numpy.issubdtype(arrays["target"].dtype, numpy.integer):
        arrays["target"] = arrays["target"].astype(numpy.int16)
    if "grad" in arrays:
        arrays["grad"] = arrays["grad"].astype(numpy.float32)
    file = io.BytesIO()
    numpy.savez_compressed(file, **arrays)
    return file.getvalue()


def described(case: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The entry of cases.json."""
    rtol = float(case.get("rtol", RTOL))
    return {
        "case": case["case"],
        "loss": case["loss"],
        "activation": case["activation"],
        "params": dict(case.get("params", {})),
        "reduction": case.get("reduction", ""),
        "source": {"kind": "oracle", "repo": None, "commit": None, "file": path, "callable": "value"},
        "how": case.get("how", "naive transcription of the formula in float64, gradient by autograd"),
        "rtol": rtol,
        "grad_atol_rel_to_max": max(rtol, RTOL) * 10,
        "differentiable": case["grad"] is not None,
        "extras": list(case["extras"]),
        "value_preview": case["value"].item(),
        "notes": case.get("notes", ""),
    }
