"""Identities of the structural family."""

import itertools
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F

import segloss
from segloss.core import window_mean, window_scatter
from segloss.core.windows import windows
from tests.test_identities import batch, same

SHAPES = [(17,), (9, 8), (6, 5, 7)]


def places(shape, size):
    """The corner of every window inside."""
    return itertools.product(*(range(n - size + 1) for n in shape))


def bound(p, g, size, xi=5e-4):
    """log det(M + ξI) / (2 d) of one map, window by window."""

    def points(y):
        cut = [y[tuple(slice(at, at + size) for at in place)].flatten() for place in places(y.shape, size)]
        points = torch.stack(cut, 1)
        return points - points.mean(1, keepdim=True)

    P, Y = points(p), points(g)
    eye = torch.eye(len(P), dtype=P.dtype)
    M = Y @ Y.T - Y @ P.T @ torch.linalg.inv(P @ P.T + xi * eye) @ P @ Y.T
    return torch.logdet(M + xi * eye) / (2 * len(P))


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_bound_is_that_of_the_schur_complement(shape, size):
    logits, target = batch(3, shape=shape)
    truth, p = F.one_hot(target, 3).movedim(-1, 1).double(), logits.sigmoid()
    expected = sum(bound(p[b, c], truth[b, c], size) for b in range(2) for c in range(3)) / 2
    loss = segloss.region_mutual_information_loss(
        logits, target, window_size=size, pool_size=1, ce_weight=0.0, rmi_weight=1.0
    )
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cross_entropy", ["sigmoid", "softmax"])
def test_without_the_bound_it_is_cross_entropy(cross_entropy):
    logits, target = batch(4)
    target[0, :4] = 255
    loss = segloss.region_mutual_information_loss(
        logits, target, rmi_weight=0.0, ce_weight=2.0, cross_entropy=cross_entropy, smooth=0.0, ignore_index=255
    )
    expected = F.cross_entropy(logits, target, ignore_index=255)
    if cross_entropy == "sigmoid":
        kept = (target != 255).unsqueeze(1)
        truth = F.one_hot(target.masked_fill(target == 255, 0), 4).movedim(-1, 1).double()
        each = F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * kept
        expected = each.sum() / kept.sum()
    same(loss, 2 * expected, logits)


def test_a_class_of_its_own_is_a_channel_of_its_own():
    logits, target = batch(3)
    overlapping = F.one_hot(target, 3).movedim(-1, 1).bool()
    loss = partial(segloss.region_mutual_information_loss, pool_size=2, smooth=0.0, window_size=2)
    for of_all in target, overlapping:
        each = [loss(logits[:, c : c + 1], overlapping[:, c].long()) for c in range(3)]
        same(loss(logits, of_all), sum(each), logits)


def test_constant_maps_give_the_least_bound_without_gradient():
    for label, score in itertools.product((0, 1), (-1e4, 0.0, 1e4)):
        logits = torch.full((1, 1, 6, 7), score, requires_grad=True)
        target = torch.full((1, 6, 7), label)
        loss = segloss.region_mutual_information_loss(logits, target, pool_size=1, ce_weight=0.0, rmi_weight=1.0)
        torch.testing.assert_close(loss.item(), math.log(5e-4) / 2, rtol=1e-5, atol=0.0)
        assert torch.autograd.grad(loss, logits)[0].abs().max() < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_bound_is_finite_on_a_large_image_that_is_right(dtype):
    target = torch.zeros(1, 700, 800, dtype=torch.long)
    target[:, 100:, 300:500] = 1
    for margin in (0.0, 5.0, 1e4):
        logits = (margin * (2 * target - 1)).unsqueeze(1).to(dtype).requires_grad_()
        loss = segloss.region_mutual_information_loss(logits, target, pool_size=1)
        assert loss.isfinite()
        assert torch.autograd.grad(loss, logits)[0].isfinite().all()
    assert loss < -1.5


