"""Losses on persistence diagrams beside naive transcriptions, shapes whose bars are known, and hard cases."""

import itertools

import numpy as np
import pytest
import torch

import segloss
from segloss.core import betti_numbers, homology_backend
from segloss.core import persistence_libraries as libraries
from segloss.core.homology import patches
from segloss.testing.samples import sample
from tests.test_homology import components

CUBES, VERTICES = "T", "V"


def voxelwise(values, seed=0):
    """Logits of probabilities, in double precision."""
    return torch.as_tensor(values, dtype=torch.float64).logit().requires_grad_()


def random_maps(shape, seed=0):
    random = np.random.default_rng(seed)
    p, g = random.uniform(0.02, 0.98, (2, 1, *shape)), random.random((2, *shape)) < 0.5
    return voxelwise(p), torch.as_tensor(g).long(), p[:, 0], g


def naive_bars(p, construction):
    """Births and deaths by dimension: components, and in a plane the holes, which are components of the background."""
    bars = [[(birth, death) for birth, death, *_ in components(p, construction)]]
    if p.ndim == 2:
        outside = np.pad(-p, 1, constant_values=np.inf)
        opposite = {"T": "V", "V": "T", "freudenthal": "freudenthal"}[construction]
        bars.append([(-death, -birth) for birth, death, *_ in components(outside, opposite)])
    return bars


def naive_topological_loss(p, g, construction, threshold):
    if g.all() or not g.any():
        return 0.0
    loss = 0.0
    for predicted, true in zip(naive_bars(p, construction), naive_bars(g.astype(float), construction), strict=True):
        ordered = sorted(predicted, key=lambda bar: bar[1] - bar[0])
        for place, (birth, death) in enumerate(ordered):
            b, d = 1 - birth, 1 - death
            loss += b**2 + (1 - d) ** 2 if place < len(true) else (d - b) ** 2 / 2 if d - b > threshold else 0
    return loss


def naive_prior_loss(p, betti, construction, exponent):
    loss = 0.0
    for dimension, bars in enumerate(naive_bars(p, construction)):
        wanted = max(betti[0] - 1, 0) if dimension == 0 else betti[dimension]
        lengths = sorted((birth - death for birth, death in bars), reverse=True)
        loss += sum(1 - length**exponent for length in lengths[:wanted]) + max(0, wanted - len(lengths))
        loss += sum(length**exponent for length in lengths[wanted:])
    return loss


@pytest.mark.parametrize("construction", ["T", "V", "freudenthal"])
@pytest.mark.parametrize("threshold", [0.0, 0.2])
@pytest.mark.parametrize(("shape", "patch"), [((17,), None), ((17,), (6,)), ((9, 8), None), ((9, 8), (4, 5))])
def test_topological_loss_is_the_naive_one(shape, patch, threshold, construction):
    logits, target, p, g = random_maps(shape)
    keywords = {"patch_size": patch, "threshold": threshold, "construction": construction}
    loss = segloss.topological_loss(logits, target, reduction="none", **keywords)
    for found, image, truth in zip(loss[:, 0].tolist(), p, g, strict=True):
        boxes = patches(shape, patch or ())
        expected = sum(naive_topological_loss(image[box], truth[box], construction, threshold) for box in boxes)
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("construction", ["T", "V", "freudenthal"])
@pytest.mark.parametrize("exponent", [1.0, 2.0, 0.5])
@pytest.mark.parametrize("betti", [(1, 0), (3, 2), (0, 1), (2, 40)])
def test_topological_prior_loss_is_the_naive_one(betti, exponent, construction):
    logits, target, p, _ = random_maps((9, 8), seed=1)
    keywords = {"prior": {1: betti}, "exponent": exponent, "construction": construction}
    loss = segloss.topological_prior_loss(logits, target, reduction="none", **keywords)
    expected = [naive_prior_loss(image, betti, construction, exponent) for image in p]
    assert loss.tolist() == pytest.approx(expected, rel=1e-12)


