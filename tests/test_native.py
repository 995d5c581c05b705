"""The loops that numba compiles for the CPU against the pass of blocks."""

import itertools
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

import segloss
from segloss.compound.combo import REJECTED
from segloss.core import native_parts, native_pass, native_priced, native_probability, one_pass, threads
from segloss.core.named import CROSS_ENTROPY, focused, together
from segloss.core.partial import excluded_log
from segloss.core.truth import SQUARES, How, OfError, Term, VoxelLoss
from tests.test_fused import CHANNELS, EACH, SHAPES, WANTED, agree, sample

MISSED = VoxelLoss(lambda q, ce: q**3, lambda q, ce: 3 * q**2 * (1 - q), powers=((3.0, 0.0),))
ROOT = VoxelLoss(lambda q, ce: ce**0.5, lambda q, ce: 0.5 * ce**-0.5, powers=((0.0, 0.5),))
BOTH = VoxelLoss(
    lambda q, ce: (q * ce) ** 1.7, lambda q, ce: 1.7 * (q * ce) ** 0.7 * (q + (1 - q) * ce), powers=((1.7, 1.7),)
)
POWER = Term(
    lambda p, g: (p - g).abs() ** 1.7,
    lambda p, g: 1.7 * (p - g).abs() ** 0.7 * (p - g).sign(),
    errors=((OfError.POWER, 1.7), (OfError.POWER, 1.7)),
)
HALVES = Term(
    lambda p, g: (1 - g) * p**1.5 + g * (1 - p) ** 3,
    lambda p, g: 1.5 * (1 - g) * p**0.5 - 3 * g * (1 - p) ** 2,
    errors=((OfError.POWER, 1.5), (OfError.POWER, 3.0)),
)
LOSSES = segloss.dice_ce_loss, segloss.focal_loss, segloss.squared_dice_loss, segloss.noise_robust_dice_loss
TERMS = (POWER, HALVES, REJECTED, excluded_log(0.3), excluded_log(1.0))
OF_CLASSES = WANTED | {
    "terms of classes true together": How("softmax", False, True, terms=TERMS, known=torch.ones(1, 1) > 0),
    "sums of classes true together": How("softmax", False, True, known=torch.ones(1, 1) > 0),
    "squares alone": How("softmax", False, True, squares=True),
    "a loss with no name": How("softmax", False, True, likelihood=True, voxel=replace(focused(1.7), powers=())),
    "powers": How("softmax", False, True, voxel=together(CROSS_ENTROPY, MISSED, ROOT, BOTH)),
    "a clamped loss": How("softmax", False, True, voxel=focused(2.0, clamp=0.4)),
    "terms": How("softmax", False, True, terms=TERMS),
    "terms, squares, a cost and a loss": How(
        "softmax", False, True, squares=True, terms=TERMS, cost=torch.ones(1, 1), voxel=CROSS_ENTROPY
    ),
    "a power of 1": How("softmax", False, True, voxel=focused(1.0)),
    "a power of 3": How("softmax", False, True, voxel=focused(3.0)),
    "a cost and a loss": How("softmax", False, True, cost=torch.ones(1, 1), voxel=CROSS_ENTROPY),
}
OF_CHANNELS = {name: how for name, how in EACH.items() if name != "sums, soft labels"}
OF_CHANNELS |= {
    "terms": How("sigmoid", True, False, terms=TERMS, voxel=CROSS_ENTROPY),
    "a power of the cross-entropy": How("sigmoid", True, False, voxel=ROOT),
    "a clamped loss": How("sigmoid", True, False, voxel=focused(0.5, clamp=0.4)),
    "squares and a loss": How("sigmoid", True, False, squares=True, voxel=CROSS_ENTROPY),
    "a loss with no name": How("sigmoid", True, False, voxel=replace(focused(1.7), powers=())),
}


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    """Where no loops are asked for by name, the pass goes by blocks."""
    monkeypatch.setattr(one_pass, "compiled", lambda name: None)
    monkeypatch.setattr(native_parts, "PART", 100)


