"""Promises of measures alone, which look at the decision and not at the probabilities."""

import torch

from segloss.testing.base import Loss, close, promise, right
from segloss.testing.samples import Case


@promise(of="measures")
def truth_is_best(loss: Loss, case: Case) -> None:
    """The truth has the best value of the claimed range, and nothing else has."""
    close(loss(right(case)), torch.tensor(loss.range[1], dtype=torch.float64), "value of the truth")
    assert loss(case) < loss(right(case)) - 1e-3, "a prediction with mistakes should have a lower value than the truth"


@promise(of="measures")
def only_decisions_count(loss: Loss, case: Case) -> None:
    """The value depends on the class with the largest logit only."""
    close(loss(case.replace(logits=0.1 * case.logits)), loss(case), "value of less sure logits")


@promise(of="measures", keyword="reduction")
def classes_without_truth_are_left_out(loss: Loss, case: Case) -> None:
    """A class without ground truth has no value, and does not enter the mean of its image."""
    first = torch.zeros_like(case.target)
    partial = case.replace(target=torch.where(case.target == case.target.max(), first, case.target))
    partial = partial.replace(target=torch.stack([case.target[0], partial.target[1]]))
    each = loss(partial, reduction="none")
    assert each[-1].isnan().any(), 'reduction="none" should give NaN for a class without ground truth'
    close(loss(partial), each.nanmean(-1).nanmean(), "mean over the classes with ground truth")
