"""What the mathematics of lengths and energies promises: their formulas as loops, their optima and symmetries."""

import itertools
import math

import numpy as np
import pytest
import torch

import segloss
from segloss.core import gradient_length
from segloss.core.compiled import compiled
from tests.test_identities import batch, same

SHAPES = [(7,), (5, 6), (4, 3, 5)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


def membership(logits, target):
    """Probabilities and labels of every class, (B, C, *S)."""
    if logits.shape[1] == 1:
        return logits.sigmoid(), target.unsqueeze(1).to(logits.dtype)
    return logits.softmax(1), torch.stack([target == c for c in range(logits.shape[1])], 1).to(logits.dtype)


def image_of(logits, channels=2):
    generator = torch.Generator().manual_seed(5)
    return torch.rand(logits.shape[0], channels, *logits.shape[2:], generator=generator, dtype=torch.float64)


def sure(p):
    """Logits of a map of probabilities 0 and 1."""
    return 80 * p.double() - 40


def square(size=32, side=10, corner=(6, 8)):
    mask = torch.zeros(1, size, size, dtype=torch.long)
    mask[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side] = 1
    return mask


# Active contours


@shapes
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("aligned", [True, False])
def test_active_contour_is_its_formula_voxel_by_voxel(shape, classes, aligned):
    logits, target = batch(classes, shape=shape)
    p, g = membership(logits, target)
    reach = 1 if aligned else 2
    total = 0.0
    for image, c in itertools.product(range(2), range(classes)):
        y, t = p[image, c], g[image, c]
        lengths = []
        for at in itertools.product(*(range(size - reach) for size in shape)):
            squares = 1e-8
            for axis in range(len(shape)):
                start = tuple(a + (not aligned) * (b == axis) for b, a in enumerate(at))
                end = tuple(a + (b == axis) for b, a in enumerate(start))
                squares = squares + (y[end] - y[start]) ** 2
            lengths.append(squares**0.5)
        total = total + sum(lengths) / len(lengths) + 0.5 * (y * (t - 1) ** 2).mean() + 2 * ((1 - y) * t**2).mean()
    loss = segloss.active_contour_loss(logits, target, alpha=0.5, beta=2.0, aligned=aligned)
    same(loss, total / (2 * classes), logits)


@pytest.mark.parametrize("shape", [(2, 3, 9), (3, 1, 5000), (2, 3, 40, 31), (2, 2, 6, 5, 20), (1, 2, 1, 2, 3)], ids=str)
@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_lengths_of_gradients_by_loops_are_those_of_the_definition(shape, aligned, masked):
    assert compiled("native_gradient_length") is not None
    generator = torch.Generator().manual_seed(0)
    exact = torch.rand(shape, generator=generator).double().requires_grad_()
    y = exact.detach().float().requires_grad_()
    valid = torch.rand(shape[0], 1, *shape[2:], generator=generator) > 0.2 if masked else None
    price = torch.rand(shape[:2], generator=generator, dtype=torch.float64)
    ours, theirs = (gradient_length(it, valid, 1e-4, aligned=aligned) for it in (y, exact))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    slope, expected = torch.autograd.grad([ours, theirs], [y, exact], [price, price])
    torch.testing.assert_close(slope, expected.float())


def test_length_of_a_sure_contour_is_that_of_its_sides():
    mask = square()
    length = segloss.active_contour_loss(sure(mask.unsqueeze(1)), mask, alpha=0, beta=0, smooth=1e-30)
    # The corner where both differences fall on one pixel counts √2 in place of 2; the one at the other end has two.
    assert length.item() * 31**2 == pytest.approx(4 * 10 - 2 + math.sqrt(2), rel=1e-6)


def test_active_contour_pulls_the_whole_region_and_not_the_contour_alone():
    mask = square()
    logits = torch.zeros(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(segloss.active_contour_loss(logits, mask), logits)
    assert (gradient[mask.unsqueeze(1) == 1] < 0).all()
    assert (gradient[mask.unsqueeze(1) == 0] > 0).all()


# Mumford-Shah


@shapes
@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("squared", [False, True])
def test_mumford_shah_is_its_formula_voxel_by_voxel(shape, classes, squared):
    logits, target = batch(classes, shape=shape)
    image, p = image_of(logits), membership(logits, target)[0]
    p = torch.cat([1 - p, p], 1) if classes == 1 else p
    total = 0.0
    for b, y in enumerate(p.flatten(0, 1)):
        picture = image[b // p.shape[1]]
        mean = (picture * y).flatten(1).sum(1) / y.sum()
        for at in itertools.product(*map(range, shape)):
            total = total + y[at] * sum((i[at] - m) ** 2 for i, m in zip(picture, mean, strict=True))
            for axis in range(len(shape)):
                end = tuple(a + (other == axis) for other, a in enumerate(at))
                if end[axis] < shape[axis]:
                    step = y[end] - y[at]
                    total = total + 0.3 * (step**2 if squared else step.abs())
    keywords = {"image": image, "tv_weight": 0.3, "squared": squared}
    same(segloss.mumford_shah_loss(logits, target, reduction="sum", **keywords), total, logits)
    torch.testing.assert_close(segloss.mumford_shah_loss(logits, None, **keywords), total / target.numel())


def test_mumford_shah_needs_no_labels_but_for_what_they_ignore():
    logits, target = batch(3)
    image = image_of(logits)
    expected = segloss.mumford_shah_loss(logits, None, image=image)
    same(segloss.mumford_shah_loss(logits, target, image=image), expected, logits)
    ignoring = segloss.mumford_shah_loss(logits, target, image=image, ignore_index=2)
    same(ignoring, segloss.mumford_shah_loss(logits, None, image=image, mask=(target != 2).unsqueeze(1)), logits)
    assert ignoring != expected


def test_mumford_shah_without_labels_can_be_a_term():
    logits, _ = batch(3)
    image = image_of(logits)
    terms = [(1.0, segloss.MumfordShahLoss(tv_weight=weight)) for weight in (0.0, 0.5)]
    total = segloss.Compound(terms)(logits, None, image=image)
    same(total, sum(loss(logits, None, image=image) for _, loss in terms), logits)


def test_mumford_shah_depends_on_contrast_alone():
    logits, _ = batch(3)
    image = image_of(logits)

    def loss(image):
        return segloss.mumford_shah_loss(logits, None, image=image, tv_weight=0)

    same(loss(image + 7), loss(image), logits)
    same(loss(3 * image), 9 * loss(image), logits)


def test_one_channel_is_two_regions():
    logits, _ = batch(1)
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    image = image_of(logits)
    one = segloss.mumford_shah_loss(logits, None, image=image, tv_weight=0.1)
    same(one, segloss.mumford_shah_loss(both, None, image=image, tv_weight=0.1), logits)


def test_the_regions_of_a_picture_are_its_two_shades():
    mask = square()
    image = 0.2 + 0.6 * mask.unsqueeze(1).double()
    logits = (0.1 * sure(mask.unsqueeze(1)) / 40).requires_grad_()
    (gradient,) = torch.autograd.grad(segloss.mumford_shah_loss(logits, None, image=image, tv_weight=0), logits)
    assert torch.equal(gradient < 0, mask.unsqueeze(1) == 1)
    assert segloss.mumford_shah_loss(sure(mask.unsqueeze(1)), None, image=image, tv_weight=0) < 1e-12


def test_an_empty_region_costs_nothing_and_is_finite():
    logits = torch.full((1, 3, 6, 6), -1e4)
    logits[:, 0] = 1e4
    logits.requires_grad_()
    loss = segloss.mumford_shah_loss(logits, None, image=torch.ones(1, 1, 6, 6))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert loss == 0
    assert not gradient.any()


@pytest.mark.parametrize(
    "image",
    [
        torch.rand(2, 9, 8),
        torch.rand(1, 1, 9, 8),
        torch.rand(2, 1, 9, 7),
        torch.rand(2, 0, 9, 8),
        torch.rand(2, 1, 9, 8, 1),
        torch.full((2, 1, 9, 8), math.nan),
        torch.rand(2, 1, 9, 8).to(torch.complex64),
        torch.rand(2, 1, 9, 8).tolist(),
        None,
    ],
    ids=["no channel axis", "one image", "narrow", "no channels", "3D", "NaN", "complex", "list", "none"],
)
def test_an_image_that_does_not_fit_is_refused(image):
    logits, target = batch(3)
    with pytest.raises((ValueError, TypeError), match="image"):
        segloss.mumford_shah_loss(logits, target, image=image)


def test_an_image_may_be_of_integers_and_broken_where_ignored():
    logits, target = batch(3)
    image = (255 * image_of(logits)).to(torch.uint8)
    broken = image.double().masked_fill((target == 1).unsqueeze(1), math.nan)
    for other in (image, broken):
        expected = segloss.mumford_shah_loss(logits, None, image=image.double(), mask=(target != 1).unsqueeze(1))
        same(segloss.mumford_shah_loss(logits, target, image=other, ignore_index=1), expected, logits)


# Elastic interaction


def energy(d, spacing=None):
    """The sum over all frequencies, from numpy's transform."""
    size = [1 / n for n in d.shape] if spacing is None else spacing
    k = np.meshgrid(*(np.fft.fftfreq(n, step) for n, step in zip(d.shape, size, strict=True)), indexing="ij")
    return (np.sqrt(sum(axis**2 for axis in k)) * np.abs(np.fft.fftn(d, norm="ortho")) ** 2).sum() / d.size


@pytest.mark.parametrize("shape", [(8,), (9,), (6, 7), (7, 8), (4, 5, 6), (5, 4, 3), (1, 6), (6, 1)], ids=str)
@pytest.mark.parametrize("classes", [1, 3])
def test_elastic_interaction_is_the_sum_over_frequencies(shape, classes):
    logits, target = batch(classes, shape=shape)
    p, g = (y.detach().numpy() for y in membership(logits, target))
    spacing = [0.5, 1.5, 2.0][: len(shape)]
    for keywords, size in (({}, None), ({"spacing": spacing}, spacing)):
        each = segloss.elastic_interaction_loss(logits, target, strength=0.6, reduction="none", **keywords)
        for b, c in itertools.product(range(2), range(classes)):
            assert each[b, c].item() == pytest.approx(energy(g[b, c] - 0.6 * p[b, c], size), rel=1e-12)


@shapes
def test_gradient_of_the_energy_is_twice_the_force(shape):
    logits, target = batch(1, shape=shape)
    p = logits.sigmoid().detach().requires_grad_()
    loss = segloss.elastic_interaction_loss(p, target, strength=0.35, activation="none", reduction="sum")
    (gradient,) = torch.autograd.grad(loss, p)
    k = torch.meshgrid(*(torch.fft.fftfreq(n, 1 / n, dtype=torch.float64) for n in shape), indexing="ij")
    axes = tuple(range(2, 2 + len(shape)))
    d = target.unsqueeze(1) - 0.35 * p.detach()
    force = torch.fft.ifftn(torch.stack(k).square().sum(0).sqrt() * torch.fft.fftn(d, dim=axes), dim=axes).real
    torch.testing.assert_close(gradient, -2 * 0.35 / math.prod(shape) * force)


@pytest.mark.parametrize(("periods", "spacing"), [((3, 0), None), ((0, 2), None), ((3, 4), None), ((3, 4), (2.0, 2.0))])
def test_energy_of_a_wave_is_its_frequency(periods, spacing):
    n = 16
    place = torch.arange(n, dtype=torch.float64) / n
    wave = 0.5 + 0.4 * torch.cos(2 * math.pi * (periods[0] * place[:, None] + periods[1] * place))
    empty = torch.zeros(1, n, n, dtype=torch.long)
    keywords = {"strength": 1.0, "activation": "none", "spacing": spacing}
    loss = segloss.elastic_interaction_loss(wave[None, None], empty, **keywords)
    extent = 1 if spacing is None else n * spacing[0]
    assert loss.item() == pytest.approx(0.4**2 / 2 * math.hypot(*periods) / extent, rel=1e-9)


def test_a_heaviside_of_width_one_half_is_twice_the_lower_half():
    logits, target = batch(1)
    p = logits.sigmoid()
    wide = segloss.elastic_interaction_loss(logits, target, heaviside_width=0.5)
    same(wide, segloss.elastic_interaction_loss((2 * p).clamp(max=1), target, activation="none"), logits)
    narrow = segloss.elastic_interaction_loss(logits, target, heaviside_width=1e-9)
    hard = segloss.elastic_interaction_loss((p > 0.5).double(), target, activation="none")
    torch.testing.assert_close(narrow, hard)


def test_contours_attract_and_the_more_the_nearer():
    mask = square(corner=(10, 10))
    moved = [square(corner=(10, 10 + by)) for by in range(6)]
    losses = [segloss.elastic_interaction_loss(sure(m.unsqueeze(1)), mask, strength=1.0).item() for m in moved]
    assert losses[0] < 1e-12
    assert losses == sorted(losses)


def test_the_image_is_repeated_without_end():
    logits, target = batch(3, shape=(7, 8))
    rolled = logits.roll((3, 5), (2, 3))
    loss = segloss.elastic_interaction_loss(logits, target)
    same(loss, segloss.elastic_interaction_loss(rolled, target.roll((3, 5), (1, 2))), logits)


def test_the_truth_costs_what_is_left_of_its_contour():
    mask = square()
    empty = sure(torch.zeros(1, 1, 32, 32))
    alone = segloss.elastic_interaction_loss(empty, mask)
    torch.testing.assert_close(segloss.elastic_interaction_loss(sure(mask.unsqueeze(1)), mask), 0.65**2 * alone)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.inf), 2.0, "ab"])
