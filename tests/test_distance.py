"""Distance maps: brute force, every backend, and the masks that have no other side."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from segloss.boundary import hausdorff_dt_loss, log_hausdorff_dt_loss
from segloss.compound import dice_hd_loss
from segloss.core import distance as core
from segloss.core import distance_backend, distance_map, prepare, priced, signed_distance_map
from segloss.core import distance_transform as transform
from tests.again import same_whenever_asked

SHAPES = [((17,), (2.5,)), ((13, 9), (0.7, 2.5)), ((7, 11, 5), (3.0, 1.0, 0.5)), ((1, 6, 4), (1.0, 1.0, 1.0))]


class Gpu:
    """What a GPU's package offers of distances, on the CPU."""

    cuda = SimpleNamespace()
    asarray = staticmethod(lambda mask: mask.numpy())
    asnumpy = staticmethod(np.asarray)

    @staticmethod
    def transform(mask, sampling, float64_distances):
        """Where a mask is full, anything but the right answer; no line, as in the original."""
        assert mask.ndim in (2, 3)
        assert float64_distances
        return np.full(mask.shape, np.inf) if mask.all() else distance_transform_edt(mask, sampling=sampling)


@pytest.fixture(params=["scipy", "numba", "cupy"])
def backend(request, monkeypatch):
    if request.param == "numba":
        pytest.importorskip("numba")
    if request.param == "cupy":
        monkeypatch.setattr(transform, "_cupy_module", lambda: Gpu)
        module = SimpleNamespace(distance_transform_edt=Gpu.transform)
        monkeypatch.setitem(sys.modules, "cupyx.scipy.ndimage", module)
    with distance_backend(request.param):
        yield request.param


def masks_of(shape, images=2, classes=3, share=0.3):
    return torch.rand(images, classes, *shape, generator=torch.Generator().manual_seed(0)) < share


def brute(masks, spacing, valid=None):
    """The distance to the nearest voxel of the other side, pair by pair."""
    at = torch.cartesian_prod(*(torch.arange(n) for n in masks.shape[2:])).view(-1, masks.ndim - 2)
    at = at * torch.tensor(spacing, dtype=torch.float64)
    between = torch.cdist(at, at, compute_mode="donot_use_mm_for_euclid_dist")
    flat = masks.flatten(2)
    other = flat[..., :, None] != flat[..., None, :]
    if valid is not None:
        known = valid.flatten(2)
        other &= known[..., :, None] & known[..., None, :]
    nearest = between.where(other, math.inf).amin(-1)
    return nearest.where(nearest < math.inf, 0).view(masks.shape)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_every_backend_is_exact(backend, shape, spacing):
    masks, expected = masks_of(shape), brute(masks_of(shape), spacing)
    near = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(distance_map(masks, spacing=spacing), expected.float(), **near)
    torch.testing.assert_close(distance_map(masks, spacing=spacing, side="inside"), (expected * masks).float(), **near)
    outside = distance_map(masks, spacing=spacing, side="outside", dtype=torch.float64)
    torch.testing.assert_close(outside, expected * ~masks, **near)
    signed = signed_distance_map(masks, spacing=spacing)
    torch.testing.assert_close(signed, torch.where(masks, -expected, expected).float(), **near)


LARGE = [
    ((150,), (1.0,)),
    ((47, 40), (1.0, 0.7)),
    ((23, 90), (0.7, 1.0)),
    ((35, 3, 33), (1.0, 2.0, 1.0)),
    ((3, 60, 12), (1.0, 1.0, 1.0)),
    ((1, 42, 44), (1.0, 0.7, 2.0)),
]


def balls(shape):
    """A large ball, one at the edge, a voxel, none, and all but a voxel."""
    at = torch.stack(torch.meshgrid(*(torch.arange(n) for n in shape), indexing="ij"), -1)
    middle = torch.tensor(shape) // 2
    far = (at - middle).square().sum(-1)
    masks = [far < max(shape) ** 2 / 9, at.square().sum(-1) < 40, far == 0, far < 0, far > 0]
    return torch.stack(masks).unsqueeze(0)


@pytest.mark.parametrize(("shape", "spacing"), LARGE)
def test_distances_may_be_long(backend, shape, spacing):
    """So that lines are near, far, both, and without a voxel of the other side, and masks have few lines, or many."""
    masks = torch.cat([balls(shape), *(masks_of(shape, 1, 1, share) for share in (0.5, 0.05, 0.01))], 1)
    valid = masks_of(shape, 1, 1, 0.8)
    exact = {"rtol": 1e-12, "atol": 1e-12}
    for side in ("both", "inside", "outside"):
        for known in (None, valid):
            of_side = {"both": True, "inside": masks, "outside": ~masks}[side]
            expected = brute(masks, spacing, known) * of_side
            found = distance_map(masks, spacing=spacing, side=side, valid=known, dtype=torch.float64)
            torch.testing.assert_close(found, expected, **exact)
            found = distance_map(masks, spacing=spacing, side=side, valid=known)
            torch.testing.assert_close(found, expected.float(), rtol=3e-7, atol=0)


