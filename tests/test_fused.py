"""The kernels of a GPU against the pass of blocks; where there is none, in triton's interpreter: see conftest."""

import importlib
import itertools
import sys

import pytest
import torch

from segloss.core import sums
from segloss.core.truth import CROSS_ENTROPY, How, focused, together

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="triton has wheels for Linux")
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SHAPES = [(2, 2, 70), (2, 3, 1100), (1, 19, 257), (1, 70, 33)]
ALONE = How("softmax", False, True, sums=False, likelihood=True)
WANTED = {
    "sums": How("softmax", False, True),
    "likelihood": ALONE,
    "sums and cross-entropy": How("softmax", False, True, voxel=CROSS_ENTROPY),
    "focal": How("softmax", False, True, sums=False, voxel=focused(2.0)),
    "two losses": How("softmax", False, True, voxel=together(CROSS_ENTROPY, focused(2.0))),
    "all": How("softmax", False, True, likelihood=True, voxel=focused(1.5)),
}
ROUNDING = {torch.float32: {"rtol": 2e-5, "atol": 2e-5}, torch.bfloat16: {"rtol": 1e-2, "atol": 1e-2}}


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
    return logits, labels.masked_fill(~valid, 255), valid


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize(("shape", "masked"), list(itertools.product(SHAPES, (False, True))), ids=str)
@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_kernels_give_what_blocks_give(kernels, wanted, shape, masked, dtype):
    how = WANTED[wanted]
    if how.voxel is not None:
        how = How(**{**vars(how), "weights": torch.rand(shape[0], 1, shape[2])})
    logits, labels, valid = sample(shape, dtype, masked)
    leaf = logits.clone().requires_grad_()
    theirs = sums._Pass.apply(leaf, labels, valid, how, None)
    on_device = How(**{**vars(how), "weights": there(how.weights)})
    room = None if how.slope is None else kernels.empty_map(there(logits))
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
    for kept in (room, None):
        found = kernels.fused_gradient(*map(there, (logits, labels, valid)), on_device, kept, *map(there, prices))
        torch.testing.assert_close(found.cpu(), expected, **ROUNDING[dtype])


def test_logits_may_lie_in_any_order(kernels):
    logits, labels, _ = map(there, sample((2, 5, 90), torch.float32, False))
    other = logits.transpose(1, 2).contiguous().transpose(1, 2)
    one, two = (kernels.fused_pass(x, labels, None, WANTED["sums"], None)[0] for x in (logits, other))
    assert torch.equal(one, two)
    price = there(torch.randn(2, 3, 5))
    one, two = (kernels.fused_gradient(x, labels, None, ALONE, None, price, None, None) for x in (logits, other))
    assert torch.equal(one, two)


def test_a_pass_is_of_the_kernels_only_where_they_can_run(monkeypatch):
    logits = torch.zeros(1, 3, 4)
    assert sums.kernels_for(logits, WANTED["sums"]) is None
    monkeypatch.setattr(sums, "_kernels", lambda device: sys)
    assert sums.kernels_for(logits, WANTED["sums"]) is sys
    for how in (How("sigmoid", False, False), How("softmax", True, True), How("softmax", False, True, cost=logits)):
        assert sums.kernels_for(logits, how) is None
    assert sums.kernels_for(logits.double(), WANTED["sums"]) is None
    assert sums.kernels_for(torch.zeros(1, 2000, 1), WANTED["sums"]) is None


def test_blocks_do_where_kernels_cannot_be_made(monkeypatch):
    find = sums._kernels.__wrapped__
    assert find(torch.device("cpu")) is None

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(sums.importlib, "import_module", absent)
    assert find(torch.device("cuda")) is None
