"""Identities of distances to points, of contours, perimeters and descriptors of shapes."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

import segloss

SHAPES = [(11,), (7, 9), (5, 6, 4)]
HAUSDORFF = [segloss.weighted_hausdorff_loss, segloss.quotient_hausdorff_loss]


def batch(shape, classes=1, points=None, seed=0):
    """Random logits, and labels of a few voxels each, or of a blob of each class in its own part of the image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, *shape, generator=generator, dtype=torch.float64)
    target = torch.zeros(2, *shape, dtype=torch.long)
    number = max(1, classes - 1)
    for label in target.flatten(1):
        at = torch.randperm(len(label), generator=generator)[: number * (points or 6)]
        label[at] = 1 + torch.arange(len(at)) % number
    return logits.requires_grad_(), target


def same(one, other, logits, **tolerance):
    """Equal in value and in gradient."""
    torch.testing.assert_close(one, other, **tolerance)
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (one, other)), **tolerance
    )


def positions(shape, spacing):
    """Where each voxel lies, (N, D)."""
    axes = [torch.arange(n, dtype=torch.float64) * size for n, size in zip(shape, spacing, strict=True)]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, -2)


def hausdorff(p, g, shape, spacing, exponent, minimum, eps=1e-6):
    """The formulas, written out."""
    x = positions(shape, spacing)
    diagonal = math.hypot(*(n * size for n, size in zip(shape, spacing, strict=True)))
    p, points = p.flatten(), x[g.flatten()]
    first = sum(p_x * min((x_x - y).norm() for y in points) for p_x, x_x in zip(p, x, strict=True)) / (p.sum() + eps)
    second = []
    for y in points:
        d = (x - y).norm(dim=1)
        if minimum == "mean":
            a = p * d + (1 - p) * diagonal
            second.append(((a + eps) ** exponent).mean() ** (1 / exponent))
        else:
            second.append(((d + eps) / (p**exponent + eps / diagonal)).min().clamp(max=diagonal))
    return first + torch.stack(second).mean()


@pytest.mark.parametrize(("shape", "spacing"), [((11,), (0.5,)), ((7, 9), (1.0, 1.0)), ((5, 6, 4), (2.0, 1.0, 0.7))])
@pytest.mark.parametrize("exponent", [-0.5, -1.0, -3.0, -9.0])
def test_weighted_hausdorff_is_its_formula(shape, spacing, exponent):
    logits, target = batch(shape, points=3)
    loss = segloss.weighted_hausdorff_loss(logits, target, exponent=exponent, spacing=spacing)
    p = logits.sigmoid()
    expected = [hausdorff(*each, shape, spacing, exponent, "mean") for each in zip(p, target == 1, strict=True)]
    same(loss, torch.stack(expected).mean(), logits)


