"""Distance maps: brute force, every backend, and the masks that have no other side."""

import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from segloss.core import distance as core
from segloss.core import distance_backend, distance_map, signed_distance_map

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


@pytest.fixture(params=["scipy", "edt", "cupy", "auto"])
def backend(request, monkeypatch):
    """Each backend by itself, and what is chosen, where speckles are dealt with apart."""
    if request.param != "auto":
        monkeypatch.setattr(core, "SPECKLED", 1.0)
    if request.param == "edt":
        pytest.importorskip("edt")
    if request.param == "cupy":
        monkeypatch.setattr(core, "_imported", lambda name: Gpu if name == "cupy" else None)
        module = SimpleNamespace(distance_transform_edt=Gpu.transform)
        monkeypatch.setitem(sys.modules, "cupyx.scipy.ndimage", module)
    with distance_backend(request.param):
        yield request.param


def masks_of(shape, images=2, classes=3, share=0.3):
    return torch.rand(images, classes, *shape, generator=torch.Generator().manual_seed(0)) < share


def brute(masks, spacing, valid=None):
    """The distance to the nearest voxel of the other side, pair by pair."""
    at = torch.cartesian_prod(*(torch.arange(n) for n in masks.shape[2:])).view(-1, masks.ndim - 2) * torch.tensor(
        spacing
    )
    between = torch.cdist(at.double(), at.double(), compute_mode="donot_use_mm_for_euclid_dist")
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


def test_scipy_sweeps_where_distances_are_short_and_else_transforms(monkeypatch):
    masks = torch.zeros(1, 2, 50, 40, dtype=torch.bool)
    masks[:, 0, 3:5, 2] = masks[:, 1, ::4, ::3] = True
    expected = brute(masks, (0.5, 1.5)).float()
    calls = []
    monkeypatch.setattr(core, "SWEEPS", 20)
    monkeypatch.setattr(core, "SPECKLED", 1.0)
    for name in ("_swept", "_transformed"):
        original = getattr(core, name)
        monkeypatch.setattr(core, name, lambda *a, n=name, f=original: calls.append(n) or f(*a))
    with distance_backend("scipy"):
        torch.testing.assert_close(distance_map(masks, spacing=(0.5, 1.5), side="outside"), expected * ~masks)
    assert calls == ["_transformed", "_swept"]


@pytest.mark.parametrize("reach", [1, 2, 5])
def test_speckles_are_swept_as_far_as_need_be(monkeypatch, reach):
    monkeypatch.setattr(core, "NEAR", reach)
    masks = masks_of((9, 8, 7), share=0.5)
    masks[..., :4, :4, :4] = True
    expected = brute(masks, (1.0, 1.0, 1.5)).float()
    torch.testing.assert_close(distance_map(masks, spacing=(1.0, 1.0, 1.5)), expected, rtol=1e-6, atol=1e-6)


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


@pytest.mark.parametrize(("name", "command"), [("edt", r"segloss-catalog\[fast\]"), ("cupy", "install cupy")])
def test_a_backend_that_is_not_installed_says_how_to_get_it(monkeypatch, name, command):
    monkeypatch.setattr(core, "_imported", lambda name: None)
    with pytest.raises(ImportError, match=command), distance_backend(name):
        pass
    with distance_backend("auto"):
        assert {core._backend(torch.device(device), torch.float32) for device in ("cpu", "cuda")} == {"scipy"}


def test_the_choice_ends_with_the_block(monkeypatch):
    monkeypatch.setattr(core, "_imported", lambda name: Gpu)

    def chosen(device, dtype=torch.float32):
        return core._backend(torch.device(device), dtype)

    assert [chosen("cpu"), chosen("cuda"), chosen("cpu", torch.float64)] == ["edt", "cupy", "scipy"]
    with distance_backend("scipy"):
        assert chosen("cuda") == "scipy"
    assert chosen("cuda") == "cupy"
    with pytest.raises(ValueError, match="name"), distance_backend("numpy"):
        pass
