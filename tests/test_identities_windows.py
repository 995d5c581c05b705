"""What is promised of local windows: moments as loops, and the structural similarity loss from its definition."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

import segloss
from segloss.core import structural_difference
from segloss.core.local_moments import gaussian_window, local_moments
from tests.test_identities import batch, same

SHAPES = [(7,), (5, 6), (4, 3, 5), (2, 9)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def one_hot(logits, target):
    classes = logits.shape[1]
    labels = [1] if classes == 1 else range(classes)
    return torch.stack([target == c for c in labels], 1).to(logits.dtype)


def moments(y, size, sigma):
    """Mean and deviation around every voxel of a map (*S), from the definition."""
    radius, mean, deviation = size // 2, torch.zeros_like(y), torch.zeros_like(y)
    steps = list(itertools.product(range(-radius, radius + 1), repeat=y.ndim))
    weights = [math.exp(-sum(s * s for s in step) / (2 * sigma**2)) for step in steps]
    total = sum(weights)
    for at in itertools.product(*map(range, y.shape)):
        around = []
        for step in steps:
            place = tuple(a + s for a, s in zip(at, step, strict=True))
            inside = all(0 <= p < n for p, n in zip(place, y.shape, strict=True))
            around.append(y[place].item() if inside else 0.0)
        m = sum(w * a for w, a in zip(weights, around, strict=True)) / total
        mean[at] = m
        deviation[at] = math.sqrt(sum(w * (a - m) ** 2 for w, a in zip(weights, around, strict=True)) / total)
    return mean, deviation


@shapes
@pytest.mark.parametrize(("size", "sigma"), [(3, 1.5), (5, 0.8), (7, 3.0)])
def test_moments_are_those_of_the_window(shape, size, sigma):
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(2, 2, *shape, generator=generator, dtype=torch.float64)
    y[1, 1] = (y[1, 1] > 0.5).double()
    found = local_moments(y, gaussian_window(size, sigma))
    expected = [moments(part, size, sigma) for part in y.flatten(0, 1)]
    for ours, theirs in zip(found, zip(*expected, strict=True), strict=True):
        torch.testing.assert_close(ours.flatten(0, 1), torch.stack(theirs), rtol=1e-9, atol=1e-9)


@shapes
def test_moments_are_derived_once_and_twice(shape):
    generator = torch.Generator().manual_seed(1)
    y = torch.rand(1, 2, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    weights = gaussian_window(5, 1.0)
    assert torch.autograd.gradcheck(lambda y: local_moments(y, weights), y)
    assert torch.autograd.gradgradcheck(lambda y: local_moments(y, weights), y)


@pytest.mark.parametrize("level", [0.0, 1e-3, 0.3, 1.0])
def test_a_constant_window_has_no_deviation_and_no_slope_of_it(level):
    y = torch.full((1, 1, 9, 9), level, requires_grad=True)
    deviation = local_moments(y, gaussian_window(3, 1.5))[1][..., 2:-2, 2:-2]
    assert not deviation.any()
    assert not torch.autograd.grad(deviation.sum(), y)[0].any()


def test_single_precision_loses_little_of_small_deviations():
    generator = torch.Generator().manual_seed(2)
    y = 0.01 * torch.rand(1, 1, 64, 64, generator=generator, dtype=torch.float64)
    weights = gaussian_window(3, 1.5)
    exact, single = local_moments(y, weights)[1], local_moments(y.float(), weights)[1]
    torch.testing.assert_close(single.double(), exact, rtol=1e-3, atol=0)


@pytest.mark.parametrize("shape", [(1, 2, 5000), *((2, 1, *shape) for shape in SHAPES), (1, 2, 50, 70)], ids=str)
@pytest.mark.parametrize("size", [3, 5, 11])
def test_structures_by_loops_are_those_map_by_map(shape, size):
    """Single precision is for loops; where a window is nearly constant, it has few digits of the deviation."""
    draw = torch.Generator().manual_seed(3)
    p, price = (torch.rand(shape, generator=draw, dtype=torch.float64) for _ in range(2))
    p, g, weights = p.float(), torch.rand(shape, generator=draw) < 0.4, gaussian_window(size, 1.2)
    found = []
    for y in p, p.double():
        leaf = y.clone().requires_grad_()
        e = structural_difference(leaf, g, weights, 1.0)
        found.append((e.double(), torch.autograd.grad(e, leaf, price.to(e.dtype))[0].double()))
    for ours, theirs in zip(*found, strict=True):
        assert (ours - theirs).norm() < 2e-5 * theirs.norm()


def naive(logits, target, threshold, window_size, window_sigma, smooth, detach=False):
    """The loss in whole maps, with a convolution over the product window."""
    p, g = logits.sigmoid(), one_hot(logits, target)
    side = torch.arange(window_size, dtype=logits.dtype) - window_size // 2
    line = torch.exp(-(side**2) / (2 * window_sigma**2))
    window = line
    for _ in range(logits.ndim - 3):
        window = window.unsqueeze(-1) * line
    convolve = (F.conv1d, F.conv2d, F.conv3d)[logits.ndim - 3]

    def mean(y):
        kernel = (window / window.sum())[None, None]
        return convolve(y.flatten(0, 1).unsqueeze(1), kernel, padding=window_size // 2).view(y.shape)

    def structure(y):
        variance = mean(y**2) - mean(y) ** 2
        there = variance > 1e-14
        deviation = torch.where(there, torch.where(there, variance, 1).sqrt(), 0)
        return (y - mean(y) + smooth) / (deviation + smooth)

    e = (structure(g) - structure(p)).abs()
    e = e.detach() if detach else e
    f = (e > threshold * e.max()).to(p.dtype)
    return (f * e * F.binary_cross_entropy_with_logits(logits, g, reduction="none")).sum() / f.sum()


@shapes
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(("threshold", "size", "detach"), [(0.1, 3, False), (0.4, 5, True), (0.0, 3, True)])
def test_loss_is_its_formula(shape, classes, threshold, size, detach):
    logits, target = batch(classes, shape=shape)
    loss = segloss.structural_similarity_loss(
        logits, target, threshold=threshold, window_size=size, window_sigma=1.1, smooth=0.02, detach_weight=detach
    )
    same(loss, naive(logits, target, threshold, size, 1.1, 0.02, detach), logits)


def test_gradient_on_a_large_image_is_that_of_the_formula():
    logits, target = batch(2, shape=(700, 500))
    loss = segloss.structural_similarity_loss(logits, target)
    same(loss, naive(logits, target, 0.1, 3, 1.5, 0.01), logits)


def test_the_whole_is_cross_entropy_weighted_by_the_difference():
    logits, target = batch(3)
    each = segloss.structural_similarity_loss(logits, target, reduction="none")
    total = segloss.structural_similarity_loss(logits, target, reduction="sum")
    mean = segloss.structural_similarity_loss(logits, target)
    assert each.shape == logits.shape
    torch.testing.assert_close(each.sum(), total)
    torch.testing.assert_close(total / (each != 0).sum(), mean)


def test_a_higher_threshold_selects_fewer_and_harder_voxels():
    logits, target = batch(3, shape=(20, 20))
    maps = [segloss.structural_similarity_loss(logits, target, threshold=t, reduction="none") for t in (0, 0.2, 0.6)]
    for low, high in itertools.pairwise(maps):
        assert (high != 0).sum() < (low != 0).sum()
        kept = high != 0
        torch.testing.assert_close(high[kept], low[kept])


@pytest.mark.parametrize("classes", [1, 3])
def test_a_right_and_sure_prediction_costs_nothing(classes):
    _, target = batch(classes)
    logits = (80 * one_hot(torch.zeros(2, classes, 9, 8), target) - 40).requires_grad_()
    loss = segloss.structural_similarity_loss(logits, target)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0
    assert not gradient.any()


@pytest.mark.parametrize("detach_weight", [True, False])
def test_what_is_flat_is_not_corrected(detach_weight):
    target = torch.zeros(1, 12, 12, dtype=torch.long)
    target[:, :, 6:] = 1
    logits = torch.zeros(1, 1, 12, 12, dtype=torch.float64, requires_grad=True)
    loss = segloss.structural_similarity_loss(logits, target, detach_weight=detach_weight)
    (gradient,) = torch.autograd.grad(loss, logits)
    assert not gradient[..., 3:9, 2:4].any()
    assert (gradient[..., 3:9, 5] > 0).all()
    # As a weight, the difference leaves cross-entropy its direction; differentiated, it may turn it round.
    assert (gradient[..., 3:9, 6] < 0).all() == detach_weight


def test_nothing_to_select_is_zero_with_zero_gradient():
    logits = torch.full((1, 1, 6, 6), -200.0, requires_grad=True)
    loss = segloss.structural_similarity_loss(logits, torch.zeros(1, 6, 6, dtype=torch.long))
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", 1.0),
        ("threshold", -0.1),
        ("window_size", 4),
        ("window_size", 1),
        ("window_sigma", 0.0),
        ("smooth", 0.0),
    ],
)
def test_parameters_out_of_range_are_refused(name, value):
    logits, target = batch(2)
    with pytest.raises(ValueError, match=name):
        segloss.structural_similarity_loss(logits, target, **{name: value})