@pytest.mark.parametrize("exponent", [1.0, 2.5, 4.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_quotient_hausdorff_is_its_formula(shape, exponent):
    logits, target = batch(shape, points=3)
    p, spacing = logits.sigmoid(), (1.0,) * len(shape)
    expected = [hausdorff(*each, shape, spacing, exponent, "quotient") for each in zip(p, target == 1, strict=True)]
    same(segloss.quotient_hausdorff_loss(logits, target, exponent=exponent), torch.stack(expected).mean(), logits)


@pytest.mark.parametrize("loss", HAUSDORFF)
def test_hausdorff_of_classes_is_that_of_each(loss):
    logits, target = batch((6, 7), classes=3, points=4)
    p = logits.softmax(1)
    for c in range(3):
        alone = loss(p[:, c : c + 1], (target == c).long(), activation="none", reduction="none")[:, 0]
        same(loss(logits, target, reduction="none")[:, c].sum(), alone.sum(), logits)


@pytest.mark.parametrize("size", [1, 3, 10**6])
@pytest.mark.parametrize("loss", HAUSDORFF)
def test_hausdorff_does_not_depend_on_its_blocks(loss, size, monkeypatch):
    logits, target = batch((6, 7), points=9)
    expected = loss(logits, target)
    monkeypatch.setitem(segloss.core.points.SIZE, "cpu", size * 42)
    same(loss(logits, target), expected, logits)


@pytest.mark.parametrize("loss", HAUSDORFF)
def test_hausdorff_of_an_image_without_points_is_the_largest_distance(loss):
    logits, target = batch((3, 4))
    target.zero_()
    value = loss(logits, target)
    assert value == 5
    assert not torch.autograd.grad(value, logits)[0].any()
    assert loss(logits, target, max_distance=7.5) == 7.5


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("exponent", [-1.0, -9.0])
def test_hausdorff_of_sure_predictions_is_exact_in_low_precision(dtype, exponent):
    """A voxel at a point has the summand 1e-6 beside distances of a hundred."""
    target = torch.zeros(1, 64, 80, dtype=torch.long)
    target[0, [3, 50, 60], [70, 20, 21]] = 1
    shifted = target.roll(2, 1)
    for where in (target, shifted):
        logits = (40 * where[:, None] - 20).to(dtype)
        value = segloss.weighted_hausdorff_loss(logits, target, exponent=exponent)
        expected = segloss.weighted_hausdorff_loss(logits.double(), target, exponent=exponent)
        torch.testing.assert_close(value.double(), expected, rtol=0.01, atol=0.02)


def test_large_masks_are_refused_before_any_distance_is_taken():
    target = torch.ones(1, 1, 500, 500, dtype=torch.long)
    with pytest.raises(ValueError, match="target has 250000 points"):
        segloss.weighted_hausdorff_loss(torch.zeros(1, 1, 500, 500), target)


def test_hausdorff_cannot_be_derived_twice():
    logits, target = batch((5, 5))
    (slope,) = torch.autograd.grad(segloss.quotient_hausdorff_loss(logits, target), logits, create_graph=True)
    with pytest.raises(RuntimeError, match="twice"):
        slope.sum().backward()


def filled(shape, *boxes):
    target = torch.zeros(1, *shape, dtype=torch.long)
    for label, box in enumerate(boxes, 1):
        target[(0, *box)] = label
    return target


def sure(target, classes=1):
    if classes == 1:
        return 2e2 * target[:, None].double() - 1e2
    return 2e2 * F.one_hot(target, classes).movedim(-1, 1).double() - 1e2


SQUARE = slice(2, 7), slice(3, 8)
CUBE = slice(1, 6), slice(1, 6), slice(2, 7)


@pytest.mark.parametrize(("tolerance", "near"), [(0, 6), (0.9, 6), (1, 10), (1.9, 10), (2, 16)])
def test_contour_dice_counts_the_voxels_near_the_other_contour(tolerance, near):
    """Of a square of 5 voxels moved by 2, two sides share 3 voxels; one more each, and two on a third, are 1 away."""
    target = filled((10, 12), SQUARE)
    assert segloss.contour_dice(sure(target.roll(2, 2)), target, tolerance=tolerance) == 2 * near / 32


def test_contour_dice_is_symmetric_and_follows_the_spacing():
    target, other = filled((10, 12), SQUARE), filled((10, 12), (slice(1, 6), slice(3, 10)))
    for tolerance, spacing in ((1.0, None), (2.0, (2.0, 1.0)), (2.0, (1.0, 3.0))):
        keywords = {"tolerance": tolerance, "spacing": spacing}
        one = segloss.contour_dice(sure(other), target, **keywords)
        torch.testing.assert_close(one, segloss.contour_dice(sure(target), other, **keywords))
    stretched = segloss.contour_dice(sure(target.roll(1, 2)), target, tolerance=1, spacing=(1.0, 2.0))
    assert stretched < segloss.contour_dice(sure(target.roll(1, 2)), target, tolerance=1)


def test_contour_dice_of_absent_classes():
    nothing, target = filled((10, 12)), filled((10, 12), SQUARE)
    assert segloss.contour_dice(sure(nothing), target) == 0
    assert segloss.contour_dice(sure(target), nothing).isnan()
    assert segloss.contour_dice(sure(target), nothing, absent="smooth") == 0
    assert segloss.contour_dice(sure(nothing), nothing, absent="smooth") == 1


@pytest.mark.parametrize(("target", "length"), [(filled((10, 12), SQUARE), 16), (filled((8, 8, 9), CUBE), 98)])
def test_perimeter_counts_the_ring_inside_a_block(target, length):
    """5² - 3² and 5³ - 3³ voxels."""
    nothing = torch.full((1, 1, *target.shape[1:]), -100.0, dtype=torch.float64)
    torch.testing.assert_close(
        segloss.perimeter_loss(nothing, target), torch.tensor(length**2 / target.numel(), dtype=torch.float64)
    )
    assert segloss.perimeter_loss(sure(target.roll(1, -1)), target) == 0


def test_perimeter_does_not_see_what_is_thin_nor_the_edge_of_the_image():
    thin = filled((10, 12), (slice(4, 6), slice(1, 11)))
    nothing = sure(filled((10, 12)))
    assert segloss.perimeter_loss(nothing, thin) == 0
    half = filled((10, 12), (slice(0, 10), slice(0, 6)))
    assert segloss.perimeter_loss(nothing, half) == 10**2 / 120


def length(y):
    """Of the ring that opening adds to erosion, by pooling."""
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[y.ndim - 3]
    eroded = -pool(-y, 3, 1, 1)
    return F.relu(pool(eroded, 3, 1, 1) - eroded).flatten(2).sum(2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("classes", [1, 3])
def test_perimeter_is_its_formula(shape, classes):
    logits, target = batch(shape, classes)
    p = logits.sigmoid() if classes == 1 else logits.softmax(1)
    labels = [1] if classes == 1 else range(3)
    g = torch.stack([target == label for label in labels], 1).double()
    expected = ((length(p) - length(g)) ** 2 / math.prod(shape)).mean()
    same(segloss.perimeter_loss(logits, target), expected, logits)


@pytest.mark.parametrize("shape", SHAPES)
def test_perimeter_has_the_gradient_of_pooling_among_equal_values(shape):
    generator = torch.Generator().manual_seed(0)
    p = (torch.randint(4, (2, 1, *shape), generator=generator) / 4).requires_grad_()
    nothing = torch.zeros(2, *shape, dtype=torch.long)
    expected = (length(p) ** 2 / math.prod(shape)).mean()
    same(segloss.perimeter_loss(p, nothing, activation="none"), expected, p)


def descriptors(y, shape):
    """Volume, centroid, spread and length of one map, written out."""
    x, y = positions(shape, (1.0,) * len(shape)), y.flatten()
    centroid = (y[:, None] * x).sum(0) / y.sum()
    spread = ((y[:, None] * (x - centroid) ** 2).sum(0) / y.sum()).sqrt()
    near = [(i, j) for i, j in itertools.combinations(range(len(y)), 2) if (x[i] - x[j]).abs().max() == 1]
    i, j = torch.tensor(near).T
    return {"volume": y.sum()[None], "centroid": centroid, "spread": spread, "length": ((y[i] - y[j]) ** 2).sum()[None]}


def psi(z, t):
    return torch.where(z <= -1 / t**2, -torch.log(-z.clamp(max=-1e-300)) / t, t * z - math.log(1 / t**2) / t + 1 / t)


NONE = dict.fromkeys(("volume", "centroid", "spread", "length"))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("name", "margin", "relative"), [
    ("volume", 0.1, True), ("volume", 3.0, False), ("centroid", 0.4, False), ("centroid", 0.1, True),
    ("spread", 0.3, False), ("length", 0.2, True), ("length", 2.0, False),
])  # fmt: skip
@pytest.mark.parametrize("t", [0.8, 1.0, 5.0])
def test_a_descriptor_is_held_between_its_bounds(shape, name, margin, relative, t):
    logits, target = batch(shape)
    expected, bounds = [], []
    for p, g in zip(logits.sigmoid()[:, 0], (target == 1).double(), strict=True):
        f, true = (descriptors(y, shape)[name] for y in (p, g))
        m = margin * true if relative else margin
        lower, upper = (true - m).clamp(min=0), true + m
        bounds.append(torch.stack([lower, upper], -1)[None])
        expected.append((psi(f - upper, t) + psi(lower - f, t)).sum() / g.numel())
    keywords = {**NONE, name: margin, "t": t}
    of_truth = segloss.shape_descriptor_loss(logits, target, relative=[name] if relative else [], **keywords)
    same(of_truth, torch.stack(expected).mean(), logits, rtol=1e-6, atol=1e-9)
    given = segloss.shape_descriptor_loss(
        logits, torch.zeros_like(target), bounds={name: torch.stack(bounds)}, **keywords
    )
    same(given, of_truth, logits, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("penalty", ["log_barrier", "quadratic"])
def test_descriptors_add_up(penalty):
    logits, target = batch((7, 9), classes=3)
    margins = {"volume": 0.1, "centroid": 1.0, "spread": 0.5, "length": 0.1}
    each = [
        segloss.shape_descriptor_loss(logits, target, penalty=penalty, **{**NONE, name: margin})
        for name, margin in margins.items()
    ]
    same(segloss.shape_descriptor_loss(logits, target, penalty=penalty, **margins), torch.stack(each).sum(), logits)


def test_the_quadratic_penalty_is_zero_within_the_bounds_and_pushes_back_beyond_them():
    logits, target = batch((7, 9))
    within = torch.tensor([[[0.0, 63.0]]])
    keywords = {**NONE, "volume": 0.0, "penalty": "quadratic"}
    loss = segloss.shape_descriptor_loss(logits, target, bounds={"volume": within}, **keywords)
    assert loss == 0
    assert not torch.autograd.grad(loss, logits)[0].any()
    for bound, sign in (([[60.0, 63.0]], -1), ([[0.0, 1.0]], 1)):
        loss = segloss.shape_descriptor_loss(logits, target, bounds={"volume": torch.tensor([bound])}, **keywords)
        (slope,) = torch.autograd.grad(loss, logits)
        assert (slope.sign() == sign).all()


def test_a_descriptor_on_its_bound_is_finite():
    target = filled((10, 12), SQUARE)
    logits = sure(target).requires_grad_()
    loss = segloss.shape_descriptor_loss(logits, target, volume=0.0, centroid=0.0, spread=0.0, length=0.0)
    (slope,) = torch.autograd.grad(loss, logits)
    assert loss.isfinite()
    assert slope.isfinite().all()


def test_the_length_of_a_straight_border_is_three_a_voxel():
    """A square of 5: 4 sides of 5 voxels with three cut edges each, less the one that two sides share at a corner."""
    target = filled((10, 12), SQUARE)
    bounds = {"length": torch.zeros(1, 1, 2)}
    loss = segloss.shape_descriptor_loss(
        sure(target), target, bounds=bounds, penalty="quadratic", **{**NONE, "length": 0.0}
    )
    torch.testing.assert_close(loss, torch.tensor((3 * 20 - 4) ** 2 / 120, dtype=torch.float64))


@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({**NONE}, "all None"),
        ({"volume": -0.1}, "volume"),
        ({"spread": math.nan}, "spread"),
        ({"t": 0.0}, "t must be"),
        ({"penalty": "naive"}, "penalty"),
        ({"relative": ("size",)}, "relative"),
        ({"bounds": {"size": torch.zeros(1, 1, 2)}}, "bounds"),
        ({"length": None, "bounds": {"length": torch.zeros(1, 1, 2)}}, "bounds"),
        ({"bounds": {"centroid": torch.zeros(1, 1, 2)}}, "bounds of the centroid"),
        ({"bounds": {"volume": torch.tensor([[[2.0, 1.0]]])}}, "not above"),
        ({"bounds": {"volume": torch.tensor([[[0.0, math.nan]]])}}, "not above"),
    ],
)
def test_parameters_of_shape_descriptors_are_checked(keywords, told):
    logits, target = batch((7, 9))
    with pytest.raises(ValueError, match=told):
        segloss.shape_descriptor_loss(logits, target, **keywords)


@pytest.mark.parametrize("loss", HAUSDORFF)
@pytest.mark.parametrize(
    ("keywords", "told"),
    [
        ({"exponent": 0.0}, "exponent"),
        ({"exponent": math.nan}, "exponent"),
        ({"smooth": 0.0}, "smooth"),
        ({"max_distance": 0.0}, "max_distance"),
        ({"spacing": (1.0,)}, "spacing"),
        ({"spacing": (1.0, 0.0)}, "spacing"),
    ],
)
def test_parameters_of_distances_are_checked(loss, keywords, told):
    logits, target = batch((7, 9))
    with pytest.raises(ValueError, match=told):
        loss(logits, target, **keywords)
