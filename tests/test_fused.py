"""The kernels of a GPU against the pass of blocks; where there is none, in triton's interpreter: see conftest."""

import importlib
import sys
from dataclasses import replace

import pytest
import torch

from segloss.core import one_pass
from segloss.core.compiled import compiled
from segloss.core.named import CROSS_ENTROPY, focused, together
from segloss.core.truth import SQUARES, How, VoxelLoss

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="triton has wheels for Linux")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(2, 3, 1100), (1, 19, 257), (1, 2, 70), (1, 70, 33)]
CHANNELS = [(2, 3, 4200), (2, 1, 1100)]
LABELS = torch.zeros(1, 1, 4, dtype=torch.long)
UNKNOWN = VoxelLoss(lambda q, ce: q)
ALONE = How("softmax", False, True, sums=False, likelihood=True)
WANTED = {
    "sums": How("softmax", False, True),
    "likelihood": ALONE,
    "sums and cross-entropy": How("softmax", False, True, voxel=CROSS_ENTROPY),
    "focal": How("softmax", False, True, sums=False, voxel=focused(2.0)),
    "two losses": How("softmax", False, True, voxel=together(CROSS_ENTROPY, focused(2.0))),
    "squares": How("softmax", False, True, squares=True, voxel=focused(0.5)),
    "all": How("softmax", False, True, likelihood=True, voxel=focused(1.5)),
    "a margin": How("softmax", False, True, voxel=together(CROSS_ENTROPY, focused(2.0)), lowered=torch.ones(1)),
    "classes true together": How("softmax", False, True, voxel=CROSS_ENTROPY, known=torch.ones(1, 1) > 0),
    "likelihood of classes true together": replace(ALONE, known=torch.ones(1, 1) > 0),
    "a cost": How("softmax", False, True, squares=True, cost=torch.ones(1, 1)),
    "a factor": How("softmax", False, True, voxel=focused(2.0), scale=3),
}
CLASSES_APART = {
    "sums": How("softmax", True, True),
    "squares": How("softmax", True, True, squares=True),
}
EACH = {
    "sums, soft labels": How("sigmoid", True, False),
    "sums": How("sigmoid", True, False),
    "squares": How("sigmoid", True, False, squares=True),
    "likelihood": How("sigmoid", True, False, sums=False, likelihood=True),
    "cross-entropy": How("sigmoid", True, False, voxel=CROSS_ENTROPY),
    "all": How("sigmoid", True, False, squares=True, likelihood=True, voxel=focused(0.5)),
    "a factor and a margin": How("sigmoid", True, False, voxel=focused(2.0), scale=3, lowered=torch.ones(1)),
}
ROUNDING = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2}}
ROUNDING[torch.float16] = {"rtol": 2e-3, "atol": 2e-3}


def samples(first, *others):
    """Shapes with and without a mask, and the first in bfloat16."""
    every = [(first, True, torch.float32), (first, True, torch.bfloat16)]
    return every + [(shape, masked, torch.float32) for shape in others for masked in (False, True)]


@pytest.fixture(scope="module")
def kernels():
    return importlib.import_module("segloss.core.fused")


def there(x):
    return x.to(DEVICE) if isinstance(x, torch.Tensor) else x