def test_a_spacing_that_does_not_fit_is_refused(spacing):
    logits, target = batch(3)
    with pytest.raises((ValueError, TypeError), match="spacing"):
        segloss.elastic_interaction_loss(logits, target, spacing=spacing)


@pytest.mark.parametrize("aligned", [True, False])
def test_a_line_of_pixels_has_no_length_but_regions(aligned):
    logits, target = batch(1, shape=(1, 9))
    p, g = membership(logits, target)
    loss = segloss.active_contour_loss(logits, target, aligned=aligned)
    same(loss, (p - g).abs().mean(), logits)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: segloss.mumford_shah_loss(x, y, image=100 * image_of(x).float()),
        lambda x, y: segloss.elastic_interaction_loss(x, y),
        lambda x, y: segloss.structural_similarity_loss(x, y),
    ],
    ids=["Mumford-Shah", "elastic", "structural"],
)
def test_mixed_precision_leaves_energies_as_they_are(loss):
    logits, target = batch(3)
    logits = logits.float().detach()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = loss(logits, target)
    torch.testing.assert_close(mixed, loss(logits, target), rtol=0, atol=0)


# All of them, map by map


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("size", [1, 70, 130, 2**18], ids="blocks of {}".format)
def test_maps_taken_together_or_one_by_one_are_the_same(shape, size, monkeypatch):
    from segloss.core import per_map
    from segloss.core.blocks import SIZE

    def f(y, valid, g):
        return (y * valid - y.flatten(2).mean(2).view(*y.shape[:2], *[1] * (y.ndim - 2))) ** 3 * g

    generator = torch.Generator().manual_seed(1)
    y = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    valid, g = torch.rand(2, 1, *shape, generator=generator) < 0.7, torch.randn(2, 3, *shape, generator=generator)
    monkeypatch.setitem(SIZE, "cpu", size)
    price = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64)
    same((price * per_map(f, y, valid, g)).sum(), (price * f(y, valid, g)).sum(), y)
