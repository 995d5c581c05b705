"""The contract is worth something only if it lets a correct loss pass and no faulty one."""

import pytest
import torch
from torch import Tensor

from segloss.testing import CONTRACT, Loss
from tests.faults import CORRECT_LOSS, CORRECT_MEASURE, FAULTS, correct, loss


@pytest.mark.parametrize("promise", CONTRACT)
def test_correct_loss_keeps_promise(promise: str) -> None:
    CONTRACT[promise].test(correct(promise))


@pytest.mark.parametrize("promise", [name for name, promise in CONTRACT.items() if promise.of == "both"])
def test_correct_measure_keeps_promise_of_both(promise: str) -> None:
    if CONTRACT[promise].binds(CORRECT_MEASURE):
        CONTRACT[promise].test(CORRECT_MEASURE)


@pytest.mark.parametrize("promise", CONTRACT)
def test_promise_has_a_fault_to_catch(promise: str) -> None:
    assert FAULTS[promise], f"add a faulty loss to tests/faults.py which {promise} must catch"


@pytest.mark.parametrize(
    ("promise", "fault"), [pytest.param(p, f, id=f"{p}-{f.replace(' ', '_')}") for p in FAULTS for f in FAULTS[p]]
)
def test_promise_catches_fault(promise: str, fault: str) -> None:
    with pytest.raises(AssertionError) as caught:
        CONTRACT[promise].test(loss(promise, fault))
    assert promise in caught.value.__notes__[0]


def test_promise_about_a_keyword_binds_only_losses_that_have_it() -> None:
    def bare(logits: Tensor, target: Tensor) -> Tensor:
        return logits.mean()

    assert CONTRACT["scalar_and_finite"].binds(Loss(bare))
    assert not CONTRACT["masked_voxels_change_nothing"].binds(Loss(bare))
    assert not CONTRACT["gradient_is_derivative"].binds(Loss(bare, measure=True))


def test_required_input_is_sampled_by_its_name() -> None:
    def with_distance(logits: Tensor, target: Tensor, *, distance: Tensor) -> Tensor:
        return (logits.sigmoid() * distance).mean()

    for name in "scalar_and_finite", "image_order_is_free", "axis_order_is_free", "class_order_is_free":
        CONTRACT[name].test(Loss(with_distance))


def test_required_input_without_a_sample_is_an_error() -> None:
    def with_spectrum(logits: Tensor, target: Tensor, *, spectrum: Tensor) -> Tensor:
        return logits.mean()

    with pytest.raises(LookupError, match=r"spectrum.*segloss/testing/samples\.py"):
        CONTRACT["scalar_and_finite"].test(Loss(with_spectrum))


def test_samples_look_like_segmentations() -> None:
    for task in CORRECT_LOSS.tasks:
        for dims in CORRECT_LOSS.dims:
            case = CORRECT_LOSS.on(task, dims)
            share = case.truth.flatten(2).mean(-1)
            assert ((share > 0) & (share < 0.95)).all(), "every class should occur, and none fill an image"
            assert torch.equal(case.truth, CORRECT_LOSS.on(task, dims).truth), "samples should be the same every time"