def sample(shape, dtype, masked):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(shape, generator=generator).to(dtype)
    labels = torch.randint(0, shape[1], (shape[0], 1, shape[2]), generator=generator)
    if not masked:
        return logits, labels, None
    valid = torch.rand(labels.shape, generator=generator) > 0.3
    return logits.masked_fill(~valid, torch.nan), labels.masked_fill(~valid, 255), valid


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(("shape", "masked", "dtype"), samples(*SHAPES), ids=str)
def test_kernels_give_what_blocks_give(kernels, wanted, shape, masked, dtype):
    how, classes, (logits, labels, valid) = WANTED[wanted], shape[1], sample(shape, dtype, masked)
    if how.lowered is not None:
        how = replace(how, lowered=torch.arange(classes) / classes)
    if how.known is not None:
        how = replace(how, known=torch.arange(classes).expand(shape[0], -1) % 3 == 0)
        labels = torch.where(labels == 255, labels, labels // 3 * 3)  # what is not known is background
    if how.cost is not None:
        how = replace(how, cost=torch.rand(classes, classes))
    agree(kernels, how, logits, labels, valid)


@pytest.mark.parametrize(("wanted", "soft"), [("sums", False), ("sums", True), ("squares", False)])
@pytest.mark.parametrize(("shape", "masked"), [(SHAPES[0], True), (SHAPES[1], False)], ids=str)
def test_kernels_of_memberships_give_what_blocks_give(kernels, wanted, soft, shape, masked):
    how, (logits, _, valid) = CLASSES_APART[wanted], sample(shape, torch.float32, masked)
    labels = torch.rand(shape)
    agree(kernels, how, logits, labels if soft else labels > 0.7, valid)


@pytest.mark.parametrize("wanted", EACH)
@pytest.mark.parametrize("indices", [True, False])
@pytest.mark.parametrize(("shape", "masked", "dtype"), samples(*CHANNELS), ids=str)
def test_kernels_of_channels_give_what_blocks_give(kernels, wanted, indices, shape, masked, dtype):
    how, (logits, labels, valid) = EACH[wanted], sample(shape, dtype, masked)
    if indices and shape[1] == 1:
        labels = torch.where(labels == 255, labels, torch.rand(labels.shape) > 0.7)
    elif not indices:
        labels = torch.rand(shape)
        labels = labels if wanted == "sums, soft labels" else labels > 0.7
    how = replace(how, dense=not indices, lowered=None if how.lowered is None else torch.randn(shape[1]))
    agree(kernels, how, logits, labels, valid)


@pytest.fixture(autouse=True)
def _blocks(monkeypatch):
    """Where no kernels are asked for by name, the pass goes by blocks."""
    monkeypatch.setattr(one_pass, "compiled", lambda name: None)


def agree(kernels, how, logits, labels, valid):
    if how.voxel is not None:
        how = replace(how, weights=torch.rand(logits.shape[0], 1, logits.shape[2]))
    leaf = logits.clone().requires_grad_()
    theirs = one_pass._Pass.apply(leaf, labels, valid, how, None)
    on_device = replace(how, **{name: there(getattr(how, name)) for name in ("weights", "lowered", "known", "cost")})
    assert kernels.takes(logits, labels, on_device)
    room = kernels.room_for(there(logits), on_device)
    ours = kernels.fused_pass(*map(there, (logits, labels, valid)), on_device, room)
    for one, other in zip(ours, theirs, strict=True):
        assert (one is None) == (other is None)
        if one is not None:
            assert one.dtype == other.dtype
            torch.testing.assert_close(one.cpu(), other.detach(), rtol=2e-5, atol=2e-5)
    prices = [None if it is None else torch.randn_like(it) for it in theirs]
    if prices[0] is not None:
        prices[0][:, 2] = 0  # the number of voxels of a class has no gradient
    value = sum((it * price).sum() for it, price in zip(theirs, prices, strict=True) if it is not None)
    (expected,) = torch.autograd.grad(value, leaf)
    prices = [None if price is None else price * how.scale for price in prices]
    for kept in (room, None):
        found = kernels.fused_gradient(*map(there, (logits, labels, valid)), on_device, kept, *map(there, prices))
        torch.testing.assert_close(found.cpu(), expected, **ROUNDING[logits.dtype])


def test_logits_may_lie_in_any_order(kernels):
    logits, labels, _ = map(there, sample((2, 5, 90), torch.float32, False))
    other = logits.transpose(1, 2).contiguous().transpose(1, 2)
    one, two = (kernels.fused_pass(x, labels, None, WANTED["sums"], None)[0] for x in (logits, other))
    torch.testing.assert_close(one, two)
    price = there(torch.randn(2, 3, 5))
    one, two = (kernels.fused_gradient(x, labels, None, ALONE, None, price, None, None) for x in (logits, other))
    torch.testing.assert_close(one, two)


def test_a_pass_is_of_the_kernels_only_where_they_can_run(kernels, monkeypatch):
    logits, plain = torch.zeros(1, 3, 4), WANTED["sums"]
    assert one_pass.kernels_for(logits, LABELS, plain) is None
    monkeypatch.setattr(one_pass, "compiled", lambda name: kernels)
    assert one_pass.kernels_for(logits, LABELS, plain) is kernels
    each = EACH["sums"]
    for how in (replace(each, cost=logits), replace(plain, terms=(SQUARES,)), replace(each, voxel=UNKNOWN)):
        assert one_pass.kernels_for(logits, LABELS, how) is None
    assert one_pass.kernels_for(logits, LABELS, replace(CLASSES_APART["sums"], voxel=CROSS_ENTROPY)) is None
    assert one_pass.kernels_for(logits.double(), LABELS, plain) is None
    assert one_pass.kernels_for(torch.zeros(1, 2000, 1), LABELS, plain) is None


def test_blocks_do_where_kernels_cannot_be_made(monkeypatch):
    compiled.cache_clear()
    for name in ("fused", "native_pass", "native_lovasz"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, f"segloss.core.{name}", None)  # as if it could not be imported
            assert compiled(name) is None
    compiled.cache_clear()
    assert one_pass.kernels_for(torch.zeros(1, 3, 4, device="meta"), LABELS, WANTED["sums"]) is None