def test_labels_together_are_the_sum_of_their_probabilities():
    logits, target = torch.randn(2, 4, 9, 8, dtype=torch.float64), torch.zeros(2, 9, 8, dtype=torch.long)
    prior = {1: (1, 0), (1, 3): (2, 1), (3, 2, 1): (1, 1)}
    loss = segloss.topological_prior_loss(logits, target, prior=prior, reduction="none")
    p = logits.softmax(1).numpy()
    for image, found in zip(p, loss.tolist(), strict=True):
        maps = image[1], image[1] + image[3], image[1:].sum(0)
        expected = sum(naive_prior_loss(s, b, VERTICES, 1) for s, b in zip(maps, prior.values(), strict=True))
        assert found == pytest.approx(expected, rel=1e-12)


def ring(gap, centre, ground, wall=0.9):
    """A ring of one voxel's width with a gap, and one voxel in its middle."""
    p = np.full((1, 1, 9, 9), ground)
    p[..., 2:7, 2:7] = wall
    p[..., 3:6, 3:6] = ground
    p[..., 4, 4], p[..., 2, 4] = centre, gap
    truth = np.zeros((1, 9, 9), dtype=int)
    truth[:, 2:7, 2:7] = 1
    truth[:, 3:6, 3:6] = 0
    return voxelwise(p), torch.as_tensor(truth)


@pytest.mark.parametrize("construction", [CUBES, VERTICES])
def test_a_ring_with_a_gap_is_pulled_at_two_voxels(construction):
    logits, target = ring(gap=0.4, centre=0.05, ground=0.1)
    p = logits.sigmoid()
    p.retain_grad()
    loss = segloss.topological_loss(p, target, activation="none", construction=construction)
    loss.backward()
    b, d = 1 - 0.4, 1 - 0.05
    assert loss.item() == pytest.approx(b**2 + (1 - d) ** 2)
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[2, 4], expected[4, 4] = -2 * b, 2 * (1 - d)
    torch.testing.assert_close(p.grad[0, 0], expected)


@pytest.mark.parametrize("construction", [CUBES, VERTICES])
def test_a_false_hole_is_closed_at_two_voxels(construction):
    logits, target = ring(gap=0.8, centre=0.05, ground=0.1)
    p = logits.sigmoid()
    p.retain_grad()
    solid = target.clone()
    solid[:, 3:6, 3:6] = 1
    segloss.topological_loss(p, solid, activation="none", construction=construction).backward()
    expected = torch.zeros(9, 9, dtype=torch.float64)
    expected[2, 4], expected[4, 4] = 0.75, -0.75
    torch.testing.assert_close(p.grad[0, 0], expected)


@pytest.mark.parametrize("construction", ["T", "V"])
@pytest.mark.parametrize("exponent", [1.0, 2.0])
@pytest.mark.parametrize("shape", [(15,), (9, 8), (6, 5, 7)])
def test_a_sure_prediction_costs_one_a_feature_too_many_or_missing(shape, exponent, construction):
    random = np.random.default_rng(2)
    masks = random.random((3, *shape)) < 0.4
    wanted = (2, 1, 3)[: len(shape)]
    logits = torch.where(torch.as_tensor(masks), 60.0, -60.0).double().unsqueeze(1)
    loss = segloss.topological_prior_loss(
        logits,
        torch.zeros(3, *shape, dtype=torch.long),
        prior={1: wanted},
        exponent=exponent,
        construction=construction,
        reduction="none",
    )
    found = [np.abs(np.subtract(betti_numbers(mask, construction), wanted)).sum() for mask in masks]
    assert loss.tolist() == pytest.approx(found, abs=1e-9)


@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel"])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_truth_costs_nothing(task, dims):
    case = sample(task, dims)
    logits = 100 * (2 * case.truth - 1)
    activation = "sigmoid" if task == "multilabel" else "auto"
    for loss in (segloss.topological_loss, segloss.topological_prior_loss):
        assert loss(logits, case.target, activation=activation).item() == pytest.approx(0, abs=1e-9)


