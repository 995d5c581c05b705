"""Promises about the keywords that losses share; each binds the losses which have the keyword."""

import torch
from torch import Tensor

from segloss.testing.base import Loss, close, promise, refused, right, value_and_grad
from segloss.testing.samples import Case, extra

POISONS = 7.0, float("inf"), -float("inf"), float("nan")


def hole(case: Case) -> Tensor:
    """Some voxels of either image, not the same ones: (B, 1, *S)."""
    chosen = torch.zeros_like(case.logits[:, :1], dtype=torch.bool)
    chosen[0, ..., ::3] = True
    chosen[1, ..., 1::4] = True
    return chosen


def unaffected(loss: Loss, case: Case, out: Tensor, **keywords: object) -> None:
    """Assert that logits at the voxels left out change neither value nor gradient, and get none."""
    expected, slope = value_and_grad(loss, case, **keywords)
    everywhere = out.expand_as(case.logits)
    assert not slope[everywhere].any(), "the gradient should be exactly 0 where voxels are left out"
    for poison in POISONS:
        other = case.replace(logits=case.logits.masked_fill(everywhere, poison))
        value, gradient = value_and_grad(loss, other, **keywords)
        close(value, expected, f"value with logits of {poison} where voxels are left out")
        close(gradient, slope, f"gradient with logits of {poison} where voxels are left out")


def nothing_counts(loss: Loss, case: Case, what: str, **keywords: object) -> None:
    """Assert that the value is 0 with zero gradient."""
    for poison in (0.0, float("nan")):
        value, gradient = value_and_grad(loss, case.replace(logits=case.logits + poison), **keywords)
        assert value == 0, f"{what}: the value should be 0, it is {value.item()}"
        assert not gradient.any(), f"{what}: the gradient should be 0"


@promise(keyword="ignore_index")
def ignored_voxels_change_nothing(loss: Loss, case: Case) -> None:
    """Logits at voxels of the `ignore_index`, whichever number it is, touch neither value nor gradient."""
    if case.target.dtype == torch.bool:
        return
    for label in (255, -100, 0, 1):
        target = case.target.masked_fill(hole(case).squeeze(1), label)
        unaffected(loss, case.replace(target=target), (target == label).unsqueeze(1), ignore_index=label)
    nothing = case.replace(target=torch.full_like(case.target, 255))
    nothing_counts(loss, nothing, "every voxel ignored", ignore_index=255)


@promise(keyword="mask")
def masked_voxels_change_nothing(loss: Loss, case: Case) -> None:
    """Logits and labels outside the `mask` touch neither value nor gradient; it may be boolean or zeros and ones."""
    out = hole(case)
    unaffected(loss, case, out, mask=~out)
    expected = loss(case, mask=~out)
    other = ~case.target if case.target.dtype == torch.bool else 1 - case.target.clamp(max=1)
    there = out if case.target.ndim == out.ndim else out.squeeze(1)
    relabelled = case.replace(target=torch.where(there, other, case.target))
    close(loss(relabelled, mask=~out), expected, "value with other labels outside the mask")
    for dtype in (torch.uint8, torch.int64, torch.float32, torch.float64):
        close(loss(case, mask=(~out).to(dtype)), expected, f"value with a mask of {dtype}")
    nothing_counts(loss, case, "every voxel masked out", mask=torch.zeros_like(out))


@promise(keyword="mask", of="both")
def masking_equals_ignoring(loss: Loss, case: Case) -> None:
    """A `mask` says the same as an `ignore_index` there, and together they leave out the voxels of both."""
    if case.target.dtype == torch.bool or not loss.accepts("ignore_index"):
        return
    out, more = hole(case), hole(case).flip(0)
    ignored = case.replace(target=case.target.masked_fill(out.squeeze(1), 255))
    close(loss(ignored, ignore_index=255), loss(case, mask=~out), "value with voxels ignored, beside masked")
    both = loss(ignored, ignore_index=255, mask=~more)
    close(both, loss(case, mask=~(out | more)), "value with some voxels ignored and others masked")


@promise(keyword="mask", of="both")
def masking_equals_cropping(loss: Loss, case: Case) -> None:
    """Masking all but a box is the same as cropping to the box."""
    box = tuple(slice(1, size - 1) for size in case.logits.shape[2:])
    mask = torch.zeros_like(case.logits[:, :1], dtype=torch.bool)
    mask[(..., *box)] = True
    close(loss(case, mask=mask), loss(case.cropped(box)), "value with all but a box masked, beside the crop")