def loops_of_classes_agree(kernels, wanted, shape, dtype, *, masked, cores):
    how, classes, (logits, labels, valid) = OF_CLASSES[wanted], shape[1], sample(shape, dtype, masked)
    how = replace(how, cores=cores)
    if how.lowered is not None:
        how = replace(how, lowered=torch.arange(classes) / classes)
    if how.cost is not None:
        how = replace(how, cost=torch.rand(classes, classes))
    if how.known is not None:
        how = replace(how, known=torch.arange(classes).expand(shape[0], -1) % 3 == 0)
        labels = torch.where(labels == 255, labels, labels // 3 * 3)  # what is not known is background
    agree(kernels, how, logits, labels, valid)


def loops_of_channels_agree(kernels, wanted, shape, dtype, *, masked, indices):
    how, (logits, labels, valid) = OF_CHANNELS[wanted], sample(shape, dtype, masked)
    if indices and shape[1] == 1:
        labels = torch.where(labels == 255, labels, torch.rand(labels.shape) > 0.7)
    elif not indices:
        labels = torch.rand(shape) > 0.7
    lowered = None if how.lowered is None else torch.randn(shape[1])
    agree(kernels, replace(how, dense=not indices, lowered=lowered, cores=2), logits, labels, valid)


@pytest.mark.parametrize("wanted", OF_CLASSES)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("cores", [1, 3])
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 1300)], ids=str)
def test_loops_give_what_blocks_give(wanted, masked, cores, shape):
    loops_of_classes_agree(native_pass, wanted, shape, torch.float32, masked=masked, cores=cores)


@pytest.mark.parametrize("wanted", OF_CHANNELS)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("indices", [True, False])
@pytest.mark.parametrize("shape", CHANNELS, ids=str)
def test_loops_of_channels_give_what_blocks_give(wanted, masked, indices, shape):
    loops_of_channels_agree(native_pass, wanted, shape, torch.float32, masked=masked, indices=indices)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("wanted", OF_CLASSES)
def test_logits_in_half_precision_go_through_loops(wanted, masked, dtype):
    for shape in (2, 5, 300), (2, 2, 1300):
        loops_of_classes_agree(native_pass, wanted, shape, dtype, masked=masked, cores=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("indices", [True, False])
@pytest.mark.parametrize("wanted", OF_CHANNELS)
def test_channels_in_half_precision_go_through_loops(wanted, indices, dtype):
    loops_of_channels_agree(native_pass, wanted, (2, 3, 700), dtype, masked=True, indices=indices)


@pytest.mark.parametrize("classes", [2, 5])
def test_logits_may_lie_in_any_order(classes):
    logits, labels, valid = sample((2, classes, 900), torch.float32, True)
    other = logits.transpose(1, 2).contiguous().transpose(1, 2)
    assert not other.is_contiguous()
    one, two = (native_pass.fused_pass(x, labels, valid, OF_CLASSES["all"], None) for x in (logits, other))
    for first, second in zip(one, two, strict=True):
        torch.testing.assert_close(first, second)
    prices = torch.randn(2, 3, classes), torch.randn(2, 1, 900), torch.randn(2, 1, classes)
    one, two = (native_pass.fused_gradient(x, labels, valid, OF_CLASSES["all"], None, *prices) for x in (logits, other))
    torch.testing.assert_close(one, two)


def test_labels_may_lie_in_any_order():
    logits, labels = torch.randn(2, 3, 1300), torch.rand(2, 3, 1300) > 0.6
    other = labels.transpose(1, 2).contiguous().transpose(1, 2)
    how = How("sigmoid", True, False, voxel=focused(2.0))
    one, two = (native_pass.fused_pass(logits, y, None, how, None) for y in (labels, other))
    torch.testing.assert_close(one, two)
    prices = torch.randn(2, 3, 3), None, torch.randn(2, 2, 3)
    one, two = (native_pass.fused_gradient(logits, y, None, how, None, *prices) for y in (labels, other))
    torch.testing.assert_close(one, two)


@pytest.mark.parametrize("masked", [False, True])
def test_the_price_of_a_step_is_found_from_what_is_priced(masked):
    logits, labels, valid = sample((2, 3, 1300), torch.float32, masked)
    logits, labels, how = logits.mul(2).round().div(2), labels == 1, How("sigmoid", True, False, likelihood=True)
    labels = labels.expand(2, 3, -1).contiguous()
    _, log_p, _ = native_pass.fused_pass(logits, labels, valid, how, None)
    border = log_p.flatten().kthvalue(700).values
    assert (log_p == border).sum() > 1
    prices, step = torch.where(log_p < border, 3.0, torch.where(log_p == border, 0.7, 0.0)), (border, 3.0, 0.7)
    of_sums = torch.randn(2, 3, 3)
    one = native_pass.fused_gradient(logits, labels, valid, how, None, of_sums, prices, None)
    two = native_pass.fused_gradient(logits, labels, valid, how, log_p, of_sums, log_p, None, step=step)
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert two.data_ptr() == log_p.data_ptr()


@pytest.mark.parametrize("classes", [1, 2, 4, 12])
@pytest.mark.parametrize("size", [1.0, 20.0, 200.0])
def test_loops_are_exact_where_the_truth_is_sure_or_wrong(monkeypatch, classes, size):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, max(2, classes), (1, 1, 3000), generator=generator)
    logits = torch.randn(1, classes, 3000, generator=generator)
    logits += size * (2 * labels - 1 if classes == 1 else (labels == torch.arange(classes).view(1, -1, 1)))
    logits[..., ::5] *= -1
    for loss in LOSSES:
        found, exact = [], []
        for x, out in ((logits, found), (logits.double(), exact)):
            leaf = x.clone().requires_grad_()
            value = loss(leaf, labels)
            out += [value.detach().double(), torch.autograd.grad(value, leaf)[0].double()]
        torch.testing.assert_close(found[0], exact[0], rtol=2e-6, atol=1e-12)
        assert (found[1] - exact[1]).norm() <= 3e-6 * exact[1].norm() + 1e-9