def test_numbers_of_the_target_are_a_prior_of_every_label_and_pair():
    case = sample("multiclass", 2)
    truth = case.truth.bool().numpy()
    for image in range(2):
        groups = [*itertools.combinations(range(1, 4), 1), *itertools.combinations(range(1, 4), 2)]
        prior = {labels: betti_numbers(truth[image, list(labels)].any(0), VERTICES) for labels in groups}
        given = case.logits[image : image + 1], case.target[image : image + 1]
        found = segloss.topological_prior_loss(*given), segloss.topological_prior_loss(*given, prior=prior)
        torch.testing.assert_close(*found)


def test_dimensions_add_up():
    logits, target, *_ = random_maps((5, 6, 4))
    each = [segloss.topological_loss(logits, target, dimensions=[d], patch_size=4) for d in range(3)]
    torch.testing.assert_close(segloss.topological_loss(logits, target, patch_size=4), sum(each))
    two = segloss.topological_loss(logits, target, dimensions=[2, 0], patch_size=4)
    torch.testing.assert_close(two, each[0] + each[2])


def test_an_image_smaller_than_a_patch_is_one_patch():
    logits, target, *_ = random_maps((7, 6))
    whole = segloss.topological_loss(logits, target, patch_size=None)
    for patch in (65, (7, 6), (100, 6)):
        torch.testing.assert_close(segloss.topological_loss(logits, target, patch_size=patch), whole)


