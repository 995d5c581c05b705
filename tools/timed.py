"""Time and memory of the losses, from the committed benchmark.

`benchmarks/results.json` is `{"machine": text, "versions": {name: text}, "date": "YYYY-MM-DD", "results": [...]}`; a
result is `{"function": "segloss.region.dice_loss", "params": {}, "shape": [4, 19, 512, 512], "classes": 19,
"time_ratio": 1.8, "memory_ratio": 1.2}`. The shape is that of the logits; the ratios are those of one forward and
backward pass to `F.cross_entropy` on the same logits in the same run.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULTS = "benchmarks/results.json"
FIELDS = ("function", "params", "shape", "classes", "time_ratio", "memory_ratio")


@dataclass(frozen=True)
class Timed:
    """Ratios of a loss to cross entropy on logits of a shape, and on what they were measured."""

    shape: tuple[int, ...]
    time: float
    memory: float
    machine: str
    date: str


@dataclass(frozen=True)
class Benchmark:
    """What was measured, by function and parameters."""

    machine: str = ""
    date: str = ""
    results: tuple[Mapping[str, Any], ...] = ()

    def of(self, function: str, params: Mapping[str, Any]) -> tuple[Timed, ...]:
        """The measurements of a function with these parameters, and no others."""
        return tuple(
            Timed(tuple(it["shape"]), it["time_ratio"], it["memory_ratio"], self.machine, self.date)
            for it in self.results
            if it["function"] == function and dict(it["params"]) == dict(params)
        )


def benchmark(root: Path) -> Benchmark:
    """The committed results; none where there is no file."""
    file = root / RESULTS
    if not file.is_file():
        return Benchmark()
    found = json.loads(file.read_text(encoding="utf-8"))
    for result in found["results"]:
        missing = [name for name in FIELDS if name not in result]
        if missing:
            raise ValueError(f"{RESULTS}: a result lacks {', '.join(missing)}: {result}")
    return Benchmark(found["machine"], found["date"], tuple(found["results"]))
