"""Time and memory of the losses, from the committed benchmark.

`benchmarks/results.json`, which `python -m benchmarks.cost --write` makes, is `{"machine": text, "versions": {name:
text}, "date": "YYYY-MM-DD", "threads": 2, "results": [...], "left_out": [...]}`. A result has the fields below; its
ratios are those of one forward and backward pass to `F.cross_entropy` on the same logits in the same turn, its memory
is in units of the logits. Those of a GPU, in `results-cuda.json`, have the fields of `OF_GPU` besides.
"""

import json
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESULTS, RESULTS_OF_GPU = "benchmarks/results.json", "benchmarks/results-cuda.json"
FIELDS = (
    "series",
    "name",
    "library",
    "beside",
    "function",
    "params",
    "shape",
    "classes",
    "time_ratio",
    "time_spread",
    "milliseconds",
    "memory_ratio",
)
OF_GPU = ("launches", "gpu_ratio", "gpu_milliseconds", "of_floor")


@dataclass(frozen=True)
class Timed:
    """Ratios of a loss to cross entropy on logits of a shape, and on what they were measured."""

    shape: tuple[int, ...]
    time: float
    memory: float | None
    machine: str
    date: str


@dataclass(frozen=True)
class Benchmark:
    """What was measured, and on what."""

    machine: str = ""
    date: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    threads: int = 0
    results: tuple[Mapping[str, Any], ...] = ()
    left_out: tuple[Mapping[str, Any], ...] = ()

    def series(self, name: str) -> list[Mapping[str, Any]]:
        """The results of a series."""
        return [it for it in self.results if it["series"] == name]

    def of(self, function: str, params: Mapping[str, Any]) -> tuple[Timed, ...]:
        """The measurements of a function with these parameters, and no others."""
        return tuple(
            Timed(tuple(it["shape"]), it["time_ratio"], it["memory_ratio"], self.machine, self.date)
            for it in self.series("shapes")
            if it["function"] == function and dict(it["params"]) == dict(params)
        )

    def costs(self) -> dict[str, float]:
        """The median time of every function over its shapes and sets of parameters, by its name without path."""
        found: dict[str, list[float]] = {}
        for it in self.series("shapes"):
            if it["function"]:
                found.setdefault(it["function"].rpartition(".")[2], []).append(it["time_ratio"])
        return {name: statistics.median(times) for name, times in found.items()}


def benchmark(root: Path, results: str = RESULTS) -> Benchmark:
    """The committed results; none where there is no file."""
    file, fields = root / results, FIELDS if results == RESULTS else FIELDS + OF_GPU
    if not file.is_file():
        return Benchmark()
    found = json.loads(file.read_text(encoding="utf-8"))
    for result in found["results"]:
        missing = [name for name in fields if name not in result]
        if missing:
            raise ValueError(f"{results}: a result lacks {', '.join(missing)}: {result}")
    return Benchmark(**{**found, "results": tuple(found["results"]), "left_out": tuple(found["left_out"])})


def exponent(sizes: Iterable[float], times: Iterable[float]) -> float:
    """The power of the size that the time grows with: the slope of a line through their logarithms."""
    return statistics.linear_regression(*([math.log(x) for x in those] for those in (sizes, times))).slope