@pytest.mark.parametrize("pooling", ["average", "max", "resize"])
@pytest.mark.parametrize("shape", [(17,), (14, 16), (10, 14, 12)], ids=str)
def test_pooled_maps_are_those_of_the_pools(shape, pooling):
    logits, target = batch(2, shape=shape)
    axes = len(shape)
    truth, p = F.one_hot(target, 2).movedim(-1, 1).double(), logits.sigmoid()
    if pooling == "resize":
        size = [n // 2 for n in shape]
        truth = F.interpolate(truth, size)
        p = F.interpolate(p, size, mode=("linear", "bilinear", "trilinear")[axes - 1], align_corners=True)
    else:
        kind = {"average": "avg", "max": "max"}[pooling]
        truth, p = (getattr(F, f"{kind}_pool{axes}d")(y, 2, 2, 1) for y in (truth, p))
    expected = sum(bound(p[b, c], truth[b, c], 2) for b in range(2) for c in range(2)) / 2
    loss = segloss.region_mutual_information_loss(
        logits, target, window_size=2, pooling=pooling, pool_size=2, ce_weight=0.0, rmi_weight=1.0
    )
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-5)


def test_an_image_without_voxels_is_left_out():
    logits, target = batch(3)
    target[1] = 255
    loss = segloss.region_mutual_information_loss(logits, target, pool_size=1, ignore_index=255)
    same(loss, segloss.region_mutual_information_loss(logits[:1], target[:1], pool_size=1), logits)


@pytest.mark.parametrize(
    ("argument", "keywords"),
    [
        ("logits", {"window_size": 5}),
        ("logits", {"pooling": "resize", "pool_size": 5}),
        ("logits", {"window_size": 1, "pool_size": 10}),
        ("window_size", {"window_size": 0}),
        ("pool_size", {"pool_size": 0}),
        ("pooling", {"pooling": "mean"}),
        ("cross_entropy", {"cross_entropy": "none"}),
        ("xi", {"xi": 0.0}),
        ("rmi_weight", {"rmi_weight": -1.0}),
    ],
    ids=str,
)
def test_region_mutual_information_refuses(argument, keywords):
    with pytest.raises(ValueError, match=argument):
        segloss.region_mutual_information_loss(*batch(2), **keywords)


def test_softmax_wants_exclusive_classes():
    logits, target = batch(1)
    with pytest.raises(ValueError, match="cross_entropy"):
        segloss.region_mutual_information_loss(logits, target, cross_entropy="softmax")


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        *[((40000,), 3), ((400, 300), 3), ((40, 30, 20), 3), ((7,), 5), ((4,), 3), ((3, 4), 3), ((5, 9), 4)],
        *[((8, 6), 1), ((70, 80), 5), ((3, 4, 5), 3), ((5, 6, 4), 2), ((6, 7, 12), 3)],
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scatter_is_that_of_all_windows(shape, size, dtype):
    """Slab by slab, and in single precision by loops, move by move."""
    generator = torch.Generator().manual_seed(0)
    p, g = torch.rand(2, 1, 2, *shape, generator=generator, dtype=dtype)
    p.requires_grad_()
    x = torch.cat([windows(y.flatten(0, 1), size) for y in (p, g)], 1)
    x = x - x.mean(2, keepdim=True)
    price = torch.randn(x.shape[1], x.shape[1], generator=generator, dtype=torch.float64)
    same((window_scatter(p, g, size) * price).sum(), ((x @ x.mT) * price).sum(), p)


def soft_adjacency(p, radius):
    """By every voxel, every place of the box and every pair of classes."""
    images, classes, *shape = p.shape
    found = torch.zeros(images, classes, classes, dtype=p.dtype)
    for place in itertools.product(*map(range, shape)):
        for step in itertools.product(range(-radius, radius + 1), repeat=len(shape)):
            other = [at + by for at, by in zip(place, step, strict=True)]
            if all(0 <= at < n for at, n in zip(other, shape, strict=True)):
                found += p[(..., *place)].unsqueeze(2) * p[(..., *other)].unsqueeze(1)
    return found / math.prod(shape) / (2 * radius + 1) ** len(shape)


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("shape", [(7,), (5, 6), (3, 4, 3)], ids=str)
def test_non_adjacency_is_that_of_every_pair_of_neighbours(shape, radius):
    logits, target = batch(3, shape=shape)
    adjacency = torch.tensor([[4, 0, 2], [0, 0, 7], [1, 1, 3]])
    A = soft_adjacency(logits.softmax(1), radius)
    expected = (A[:, 0, 1] + A[:, 1, 0] + A[:, 1, 1]).mean() / 3
    same(segloss.non_adjacency_loss(logits, target, adjacency=adjacency, radius=radius), expected, logits)


