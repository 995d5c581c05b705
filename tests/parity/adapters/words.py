"""The words of a recorded case."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

Case = dict[str, Any]


class Words:
    """The parameters of a case, every one of which must be taken, and its further inputs."""

    def __init__(self, case: Case, extras: Mapping[str, Tensor] | None = None) -> None:
        self.case = case
        self.left = dict(case["params"])
        self.extras = extras or {}
        self.repo = case["source"]["repo"] or ""

    def take(self, name: str, otherwise: Any = None) -> Any:
        return self.left.pop(name, otherwise)

    def smooth(self) -> float:
        """The constant of numerator and denominator; the tiny one that guards a denominator is none."""
        self.take("eps")
        above, below = self.take("smooth_nr"), self.take("smooth_dr")
        if above != below:
            raise ValueError(f"smooth_nr={above} and smooth_dr={below} differ: we have one constant")
        return self.take("smooth", 0.0) if above is None else above

    def finish(self) -> None:
        if self.left:
            raise ValueError(f"parameters without a translation: {self.left}")


Adapter = Callable[[Words, Tensor, Tensor], Tensor]
