"""The contract: what every catalogued loss promises, each promise a function of a loss and a sample.

`check_loss` runs it on any loss, `check_catalogue` on the catalogue of an installed package.
"""

from segloss.testing import distances, forms, invariances, keywords, measures, numerics, refusals
from segloss.testing.base import CONTRACT, Loss, promise
from segloss.testing.check import Checked, check_catalogue, check_loss
from segloss.testing.samples import Case, sample

__all__ = [
    "CONTRACT",
    "Case",
    "Checked",
    "Loss",
    "check_catalogue",
    "check_loss",
    "distances",
    "forms",
    "invariances",
    "keywords",
    "measures",
    "numerics",
    "promise",
    "refusals",
    "sample",
]