@pytest.mark.parametrize("size", [1.0, 20.0, 200.0])
def test_loops_of_classes_true_together_are_exact(monkeypatch, size):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 5, (2, 3000), generator=generator)
    logits = torch.randn(2, 5, 3000, generator=generator) + size * (labels.unsqueeze(1) == torch.arange(5).view(-1, 1))
    logits[..., ::5] *= -1
    for loss in (segloss.marginal_cross_entropy_loss, segloss.marginal_exclusion_loss, segloss.exclusion_dice_loss):
        found, exact = [], []
        for x, out in ((logits, found), (logits.double(), exact)):
            leaf = x.clone().requires_grad_()
            value = loss(leaf, labels, annotated=[{1, 3}, {2}])
            out += [value.detach().double(), torch.autograd.grad(value, leaf)[0].double()]
        torch.testing.assert_close(found[0], exact[0], rtol=2e-6, atol=1e-12)
        assert (found[1] - exact[1]).norm() <= 3e-6 * exact[1].norm() + 1e-9


@pytest.mark.parametrize("classes", [1, 2, 4])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_a_number_is_not_lost(monkeypatch, classes, bad):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    logits = torch.randn(1, classes, 700)
    labels = torch.zeros(1, 1, 700, dtype=torch.long)
    logits[0, -1, 130] = bad
    for loss in LOSSES:
        leaf, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
        value, plain = loss(leaf, labels), loss(exact, labels)
        assert value.isnan() == plain.isnan()
        assert value.isinf() == plain.isinf()
        found, expected = torch.autograd.grad(value, leaf)[0], torch.autograd.grad(plain, exact)[0]
        if bad is torch.nan:
            assert found[0, :, 130].isnan().all()
        elif bad < 0:
            torch.testing.assert_close(value.double(), plain)
            torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", ["asymmetric_ce_dice", "asymmetric_focal_margin", "exponential_logarithmic", "combo"])
def test_what_a_loss_names_to_the_loops_is_what_it_is(monkeypatch, name, classes):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    logits, labels, _ = sample((2, classes, 1300), torch.float32, False)
    loss, found = getattr(segloss, f"{name}_loss"), []
    for x in (logits.double(), logits):
        leaf = x.clone().requires_grad_()
        value = loss(leaf, labels[:, 0])
        found.append([value.detach().double(), torch.autograd.grad(value, leaf)[0].double()])
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-9)


def test_what_is_not_a_number_is_not_lost_where_classes_are_true_together(monkeypatch):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    logits, labels, _ = sample((1, 4, 700), torch.float32, False)
    logits[0, 2, 130] = torch.nan
    for loss in (segloss.marginal_cross_entropy_loss, segloss.exclusion_cross_entropy_loss):
        leaf = logits.clone().requires_grad_()
        value = loss(leaf, labels[:, 0], annotated=[1])
        assert value.isnan()
        assert torch.autograd.grad(value, leaf)[0][0, :, 130].isnan().all()


