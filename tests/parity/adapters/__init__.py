"""From a recorded case's words to a call of our function.

An adapter translates names. Where a case wants another aggregation than our reductions offer (selected classes, a sum
over classes, absent classes that count as 0), it takes the losses of `reduction="none"` and averages or adds them.
"""

import importlib
import pkgutil
from collections.abc import Mapping

from torch import Tensor

from tests.parity.adapters.words import Adapter, Case, Words


def found() -> dict[str, Adapter]:
    """The adapters of every file here, by the name of the recorded loss."""
    adapters: dict[str, Adapter] = {}
    for file in pkgutil.iter_modules(__path__):
        own = getattr(importlib.import_module(f"{__name__}.{file.name}"), "ADAPTERS", {})
        if twice := adapters.keys() & own:
            raise ValueError(f"{file.name}.py has adapters of losses that another file has: {', '.join(sorted(twice))}")
        adapters |= own
    return adapters


ADAPTERS = found()


def run(case: Case, logits: Tensor, target: Tensor, extras: Mapping[str, Tensor] | None = None) -> Tensor:
    """Our value of a case."""
    words = Words(case, extras)
    if case["loss"] not in ADAPTERS:
        raise ValueError(f"no adapter for the loss {case['loss']!r}")
    return ADAPTERS[case["loss"]](words, logits, target)