@promise(keyword="reduction", of="both")
def reductions_agree(loss: Loss, case: Case) -> None:
    """The sum and the mean are those of what "none" returns; the mean is the default."""
    for batch in (False, True) if loss.accepts("batch") else (None,):
        keywords = {} if batch is None else {"batch": batch}
        each = loss(case, reduction="none", **keywords)
        assert each.ndim > 0, 'reduction="none" should return more than a scalar'
        close(loss(case, reduction="sum", **keywords), each.sum(), f"sum, with {keywords}")
        close(loss(case, reduction="mean", **keywords), each.mean(), f"mean, with {keywords}")
    if "reduction" not in loss.params:
        close(loss(case), loss(case, reduction="mean"), "value without a reduction named")


@promise(keyword="weight")
def weights_are_relative(loss: Loss, case: Case) -> None:
    """The mean is a weighted mean of the classes: equal weights change nothing, nor does the scale of the weights."""
    weight = extra("weight", case)
    value = loss(case, weight=weight)
    close(loss(case, weight=torch.ones_like(weight)), loss(case), "value with weights of one")
    close(loss(case, weight=3 * weight), value, "value with weights of three times the size")
    each = loss(case, reduction="none")
    if each.shape[-1:] == weight.shape:
        close(value, (each * weight).mean() / weight.mean(), "weighted mean")
    elif len(weight) > 1:
        assert abs(value - loss(case)) > 1e-6, "weights that differ should change the value"


@promise(keyword="include_background", of="both")
def background_can_be_left_out(loss: Loss, case: Case) -> None:
    """Without the background, channel 0 is dropped after the activation; the weights keep their length C."""
    if case.task == "binary":
        if loss.parameters["include_background"].default:
            refused("include_background", "one channel without it", lambda: loss(case, include_background=False))
        return
    each, rest = (loss(case, include_background=keep, reduction="none") for keep in (True, False))
    assert rest.isfinite().all(), "the loss should be finite without the background"
    if each.shape[-1] == case.truth.shape[1] > 1:
        close(rest, each[..., 1:], 'reduction="none" without the background')
    if loss.accepts("weight"):
        weight = extra("weight", case)
        value = loss(case, include_background=False, weight=weight)
        weight[0] = 100
        close(loss(case, include_background=False, weight=weight), value, "value with another weight of the background")


@promise(keyword="batch", of="both")
def pooling_equals_one_image(loss: Loss, case: Case) -> None:
    """With `batch=True` the images count as one: joined in one image they give the same."""
    pooled = loss(case, batch=True)
    close(pooled, loss(case.joined(), batch=False), "pooled value, beside the images joined in one")
    close(pooled, loss(case.joined(), batch=True), "pooled value, beside the images joined in one and pooled")


@promise(keyword="absent")
def absent_classes_follow_their_policy(loss: Loss, case: Case) -> None:
    """A class without ground truth leaves the mean under "skip", and costs what it is predicted under "penalise"."""
    missing = case.logits.shape[1] - 1
    target = case.target.clone()
    if target.dtype == torch.bool:
        target[0, missing] = False
    else:
        target[0][target[0] == max(missing, 1)] = 0
    partial = case.replace(target=target)
    present = partial.truth.flatten(2).any(-1)
    each = loss(partial, absent="skip", reduction="none")
    assert each.isfinite().all(), 'absent="skip" should be finite for every class'
    if each.shape == present.shape:
        counted = torch.where(present, each, 0).sum(1) / present.sum(1).clamp(min=1)
        expected = counted.sum() / present.any(1).sum()
        close(loss(partial, absent="skip"), expected, "mean over the classes that are present")
        other = loss(partial, absent="penalise", reduction="none")
        close(other[present], each[present], 'classes that are present under "skip" and "penalise"')
        close(
            loss(right(partial), absent="penalise", reduction="none")[~present].sum(),
            torch.tensor(0.0).double(),
            "no cost",
        )
    _, gradient = value_and_grad(loss, partial, absent="penalise")
    assert gradient[0, missing].any(), 'absent="penalise" should push down the prediction of a class that is absent'
