"""Promises about distances: of losses that take them as `distance`, or measure them with a `spacing`."""

import torch
from torch import Tensor

from segloss.precompute import signed_distance_map
from segloss.testing.base import Loss, close, promise, refused, value_and_grad
from segloss.testing.keywords import hole
from segloss.testing.samples import Case

STEPS = 0.7, 2.0, 1.3


def given(case: Case, spacing: tuple[float, ...] | None = None, ignore_index: int | None = None) -> Tensor:
    """The map that a data loader gives, in the type of the logits."""
    classes = case.logits.shape[1]
    found = signed_distance_map(case.target, classes, spacing=spacing, batched=True, ignore_index=ignore_index)
    return found.to(case.logits.dtype)


@promise(keyword="distance")
def given_distances_equal_computed(loss: Loss, case: Case) -> None:
    """Distances made in the data loader give the value and gradient of those the loss computes, and they count."""
    size = STEPS[: case.dims]
    for spacing in (None, size) if loss.accepts("spacing") else (None,):
        keywords = {} if spacing is None else {"spacing": spacing}
        expected, slope = value_and_grad(loss, case, **keywords)
        value, gradient = value_and_grad(loss, case, **keywords, distance=given(case, spacing))
        close(value, expected, f"value with given distances and {keywords}", rtol=1e-5)
        close(gradient, slope, f"gradient with given distances and {keywords}", rtol=1e-5, atol=1e-7)
    wrong = loss(case, distance=given(case).roll(1, -1))
    assert abs(wrong - loss(case)) > 1e-6, "distances of other voxels should change the value"
    if loss.accepts("ignore_index") and case.target.dtype != torch.bool:
        ignored = case.replace(target=case.target.masked_fill(hole(case).squeeze(1), 255))
        value = loss(ignored, ignore_index=255, distance=given(ignored, ignore_index=255))
        close(value, loss(ignored, ignore_index=255), "value with given distances and voxels ignored", rtol=1e-5)


@promise(keyword="spacing", of="both")
def spacing_scales_distances(loss: Loss, case: Case) -> None:
    """The spacing belongs to its axis, is 1 where none is given, and distances grow with it."""
    size = STEPS[: case.dims]
    value = loss(case, spacing=size)
    transposed = case.transposed()
    order = [list(case.logits.shape[2:]).index(n) for n in transposed.logits.shape[2:]]
    close(loss(transposed, spacing=[size[axis] for axis in order]), value, "value with axes and spacing transposed")
    close(loss(case, spacing=(1.0,) * case.dims), loss(case), "value with a spacing of 1")
    if loss.accepts("distance"):
        tripled = [3 * step for step in size]
        scaled = loss(case, spacing=tripled, distance=3 * given(case, size))
        close(loss(case, spacing=tripled), scaled, "value with a spacing of three times the size", rtol=1e-5)
        assert case.dims == 1 or abs(value - loss(case)) > 1e-6, "voxels of another form should change the value"


@promise(keyword="spacing", of="both")
def wrong_spacings_are_refused(loss: Loss, case: Case) -> None:
    """A spacing is one positive number an axis."""
    ones = (1.0,) * case.dims
    wrong = {
        "of an axis too many": (*ones, 1.0),
        "of an axis too few": ones[1:],
        "of 0": (0.0, *ones[1:]),
        "of a negative number": (*ones[1:], -1.0),
        "that is not a number": (float("nan"), *ones[1:]),
        "that is infinite": (float("inf"), *ones[1:]),
    }
    for what, spacing in wrong.items():
        refused("spacing", f"a spacing {what}", lambda it=spacing: loss(case, spacing=it))


@promise(keyword="distance")
def wrong_distances_are_refused(loss: Loss, case: Case) -> None:
    """Distances have the shape of the logits, and are finite."""
    right = given(case)
    wrong = {
        "of fewer images": right[:1],
        "of one voxel along an axis": right[..., :1],
        "of too many channels": torch.cat([right, right[:, :1]], 1),
        "without a batch axis": right[0],
        "of integers": right.long(),
        "that are not numbers": right.masked_fill(right == right.max(), float("nan")),
        "that are infinite": right.masked_fill(right == right.max(), float("inf")),
    }
    for what, distance in wrong.items():
        refused("distance", f"distances {what}", lambda it=distance: loss(case, distance=it))
