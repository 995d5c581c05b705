"""Sums of errors, which kernels add up so that a rare class comes out as exact as a common one."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.truth import How


def sums_of_errors(errors: Any) -> Any:
    """Turn sums of wrong p, missed p, and what is true, (B, K, C), into those of `class_sums`, in place."""
    wrong, hit, size = errors[:, 0], errors[:, 1], errors[:, 2]
    hit *= -1
    hit += size
    wrong += hit
    return errors


def prices_of_errors(of_sums: Float[Tensor, "B K C"], how: How) -> Float[Tensor, "B L C"]:
    """The slopes of the priced sums by p of wrong classes and of the true one.

    They are those of the sums, then, of voxels with a weight, what rises with the error, and what does not.
    """
    of_p, of_hit, _, *rest = of_sums.unbind(1)
    prices = [of_p, of_p + of_hit]
    if how.squares:
        (*linear, of_wrong2, of_missed2), rest = rest[: how.kinds[1]], rest[how.kinds[1] :]
        prices += 2 * of_wrong2, -2 * of_missed2
        prices += (linear[0], -linear[1]) if linear else (torch.zeros_like(of_p),) * 2
    return torch.stack(prices + rest, 1)