@pytest.mark.parametrize("radius", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_adjacency_of_labels_is_that_of_sure_predictions(shape, radius):
    _, target = batch(4, shape=shape)
    counts = segloss.adjacency_matrix(target, radius)
    one_hot = F.one_hot(target, 4).movedim(-1, 1).double()
    expected = soft_adjacency(one_hot, radius).sum(0) * math.prod(shape) * (2 * radius + 1) ** len(shape)
    expected -= torch.diag(one_hot.flatten(2).sum((0, 2)))
    assert torch.equal(counts, expected.round().long())


def test_what_the_training_set_has_costs_nothing():
    target = torch.zeros(1, 8, 9, dtype=torch.long)
    target[:, 2:6, 2:7] = 1
    target[:, 3:5, 4:6] = 2
    adjacency = segloss.adjacency_matrix(target)
    assert (adjacency == 0).nonzero().tolist() == [[0, 2], [2, 0]]
    logits = 200 * (F.one_hot(target, 3).movedim(-1, 1) - 0.5)
    assert segloss.non_adjacency_loss(logits, target, adjacency=adjacency) == 0
    wrong = logits[:, [0, 2, 1]]
    assert segloss.non_adjacency_loss(wrong, target, adjacency=adjacency) > 0.01


def test_adjacency_adds_up_over_images_of_different_size():
    parts = [torch.tensor([[0, 1, 1]]), torch.tensor([[1, 3]]), torch.tensor([[0, 255, 3, 3]])]
    counts = sum(segloss.adjacency_matrix(part, classes=4, ignore_index=255) for part in parts)
    assert counts.tolist() == [[0, 1, 0, 0], [1, 2, 0, 1], [0, 0, 0, 0], [0, 1, 0, 2]]


def test_a_box_larger_than_the_image():
    labels = torch.tensor([[0, 1, 1]])
    assert torch.equal(segloss.adjacency_matrix(labels, 9), segloss.adjacency_matrix(labels, 2))


def test_unlabelled_images_have_the_same_loss():
    logits, target = batch(3)
    adjacency = torch.eye(3)
    labelled = segloss.non_adjacency_loss(logits, target, adjacency=adjacency)
    same(segloss.non_adjacency_loss(logits, None, adjacency=adjacency), labelled, logits)
    module = segloss.NonAdjacencyLoss(adjacency=adjacency)
    assert module(logits, None) == labelled
    with pytest.raises(ValueError, match="ignore_index"):
        segloss.non_adjacency_loss(logits, None, adjacency=adjacency, ignore_index=0)


def test_nothing_forbidden_costs_nothing():
    logits, target = batch(3)
    loss = segloss.non_adjacency_loss(logits, target, adjacency=torch.ones(3, 3))
    assert loss == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize(
    ("adjacency", "error"),
    [
        (torch.ones(3), ValueError),
        (torch.ones(2, 2), ValueError),
        (-torch.ones(3, 3), ValueError),
        (torch.full((3, 3), math.nan), ValueError),
        ([[1, 1, 0]] * 3, TypeError),
    ],
    ids=["flat", "of other classes", "negative", "nan", "list"],
)
def test_wrong_matrices_are_refused(adjacency, error):
    logits, target = batch(3)
    with pytest.raises(error, match="adjacency"):
        segloss.non_adjacency_loss(logits, target, adjacency=adjacency)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("radius", lambda: segloss.adjacency_matrix(torch.ones(1, 4, dtype=torch.long), 0)),
        ("classes", lambda: segloss.adjacency_matrix(torch.ones(1, 4, dtype=torch.long), classes=0)),
        ("labels", lambda: segloss.adjacency_matrix(torch.ones(1, 4, dtype=torch.long), classes=1)),
        ("labels", lambda: segloss.adjacency_matrix(torch.ones(1, 4))),
        ("labels", lambda: segloss.adjacency_matrix(torch.ones(4, dtype=torch.long))),
        ("radius", lambda: segloss.non_adjacency_loss(*batch(3), adjacency=torch.eye(3), radius=0)),
        ("logits", lambda: segloss.non_adjacency_loss(*batch(1), adjacency=torch.eye(1))),
        ("logits", lambda: segloss.non_adjacency_loss(*batch(3), adjacency=torch.eye(3), activation="sigmoid")),
    ],
)
def test_wrong_inputs_are_refused(argument, call):
    with pytest.raises(ValueError, match=argument):
        call()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_window_mean_is_a_convolution(shape):
    x = torch.randn(2, 3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[len(shape) - 1]
    kernel = torch.full((3, 1, *[3] * len(shape)), 3.0 ** -len(shape), dtype=torch.float64)
    torch.testing.assert_close(window_mean(x, 3), convolve(x, kernel, padding=1, groups=3))