def test_a_pass_is_of_the_loops_only_where_they_can_run(monkeypatch):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    logits, labels, plain, each = torch.zeros(1, 3, 4), torch.zeros(1, 1, 4).long(), WANTED["sums"], EACH["sums"]
    assert one_pass.kernels_for(logits, labels, plain) is native_pass
    assert one_pass.kernels_for(logits, labels, each) is native_pass
    assert one_pass.kernels_for(logits.double(), labels, plain) is None
    assert one_pass.kernels_for(logits.bfloat16(), labels, plain) is native_pass
    assert one_pass.kernels_for(logits[..., :0], labels, plain) is None
    assert one_pass.kernels_for(logits, torch.rand(1, 3, 4), each) is None
    for how in (replace(plain, terms=(SQUARES,)), replace(plain, dense=True)):
        assert one_pass.kernels_for(logits, labels, how) is None


def test_nothing_is_loaded_before_it_is_needed():
    code = "import sys, segloss; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32, torch.int64])
def test_labels_of_every_type_are_read(monkeypatch, kind):
    monkeypatch.setattr(one_pass, "compiled", lambda name: native_pass)
    logits, labels, _ = sample((2, 3, 300), torch.float32, False)
    torch.testing.assert_close(segloss.dice_ce_loss(logits, labels.to(kind)), segloss.dice_ce_loss(logits, labels))


@pytest.mark.parametrize("of_torch", [True, False])
def test_threads_share_parts(monkeypatch, of_torch):
    if not of_torch:
        monkeypatch.setattr(threads, "_starts_team", lambda process: None)
    elif sys.platform == "linux":
        assert threads._starts_team(os.getpid()) is not None
    done, seen = [], set()

    def run(part, parts):
        time.sleep(0.01)
        done.append((part, parts))
        seen.add(threading.get_ident())

    threads.in_threads(3, 20, run)
    assert sorted(done) == [(part, 20) for part in range(20)]
    assert len(seen) == 3
    for part in range(20):
        with pytest.raises(ZeroDivisionError):
            threads.in_threads(3, 20, lambda at, parts, part=part: 1 / (at - part))


@pytest.mark.parametrize(("images", "voxels", "parts"), [(1, 1, 1), (1, 7, 3), (3, 1, 2), (5, 13, 8), (2, 3, 8)])
def test_parts_follow_one_another_through_all_images(images, voxels, parts):
    seen, lengths = [], []
    for part in range(parts):
        spans = [native_parts.span(part, parts, image, images, voxels) for image in range(images)]
        seen += [(image, i) for image, (start, end) in enumerate(spans) for i in range(voxels)[start:end]]
        lengths.append(sum(end - start for start, end in spans))
        assert min(end - start for start, end in spans) >= 0
    assert seen == list(itertools.product(range(images), range(voxels)))
    assert max(lengths) - min(lengths) <= 1


def test_threads_have_as_many_parts_as_each_other():
    assert [native_parts.parts_of(torch.empty(n), 3) for n in (0, 100, 101, 200, 300, 301, 1000, 10**4)] == [
        1, 1, 2, 2, 3, 6, 12, 12,
    ]  # fmt: skip


