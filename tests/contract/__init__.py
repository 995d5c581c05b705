"""The contract: what every catalogued loss promises, each promise a function of a loss and a sample."""

from tests.contract import distances, forms, invariances, keywords, measures, numerics, refusals
from tests.contract.base import CONTRACT, Loss, promise

__all__ = [
    "CONTRACT",
    "Loss",
    "distances",
    "forms",
    "invariances",
    "keywords",
    "measures",
    "numerics",
    "promise",
    "refusals",
]