def test_only_the_longest_bars_count():
    logits, target, p, _ = random_maps((9, 8))
    found = segloss.topological_prior_loss(logits, target, prior={1: (1, 0)}, max_bars=3, reduction="none")
    for image, value in zip(p, found.tolist(), strict=True):
        lengths = [sorted((b - d for b, d in bars), reverse=True)[:3] for bars in naive_bars(image, VERTICES)]
        assert value == pytest.approx(sum(map(sum, lengths)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_box_of_the_foreground_is_a_crop(channels):
    logits = torch.full((1, channels, 9, 10), -1.0, dtype=torch.float64)
    inside = torch.randn(1, channels, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits[..., 2:6, 3:8] = inside
    logits[:, -1, 2, 3] = logits[:, -1, 5, 7] = 9
    logits[:, 0] += 4 if channels > 1 else 0
    p = logits.softmax(1)[:, 1:].sum(1) if channels > 1 else logits.sigmoid()[:, 0]
    threshold = p[:, [0, 1, 6], :].max().item() + 1e-6
    corners = (p >= threshold)[0].nonzero()
    box = tuple(slice(*ends) for ends in zip(corners.amin(0).tolist(), (corners.amax(0) + 1).tolist(), strict=True))
    target, prior = torch.zeros(1, 9, 10, dtype=torch.long), {1: (2, 1)}
    crop = segloss.topological_prior_loss(logits[(..., *box)], target[(..., *box)], prior=prior)
    found = segloss.topological_prior_loss(logits, target, prior=prior, threshold=threshold)
    torch.testing.assert_close(found, crop)
    assert abs(found - segloss.topological_prior_loss(logits, target, prior=prior)) > 1e-3
    nowhere = segloss.topological_prior_loss(logits, target, prior=prior, threshold=2)
    assert nowhere == 2


def zero(loss, logits):
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize("channels", [1, 3])
def test_without_features_there_is_no_loss(channels):
    shape = (2, channels, 8, 9)
    flat, noisy = torch.zeros(shape, requires_grad=True), torch.randn(shape, requires_grad=True)
    blob = torch.zeros(2, 8, 9, dtype=torch.long)
    blob[:, 2:5, 2:5] = 1
    zero(segloss.topological_loss(flat, blob), flat)
    zero(segloss.topological_prior_loss(flat, blob, prior={1: (1, 0)}), flat)
    empty = torch.zeros_like(blob)
    full = torch.full_like(blob, max(1, channels - 1))
    for target in (empty, full):
        zero(segloss.topological_loss(noisy, target), noisy)
    one = torch.randn(2, channels, 1, 1, requires_grad=True)
    zero(segloss.topological_loss(one, empty[:, :1, :1]), one)
    zero(segloss.topological_prior_loss(one, empty[:, :1, :1]), one)


def test_labels_without_a_prior_are_free():
    logits = torch.randn(1, 4, 8, 9, requires_grad=True)
    target = torch.zeros(1, 4, 8, 9, dtype=torch.bool)
    segloss.topological_prior_loss(logits, target, prior={2: (1, 0)}, activation="sigmoid").backward()
    assert logits.grad.flatten(2).any(2).tolist() == [[False, False, True, False]]


PLANE = torch.zeros(1, 3, 6, 6), torch.zeros(1, 6, 6, dtype=torch.long)


@pytest.mark.parametrize(
    "prior",
    [
        {},
        {3: (1, 0)},
        {-1: (1, 0)},
        {"1": (1, 0)},
        {(1, 5): (1, 0)},
        {(1, 1): (1, 0)},
        {1: (1, 0), (1,): (2, 0)},
        {(): (1, 0)},
        {1: (1,)},
        {1: (1, 0, 0)},
        {1: (1, -1)},
        {1: (1.5, 0)},
        {1: 1},
        [(1, 0)],
    ],
)
def test_wrong_priors_are_refused(prior):
    with pytest.raises(ValueError, match="prior"):
        segloss.topological_prior_loss(*PLANE, prior=prior)


def test_labels_that_may_overlap_have_no_prior_together():
    target = torch.zeros(1, 3, 6, 6, dtype=torch.bool)
    with pytest.raises(ValueError, match="prior"):
        segloss.topological_prior_loss(PLANE[0], target, prior={(1, 2): (1, 0)}, activation="sigmoid")
    with pytest.raises(ValueError, match="prior"):
        segloss.topological_prior_loss(PLANE[0][:, :1], PLANE[1], prior={0: (1, 0)})


@pytest.mark.parametrize(
    ("loss", "keywords"),
    [
        (segloss.topological_loss, {"patch_size": 0}),
        (segloss.topological_loss, {"patch_size": (3,)}),
        (segloss.topological_loss, {"patch_size": (3, -2)}),
        (segloss.topological_loss, {"patch_size": 2.5}),
        (segloss.topological_loss, {"dimensions": [2]}),
        (segloss.topological_loss, {"dimensions": []}),
        (segloss.topological_loss, {"threshold": -1}),
        (segloss.topological_loss, {"construction": "N"}),
        (segloss.topological_prior_loss, {"construction": "0"}),
        (segloss.topological_prior_loss, {"exponent": 0}),
        (segloss.topological_prior_loss, {"max_bars": 0}),
    ],
)
def test_wrong_parameters_are_refused(loss, keywords):
    with pytest.raises(ValueError, match=next(iter(keywords))):
        loss(*PLANE, **keywords)


@pytest.mark.parametrize("loss", [segloss.topological_loss, segloss.topological_prior_loss])
def test_the_library_changes_nothing(loss):
    pytest.importorskip("cripser")
    case = sample("multiclass", 3)
    values, gradients = [], []
    for name in ("gudhi", "cripser"):
        logits = case.logits.clone().requires_grad_()
        with homology_backend(name):
            values.append(loss(logits, case.target))
        gradients += torch.autograd.grad(values[-1], logits)
    torch.testing.assert_close(*values)
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("loss", [segloss.topological_loss, segloss.topological_prior_loss])
def test_without_a_library_the_extra_is_named(loss, monkeypatch):
    monkeypatch.setattr(libraries, "_is_installed", lambda name: False)
    with pytest.raises(ImportError, match=r'pip install "segloss-catalog\[topology\]"'):
        loss(*PLANE)