def test_a_child_has_its_own_threads():
    assert threads._starts_team(os.getpid() + 1) is None
    pool = threads._pool(1, 2)
    assert threads._pool(2, 2) is not pool
    assert threads._pool(1, 2) is pool


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 3, 700), (3, 19, 2000), (1, 40, 5000)])
@pytest.mark.parametrize("size", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("masked", [False, True])
def test_probabilities_and_the_way_back_from_them_are_exact(shape, size, masked):
    generator = torch.Generator().manual_seed(0)
    logits = size * torch.randn(shape, generator=generator)
    valid = torch.rand(shape[0], 1, shape[2], generator=generator) > 0.3 if masked else None
    if valid is not None:
        logits.masked_fill_(~valid & (torch.rand(valid.shape, generator=generator) > 0.5), torch.nan)
    kept = torch.ones(shape[0], 1, shape[2]).bool() if valid is None else valid
    exact = torch.where(kept, logits, 0).double().requires_grad_()
    p = torch.softmax(exact, 1) * kept
    found = native_probability.softmax(logits, valid)
    torch.testing.assert_close(found.double(), p, rtol=1e-5, atol=1e-37)  # the largest logit is taken off, and rounds

    slope, price = torch.randn(shape, generator=generator), torch.randn(shape[:2], generator=generator)
    (expected,) = torch.autograd.grad((p * slope * price.unsqueeze(2)).sum(), exact)
    native_probability.softmax_gradient(logits, valid, price, slope)
    assert (slope - expected).norm() <= 2e-6 * expected.norm() + 1e-7
    assert not slope[~kept.expand_as(slope)].any()


@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("size", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("masked", [False, True])
def test_masks_are_where_a_class_has_more_than_all_others(classes, size, masked):
    generator = torch.Generator().manual_seed(0)
    logits = size * torch.randn(2, classes, 3000, generator=generator)
    logits[:, :2, :1000] = logits[:, :, :1000].amax(1, keepdim=True) + 1  # none of the two has more than the other
    valid = torch.rand(2, 1, 3000, generator=generator) > 0.3 if masked else None
    p = logits.double().softmax(1)
    expected = p > 0.5
    found = native_probability.masks(logits, valid, True)
    assert not found[:, :, :1000].any()
    sure = (p - 0.5).abs().amin(1, keepdim=True) > 1e-6
    assert sure[:, :, 1000:].float().mean() > 0.99
    assert expected.any()
    assert (found == (expected if valid is None else expected & valid))[sure.expand_as(found)].all()


@pytest.mark.parametrize(("classes", "dtype"), [(2, torch.uint8), (40, torch.uint8), (300, torch.int32)])
def test_choices_are_the_masks_by_their_label(classes, dtype):
    logits = 4 * torch.randn(2, classes, 3000, generator=torch.Generator().manual_seed(0))
    logits[:, :2, :1000] = logits[:, :, :1000].amax(1, keepdim=True) + 1
    logits[:, :, 1000] = torch.nan
    found = native_probability.choices(logits, dtype)
    masks = native_probability.masks(logits, None, True)
    assert found.dtype == dtype
    assert torch.equal(found.long(), torch.where(masks.any(1), masks.long().argmax(1), classes))
    assert (found[:, :1001] == classes).all()
    assert (found < classes).any()


@pytest.mark.parametrize("masked", [False, True])
def test_masks_of_channels_are_where_a_logit_is_positive(masked):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 3000, generator=generator)
    logits[:, :, :5] = torch.tensor([0.0, -0.0, torch.nan, torch.inf, -torch.inf])
    valid = torch.rand(2, 1, 3000, generator=generator) > 0.3 if masked else torch.ones(2, 1, 3000, dtype=torch.bool)
    assert (native_probability.masks(logits, valid if masked else None, False) == ((logits > 0) & valid)).all()


@pytest.mark.parametrize("classes", [1, 2, 40])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("masked", [False, True])
def test_classes_are_where_their_labels_are(classes, dtype, masked):
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, max(2, classes), (2, 1, 9000), generator=generator).to(dtype)
    valid = torch.rand(2, 1, 9000, generator=generator) > 0.3 if masked else torch.ones(2, 1, 9000, dtype=torch.bool)
    expected = (labels == (torch.arange(classes).view(-1, 1) if classes > 1 else 1)) & valid
    logits = torch.zeros(2, classes, 9000)
    assert torch.equal(native_probability.truths(labels, valid if masked else None, logits), expected)
    if classes > 1:
        by_voxel = expected.mT.contiguous().mT
        assert torch.equal(native_probability.truths(by_voxel, valid if masked else None, logits), expected)


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize("of", ["p", "errors"])
@pytest.mark.parametrize("shape", [(1, 2, 3), (2, 3, 1500), (3, 19, 30_000)])
@pytest.mark.parametrize("masked", [False, True])
def test_priced_sums_and_their_gradient_are_exact(joint, of, shape, masked):
    generator = torch.Generator().manual_seed(0)
    logits, price = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    of_sums = torch.randn(shape[0], 4 if of == "errors" else 1, shape[1], generator=generator)
    valid = torch.rand(shape[0], 1, shape[2], generator=generator) > 0.3 if masked else None
    kept = torch.ones(shape[0], 1, shape[2]).bool() if valid is None else valid
    true = (torch.rand(shape, generator=generator) > 0.7) & kept if of == "errors" else None
    rim = 0.0 if of == "errors" else 0.7
    given = torch.where(kept, logits, torch.nan)

    exact = logits.double().requires_grad_()
    p = (torch.softmax(exact, 1) if joint else torch.sigmoid(exact)) * kept
    if true is None:
        each = [(price + rim * (price < 0)).double() * p]
    else:
        each = [p, p * true, true.double(), price.double() * (p - true.double()) ** 2]
    each = torch.stack(each, 1)
    expected = each.sum(3)
    (slope,) = torch.autograd.grad((expected * of_sums).sum(), exact)
    found = native_priced.priced_pass(given, valid, joint, price, true, rim)
    assert ((found - expected).abs() <= 1e-6 * each.abs().sum(3)).all()
    for gradient in (torch.empty_like(logits), price):  # which may be written over, last
        native_priced.priced_gradient(given, valid, joint, price, true, rim, of_sums, gradient)
        assert (gradient - slope).norm() <= 2e-6 * slope.norm()
        assert not gradient[~kept.expand_as(gradient)].any()