def regions(shape, classes, at_most):
    """Two maps of labels that differ voxel by voxel, or lie in runs of up to so many along each axis."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, classes, (2, 1, *(-(-n // at_most) for n in shape)), generator=generator)
    for axis, n in enumerate(shape, 2):
        coarse = coarse.repeat_interleave(at_most, axis).narrow(axis, 0, n)
    return coarse


@pytest.mark.parametrize(("shape", "spacing"), [*SHAPES, *LARGE])
@pytest.mark.parametrize("at_most", [1, 7, 15, 40])
@pytest.mark.parametrize(
    ("classes", "dtype"), [(1, torch.uint8), (2, torch.uint8), (5, torch.uint8), (300, torch.int32)]
)
def test_depths_are_distances_inside_of_the_mask_of_each_label(shape, spacing, at_most, classes, dtype):
    pytest.importorskip("numba")
    labels = regions(shape, classes, at_most)
    x = prepare(torch.zeros(2, 2, *shape), torch.zeros(2, *shape, dtype=torch.long))
    for power in (1.0, 2.0):
        found = core.label_depth(labels.to(dtype).flatten(2), x, spacing, power, classes).view(labels.shape)
        expected = torch.zeros(labels.shape)
        for label in labels.unique():
            with distance_backend("scipy"):
                expected += distance_map(labels == label, spacing=spacing, side="inside").pow(power)
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_share_depths(threads):
    pytest.importorskip("numba")
    labels = regions((40, 90, 80), 3, 5)
    x = prepare(torch.zeros(2, 2, 40, 90, 80), labels[:, 0] % 2)
    expected = sum(distance_map(labels == label, side="inside") for label in range(3))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = core.label_depth(labels.to(torch.uint8).flatten(2), x, None, 1.0, 3)
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(found.view(labels.shape), expected)


@pytest.mark.parametrize("images", [1, 5])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_share_masks_or_their_parts(threads, images):
    masks = masks_of((9, 11, 10), images=images, classes=1, share=0.05)
    expected = brute(masks, (1.0, 1.0, 1.0)).float()
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        torch.testing.assert_close(distance_map(masks), expected)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_powers_are_added_to_any_map(backend, power, dtype):
    masks = masks_of((8, 9))
    expected = 1 + brute(masks, (1.0, 1.0)).pow(power).to(dtype)
    for total in (torch.ones(masks.shape, dtype=dtype), torch.ones(2, 3, 9, 8, dtype=dtype).mT):
        transform.add_distances(total, masks, None, [1.0, 1.0], "both", power)
        torch.testing.assert_close(total, expected)


@pytest.mark.parametrize("channels", [2, 3])
def test_channels_before_the_first_are_left_as_they_are(backend, channels):
    inside = masks_of((8, 9))[:, :1]
    masks = torch.cat([~inside, *[inside] * (channels - 1)], 1)
    total = torch.ones(masks.shape)
    transform.add_distances(total, masks, None, [1.0, 1.0], "both", 1.0, 1)
    assert (total[:, 0] == 1).all()
    torch.testing.assert_close(total[:, 1:], 1 + brute(masks, (1.0, 1.0))[:, 1:].float())


def test_squares_of_steps_are_whole_numbers():
    masks = torch.cat([balls((70, 60)), masks_of((70, 60), 1, 3, 0.02)], 1)
    total = torch.zeros(masks.shape)
    transform.add_distances(total, masks, None, [1.0, 1.0], "both", 2.0)
    assert torch.equal(total, brute(masks, (1.0, 1.0)).square().round().float())


def test_no_voxels_have_no_distances(backend):
    assert distance_map(torch.zeros(2, 3, 0, 4, dtype=torch.bool)).shape == (2, 3, 0, 4)
    assert distance_map(torch.zeros(0, 3, 4, dtype=torch.bool)).shape == (0, 3, 4)


@pytest.mark.parametrize("side", ["both", "inside", "outside"])
def test_empty_and_full_masks_have_no_distance(backend, side):
    masks = torch.zeros(1, 3, 6, 5, dtype=torch.bool)
    masks[:, 1] = True
    masks[:, 2, 2:4, 1:3] = True
    distance = distance_map(masks, side=side)
    assert not distance[:, :2].any()
    assert distance[:, 2].any()
    assert not signed_distance_map(masks)[:, :2].any()


def test_two_classes_that_exclude_each_other_share_a_map(backend):
    first = masks_of((9, 8), classes=1)
    masks = torch.cat([first, ~first], 1)
    torch.testing.assert_close(distance_map(masks), brute(masks, (1.0, 1.0)).float())
    torch.testing.assert_close(distance_map(masks, side="inside"), (brute(masks, (1.0, 1.0)) * masks).float())


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_unknown_voxels_are_on_neither_side(backend, shape, spacing):
    valid = masks_of(shape, classes=1, share=0.7)
    valid[1] = True
    masks = masks_of(shape) & valid
    expected = brute(masks, spacing, valid)
    near = {"rtol": 1e-6, "atol": 1e-6}
    torch.testing.assert_close(distance_map(masks, spacing=spacing, valid=valid), expected.float(), **near)
    signed = signed_distance_map(masks, spacing=spacing, valid=valid)
    torch.testing.assert_close(signed, torch.where(masks, -expected, expected).float(), **near)
    assert not distance_map(valid, valid=valid)[0].any()


def test_strides_and_gradients_of_masks_do_not_matter(backend):
    masks = masks_of((6, 7, 8))
    turned = masks.permute(0, 1, 4, 2, 3)
    expected = distance_map(masks, spacing=(1, 2, 3)).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(distance_map(turned, spacing=(3, 1, 2)), expected)
    assert not expected.requires_grad


def test_the_map_is_one_operator_of_a_compiled_graph():
    masks = masks_of((9, 8))
    compiled = torch.compile(lambda m: signed_distance_map(m).relu().sum(), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(masks), signed_distance_map(masks).relu().sum())


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan), (1.0, math.inf), ()])
def test_spacing_is_one_positive_number_an_axis(spacing):
    with pytest.raises(ValueError, match="spacing must be 2 positive numbers"):
        distance_map(masks_of((4, 4)), spacing=spacing)


def test_what_is_not_a_mask_is_refused():
    with pytest.raises(TypeError, match="spacing must be a sequence"):
        distance_map(masks_of((4, 4)), spacing=2.0)
    with pytest.raises(TypeError, match="masks"):
        distance_map([[True]])
    with pytest.raises(ValueError, match="masks must be boolean"):
        distance_map(masks_of((4, 4)).float())
    with pytest.raises(ValueError, match="masks must be boolean"):
        distance_map(masks_of(()))
    with pytest.raises(ValueError, match="side"):
        distance_map(masks_of((4, 4)), side="left")


def test_a_backend_that_is_not_there_says_so(monkeypatch):
    monkeypatch.setattr(transform, "_cupy_module", lambda: None)
    monkeypatch.setattr(transform, "compiled", lambda name: None)
    for name, command in (("numba", "numba cannot be loaded"), ("cupy", "install cupy")):
        with pytest.raises(ImportError, match=command), distance_backend(name):
            pass
    with distance_backend("auto"):
        assert {transform.backend_of(torch.device(device)) for device in ("cpu", "cuda")} == {"scipy"}


def test_the_choice_ends_with_the_block(monkeypatch):
    monkeypatch.setattr(transform, "_cupy_module", lambda: Gpu)
    monkeypatch.setattr(transform, "compiled", lambda name: transform)

    def chosen(device):
        return transform.backend_of(torch.device(device))

    assert [chosen("cpu"), chosen("cuda")] == ["numba", "cupy"]
    with distance_backend("scipy"):
        assert chosen("cuda") == "scipy"
    assert chosen("cuda") == "cupy"
    with pytest.raises(ValueError, match="name"), distance_backend("edt"):
        pass


@pytest.mark.parametrize("loops", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize("loss", [hausdorff_dt_loss, log_hausdorff_dt_loss])
def test_the_gradient_may_be_asked_for_twice(loss, loops, dtype, given, monkeypatch):
    if not loops:
        monkeypatch.setattr(priced, "loops_for", lambda *_: None)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 6, 7, generator=generator, dtype=dtype).requires_grad_()
    masks = torch.rand(2, 3, 6, 7, generator=generator) > 0.6
    distance = signed_distance_map(masks) if given else None
    before = None if distance is None else distance.clone()

    same_whenever_asked(lambda: loss(logits, masks, activation="sigmoid", distance=distance), logits)
    assert distance is None or torch.equal(distance, before)


@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("background", [False, True])
def test_distances_of_masks_in_pieces_are_those_of_all(one_sided, background, monkeypatch):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 7, 9, 11, generator=generator).requires_grad_()
    labels = torch.rand(2, 9, 11, 7, generator=generator).gt(0.6).movedim(-1, 1)
    loss, how = (hausdorff_dt_loss, {"one_sided": True}) if one_sided else (dice_hd_loss, {})
    how |= {"activation": "sigmoid", "include_background": background}

    def value_and_gradient() -> list[torch.Tensor]:
        value = loss(logits, labels, **how)
        return [value, *torch.autograd.grad(value, logits)]

    whole = value_and_gradient()
    pieces, apart = [], priced._pieces

    def spy(x):
        pieces.extend(apart(x))
        return iter(pieces)

    for name in ("FEW", "LARGE"):
        monkeypatch.setattr(priced, name, 1)
    monkeypatch.setattr(priced, "_pieces", spy)
    for ours, theirs in zip(value_and_gradient(), whole, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(pieces) == 4
