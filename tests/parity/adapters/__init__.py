"""From a recorded case's words to a call of our function.

An adapter translates names. Where a case wants another aggregation than our reductions offer (selected classes, a sum
over classes, absent classes that count as 0), it takes the losses of `reduction="none"` and averages or adds them.
"""

from collections.abc import Mapping

from torch import Tensor

from tests.parity.adapters import compound, distribution, matching, region, supervision
from tests.parity.adapters.words import Adapter, Case, Words

ADAPTERS: dict[str, Adapter] = (
    region.ADAPTERS | distribution.ADAPTERS | compound.ADAPTERS | supervision.ADAPTERS | matching.ADAPTERS
)


def run(case: Case, logits: Tensor, target: Tensor, extras: Mapping[str, Tensor] | None = None) -> Tensor:
    """Our value of a case."""
    words = Words(case, extras)
    if case["loss"] not in ADAPTERS:
        raise ValueError(f"no adapter for the loss {case['loss']!r}")
    return ADAPTERS[case["loss"]](words, logits, target)