@pytest.mark.parametrize("maps", [1, 2])
@pytest.mark.parametrize(("shape", "dtype"), [((2, 3, 1500), torch.uint8), ((3, 19, 30_000), torch.int32)])
def test_labels_that_have_a_price_stand_for_maps(maps, shape, dtype):
    generator = torch.Generator().manual_seed(0)
    images, classes, voxels = shape
    logits, price = torch.randn(shape, generator=generator), torch.rand(images, maps, voxels, generator=generator)
    labels = torch.randint(0, classes + 1, (images, maps, voxels), generator=generator)
    of_sums = torch.randn(images, 4, classes, generator=generator)
    is_of = labels.unsqueeze(2) == torch.arange(classes).view(-1, 1)
    by_map = (is_of * price.unsqueeze(2)).sum(1), is_of[:, 0].contiguous()
    expected = native_priced.priced_pass(logits, None, True, *by_map, 0.0)
    found = native_priced.priced_pass(logits, None, True, price, labels.to(dtype), 0.0)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)
    expected, found = torch.empty_like(logits), torch.empty_like(logits)
    native_priced.priced_gradient(logits, None, True, *by_map, 0.0, of_sums, expected)
    native_priced.priced_gradient(logits, None, True, price, labels.to(dtype), 0.0, of_sums, found)
    assert (found - expected).norm() <= 1e-6 * expected.norm()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("loss", [segloss.lovasz_softmax_loss, segloss.boundary_loss, segloss.hausdorff_dt_loss])
def test_half_precision_is_read_as_float32(loss, dtype, monkeypatch):
    asked = []
    monkeypatch.setattr(native_probability, "share", lambda *given: asked.append(given) or native_parts.share(*given))
    logits, target = torch.randn(2, 3, 20, 20).to(dtype), torch.randint(0, 3, (2, 20, 20))
    found = []
    for x in (logits, logits.float()):
        leaf = x.clone().requires_grad_()
        value = loss(leaf, target)
        found.append((value.to(dtype), torch.autograd.grad(value, leaf)[0].to(dtype)))
        assert len(asked) > 1
        asked.clear()
    torch.testing.assert_close(found[0], found[1])


def test_a_price_of_all_images_is_that_of_each():
    logits, slope = torch.randn(2, 3, 5), torch.randn(2, 3, 5)
    price, other = torch.randn(1, 3), slope.clone()
    native_probability.softmax_gradient(logits, None, price, slope)
    native_probability.softmax_gradient(logits, None, price.repeat(2, 1), other)
    torch.testing.assert_close(slope, other)


def test_probabilities_of_what_is_not_a_number_are_none():
    logits = torch.randn(1, 3, 900)
    logits[0, 1, 70], logits[0, 2, 800] = torch.nan, torch.inf
    found = native_probability.softmax(logits, None).isnan()
    assert found.all(1).sum() == 2
    assert found.sum() == 6


def test_labels_are_read_as_they_lie():
    logits, labels = torch.randn(2, 12, 700), torch.randint(0, 12, (2, 700))
    moved = torch.nn.functional.one_hot(labels, 12).movedim(-1, 1).bool()
    for loss, first in itertools.product(LOSSES, (0, 1)):  # without the first channel neither order has no gaps
        found = []
        for target in (moved[:, first:], moved[:, first:].contiguous()):
            leaf = logits[:, first:].clone().requires_grad_()
            value = loss(leaf, target, activation="sigmoid")
            found.append((value.detach(), torch.autograd.grad(value, leaf)[0]))
        torch.testing.assert_close(*found, rtol=0, atol=0)
