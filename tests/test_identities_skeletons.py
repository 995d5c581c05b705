"""Soft morphology against pooling, and the losses of skeletons against their formulas written out."""

import functools
import itertools
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, distance_transform_edt, grey_dilation, grey_erosion, label
from skimage.measure import euler_number
from skimage.morphology import skeletonize
from torch import Tensor

import segloss
from segloss.core import contour_length, dilation, erosion, hard_skeleton, opening, soft_skeleton, thinned
from segloss.core.compiled import compiled
from tests.test_identities_supervision import same

SHAPES = [(2, 3, 17), (2, 3, 12, 9), (1, 2, 7, 6, 9), (1, 1, 2, 1, 3)]


def pooled(y: Tensor, window: list[int]) -> Tensor:
    pool = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[y.ndim - 3]
    return pool(y, window, stride=1, padding=[size // 2 for size in window])


def pooled_erosion(y: Tensor) -> Tensor:
    d = y.ndim - 2
    along = [-pooled(-y, [3 if axis == at else 1 for at in range(d)]) for axis in range(d)]
    return functools.reduce(torch.minimum, along)


def pooled_dilation(y: Tensor, width: int = 3) -> Tensor:
    return pooled(y, [width] * (y.ndim - 2))


def pooled_skeleton(y: Tensor, iterations: int) -> Tensor:
    skeleton = F.relu(y - pooled_dilation(pooled_erosion(y)))
    for _ in range(iterations):
        y = pooled_erosion(y)
        delta = F.relu(y - pooled_dilation(pooled_erosion(y)))
        skeleton = skeleton + F.relu(delta - skeleton * delta)
    return skeleton


OPERATIONS = {
    "erosion": (erosion, pooled_erosion),
    "opening": (opening, lambda y: pooled_dilation(pooled_erosion(y))),
    **{
        f"dilation {w}": (functools.partial(dilation, width=w), functools.partial(pooled_dilation, width=w))
        for w in (1, 3, 5, 9)
    },
    **{
        f"skeleton {n}": (
            functools.partial(soft_skeleton, iterations=n),
            functools.partial(pooled_skeleton, iterations=n),
        )
        for n in (0, 1, 3, 8)
    },
}


def values(shape, *, steps=0, seed=0):
    """Values from 0 to 1, of which many are equal where they go in steps."""
    y = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return ((y * steps).round() / steps if steps else y).requires_grad_()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("steps", [0, 5, 1], ids="{} steps".format)
@pytest.mark.parametrize("name", OPERATIONS)
def test_shifted_slices_are_pooling_in_value_and_gradient_also_where_values_tie(name, shape, steps):
    y = values(shape, steps=steps)
    price = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, theirs = ((f(y) * price).sum() for f in OPERATIONS[name])
    same(ours, theirs, y)


@pytest.fixture(params=[1, 3], ids="{} threads".format)
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    "shape", [*SHAPES, (3, 4, 40, 9), (1, 1, 40, 33), (2, 3, 7, 34, 36), (1, 1, 19, 5, 40)], ids=str
)
@pytest.mark.parametrize("steps", [0, 5, 1], ids="{} steps".format)
@pytest.mark.parametrize("iterations", [0, 1, 4, 10])
@pytest.mark.usefixtures("threads")
def test_skeletons_by_loops_are_those_of_pooling(shape, steps, iterations):
    assert compiled("native_morphology") is not None
    y, exact = (
        values(shape, steps=steps).detach().float().to(dtype).requires_grad_() for dtype in (torch.float, torch.double)
    )
    valid = values((shape[0], 1, *shape[2:]), seed=2) > 0.2
    price = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    everywhere = soft_skeleton(y, iterations), pooled_skeleton(exact, iterations)
    within = (soft_skeleton(of, iterations, valid).where(valid, 0) for of in (y, exact))
    for ours, theirs in (everywhere, within):
        torch.testing.assert_close(ours, theirs.float())
        slope, expected = torch.autograd.grad([ours, theirs], [y, exact], [price.float(), price])
        torch.testing.assert_close(slope, expected.float())
    mask = y.detach() > 0.4
    ours, theirs = (soft_skeleton(mask.to(dtype), iterations) for dtype in (torch.uint8, torch.float64))
    torch.testing.assert_close(ours.double(), theirs)


@pytest.mark.parametrize("shape", [*SHAPES, (2, 1, 5000), (2, 3, 40, 70), (1, 2, 6, 20, 60)], ids=str)
@pytest.mark.parametrize("steps", [0, 5, 1], ids="{} steps".format)
@pytest.mark.parametrize("width", [3, 5, 9])
@pytest.mark.usefixtures("threads")
def test_dilations_by_loops_are_those_of_pooling(shape, steps, width):
    assert compiled("native_dilation") is not None
    exact = values(shape, steps=steps).detach().float().double().requires_grad_()
    y = exact.detach().float().requires_grad_()
    price = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ours, theirs = dilation(y, width=width), pooled_dilation(exact, width)
    torch.testing.assert_close(ours, theirs.float(), rtol=0, atol=0)
    slope, expected = torch.autograd.grad([ours, theirs], [y, exact], [price.float(), price])
    torch.testing.assert_close(slope, expected.float())


@pytest.mark.parametrize("shape", [*SHAPES, (3, 1, 5000), (2, 3, 40, 70), (1, 2, 6, 20, 60)], ids=str)
@pytest.mark.parametrize("steps", [0, 5, 1], ids="{} steps".format)
@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.usefixtures("threads")
def test_lengths_of_contours_by_loops_are_those_of_pooling(shape, steps, masked):
    assert compiled("native_contours") is not None
    exact = values(shape, steps=steps).detach().float().double().requires_grad_()
    y = exact.detach().float().requires_grad_()
    valid = values((shape[0], 1, *shape[2:]), seed=2) > 0.2 if masked else None
    outside = torch.zeros((), dtype=torch.bool) if valid is None else ~valid
    price = torch.randn(shape[:2], dtype=torch.float64, generator=torch.Generator().manual_seed(1))

    def pooled_length(y: Tensor) -> Tensor:
        eroded = -pooled_dilation(-y.masked_fill(outside, 2)).masked_fill(outside, 0)
        return F.relu(pooled_dilation(eroded) - eroded).masked_fill(outside, 0).flatten(2).sum(2)

    ours, theirs = contour_length(y, valid), pooled_length(exact)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    slope, expected = torch.autograd.grad([ours, theirs], [y, exact], [price, price])
    torch.testing.assert_close(slope, expected.float())
    mask = exact.detach() > 0.4
    torch.testing.assert_close(contour_length(mask.to(torch.uint8), valid), pooled_length(mask.double()))


@pytest.mark.parametrize("shape", SHAPES[:3], ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_not_valid_is_like_what_lies_beyond_the_border(name, shape):
    operation, _ = OPERATIONS[name]
    y = values(shape)
    box = (..., *[slice(1, -1)] * (len(shape) - 2))
    valid = torch.zeros(shape[0], 1, *shape[2:], dtype=torch.bool)
    valid[box] = True
    outside = y.detach().clone()
    outside[box] = 0
    same(operation(y + outside * 1e9, valid=valid)[box].square().sum(), operation(y[box]).square().sum(), y)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
def test_second_derivative_of_the_skeleton_is_that_of_pooling(shape, dtype, tolerance):
    y = values(shape).detach().to(dtype).requires_grad_()
    exact = y.detach().double().requires_grad_()
    first = (
        torch.autograd.grad(f(of, 4).pow(2).sum(), of, create_graph=True)[0]
        for f, of in ((soft_skeleton, y), (pooled_skeleton, exact))
    )
    second = torch.autograd.grad([slope.pow(2).sum() for slope in first], [y, exact])
    torch.testing.assert_close(second[0].double(), second[1], rtol=0, atol=tolerance * float(second[1].abs().max()))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_skeleton_of_a_mask_is_the_same_in_integers(shape):
    masks = values(shape, steps=1).detach()
    expected = pooled_skeleton(masks, 5)
    torch.testing.assert_close(soft_skeleton(masks.to(torch.uint8), 5).double(), expected)
    assert set(expected.unique().tolist()) <= {0.0, 1.0}


def test_erosion_and_dilation_are_those_of_grey_morphology():
    y = values((1, 1, 9, 8, 7)).detach()
    cross = np.zeros((3, 3, 3), bool)
    cross[1, 1, :] = cross[1, :, 1] = cross[:, 1, 1] = True
    eroded = grey_erosion(y[0, 0].numpy(), footprint=cross, mode="constant", cval=np.inf)
    dilated = grey_dilation(y[0, 0].numpy(), size=(5, 5, 5), mode="constant", cval=-np.inf)
    np.testing.assert_array_equal(erosion(y)[0, 0], eroded)
    np.testing.assert_array_equal(dilation(y, width=5)[0, 0], dilated)


def ellipsoids(d, seed):
    """A mask of some ellipsoids, with a hole."""
    generator = np.random.default_rng(seed)
    size = (40, 36) if d == 2 else (18, 20, 16)
    grid = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), -1)
    mask = np.zeros(size, bool)
    for _ in range(4):
        centre, radius = generator.uniform(0.2, 0.8, d) * size, generator.uniform(0.1, 0.3, d) * size
        away = (((grid - centre) / radius) ** 2).sum(-1)
        mask |= away < 1
        mask &= away > 0.1
    return mask


def pieces(mask):
    """Numbers of pieces, joined across corners, and of pieces of the background, with what lies outside."""
    outside = np.pad(~mask, 1, constant_values=True)
    return label(mask, np.ones([3] * mask.ndim))[1], label(outside)[1]


@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("seed", range(4))
def test_thinning_keeps_the_euler_characteristic_and_in_a_plane_pieces_and_holes(d, seed):
    mask = ellipsoids(d, seed)
    thin = thinned(torch.from_numpy(mask)[None, None], iterations=20)[0, 0].numpy()
    assert euler_number(thin, d) == euler_number(mask, d)
    assert d == 3 or pieces(thin) == pieces(mask)
    assert not (thin & ~mask).any()
    assert thin.sum() < mask.sum() / 2


def tubes():
    """Labels of two branches, one of them thicker than the other, in 3D."""
    target = torch.zeros(2, 12, 14, 10, dtype=torch.long)
    target[0, 3:8, 1:13, 3:7] = 1
    target[0, 8:11, 5:8, 4:7] = 2
    target[1, 2:5, 2:5, 1:9] = 2
    return target


def test_tubes_are_the_dilated_lines_of_all_foreground_with_its_labels():
    target = tubes()
    for radius in (0, 1, 2, 4):
        found = segloss.tubed_skeleton(target, radius=radius)
        for labels, tube in zip(target.numpy(), found.numpy(), strict=True):
            line = skeletonize(labels > 0) > 0
            expected = binary_dilation(line, iterations=radius) if radius else line
            np.testing.assert_array_equal(tube, labels * expected)
    torch.testing.assert_close(segloss.tubed_skeleton(target.unsqueeze(1)), segloss.tubed_skeleton(target))
    ignored = target.masked_fill(target == 2, 255)
    without = segloss.tubed_skeleton(target.masked_fill(target == 2, 0))
    torch.testing.assert_close(segloss.tubed_skeleton(ignored, ignore_index=255), without)


@pytest.mark.parametrize("pooled", [False, True])
def test_skeleton_recall_is_the_recall_of_the_tubes(pooled):
    target = tubes()
    logits = torch.randn(2, 3, *target.shape[1:], dtype=torch.float64).requires_grad_()
    tube = segloss.tubed_skeleton(target)
    how = {"smooth": 0.3, "batch": pooled}
    for given in ({"skeleton": tube}, {"skeleton": tube.unsqueeze(1)}, {}):
        tversky = segloss.tversky_loss(logits, tube, alpha=0, beta=1, include_background=False, **how)
        same(segloss.skeleton_recall_loss(logits, target, **given, **how), tversky, logits)


@pytest.mark.parametrize("shape", [(31, 40), (12, 16, 17)], ids=str)
@pytest.mark.parametrize("seed", range(4))
def test_hard_skeletons_are_those_of_the_whole_image(shape, seed):
    generator = np.random.default_rng(seed)
    masks = np.zeros((2, 3, *shape), bool)
    for mask in masks.reshape(-1, *shape)[:5]:
        first = generator.integers(0, np.array(shape) - 1)
        box = tuple(slice(at, at + n) for at, n in zip(first, generator.integers(1, shape), strict=True))
        mask[box] = generator.random(mask[box].shape) < 0.9
    masks[0, 1], masks[1, 0] = False, False
    masks[0, 1, 0] = masks[1, 0, -1] = generator.random(shape[1:]) < 0.9  # one voxel thick, at an edge
    found = hard_skeleton(torch.from_numpy(masks)).numpy()
    for mask, line in zip(masks.reshape(-1, *shape), found.reshape(-1, *shape), strict=True):
        np.testing.assert_array_equal(line, skeletonize(mask) > 0 if mask.any() else mask)


def test_skeletons_name_what_is_to_be_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.morphology", None)
    with pytest.raises(ImportError, match=r'pip install "segloss-catalog\[skeleton\]"'):
        segloss.tubed_skeleton(tubes())
    with pytest.raises(ImportError, match=r'pip install "segloss-catalog\[skeleton\]"'):
        hard_skeleton(tubes()[:, None] > 0)


@pytest.mark.parametrize(
    ("skeleton", "error"),
    [
        (torch.zeros(2, 5, 5), "floating"),
        (torch.zeros(2, 5, 6, dtype=torch.long), "shape"),
        (torch.full((2, 5, 5), 2), "from 0 to 1"),
        (torch.full((2, 5, 5), -1), "from 0 to 1"),
    ],
    ids=["floating", "shape", "above", "below"],
)
def test_wrong_skeletons_are_refused(skeleton, error):
    with pytest.raises(ValueError, match="skeleton must"):
        segloss.skeleton_recall_loss(torch.zeros(2, 1, 5, 5), torch.zeros(2, 5, 5, dtype=torch.long), skeleton=skeleton)


def sample(classes, shape=(2, 13, 11), seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(shape[0], classes, *shape[1:], generator=generator, dtype=torch.float64)
    coarse = torch.randint(0, max(classes, 2), (shape[0], 1, *(-(-n // 4) for n in shape[1:])), generator=generator)
    box = (..., *(slice(n) for n in shape[1:]))
    target = coarse
    for axis in range(2, coarse.ndim):
        target = target.repeat_interleave(4, axis)
    return logits.requires_grad_(), target[:, 0][box]


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("shape", [(2, 19), (2, 13, 11), (2, 7, 9, 8)], ids=str)
@pytest.mark.parametrize("smooth", [1.0, 0.0])
def test_soft_cldice_is_its_formula(classes, shape, smooth):
    logits, target = sample(classes, shape)
    p = logits.sigmoid() if classes == 1 else logits.softmax(1)
    g = target[:, None].double() if classes == 1 else F.one_hot(target, classes).movedim(-1, 1).double()
    s_p, s_g = pooled_skeleton(p, 4), pooled_skeleton(g, 4)
    each = []
    for i in range(2):
        t_p = ((s_p[i] * g[i]).sum() + smooth) / (s_p[i].sum() + smooth)
        t_s = ((s_g[i] * p[i]).sum() + smooth) / (s_g[i].sum() + smooth)
        each.append(1 - 2 * t_p * t_s / (t_p + t_s))
    same(segloss.soft_cldice_loss(logits, target, iterations=4, smooth=smooth), sum(each) / 2, logits)


def test_compound_of_dice_and_cldice_ends_at_its_parts():
    logits, target = sample(1)
    how = {"iterations": 3, "dice_smooth": 0.7, "smooth": 0.2, "batch": True}
    for alpha in (0, 0.3, 1):
        dice = segloss.dice_loss(logits, target, smooth=0.7, batch=True)
        cldice = segloss.soft_cldice_loss(logits, target, iterations=3, smooth=0.2, batch=True)
        loss = segloss.soft_dice_cldice_loss(logits, target, alpha=alpha, **how)
        same(loss, (1 - alpha) * dice + alpha * cldice, logits)


def test_cldice_of_the_truth_is_zero_and_asks_for_the_missing_piece():
    target = torch.zeros(1, 9, 15, dtype=torch.long)
    target[:, 3:6, 1:14] = 1
    logits = torch.where(target > 0, 30.0, -30.0).unsqueeze(1)
    assert segloss.soft_cldice_loss(logits, target, iterations=3).item() == pytest.approx(0, abs=1e-6)
    broken = (logits / 10).clone()
    broken[..., 7] = -1.0
    broken.requires_grad_()
    (gradient,) = torch.autograd.grad(segloss.soft_cldice_loss(broken, target, iterations=3), broken)
    assert gradient[0, 0, 4, 7] < 0
    assert gradient[0, 0, 4, 7] == gradient.min()


def naive_centerline_boundary_dice(logits, target, iterations, smooth):
    """The formula for one image, voxel by voxel where it matters."""
    z = logits[1:].amax(0) - logits[0]
    p, g = z.sigmoid(), (target > 0).double()
    d = target.ndim
    parts = []
    for v, inside in ((p, p > 0.5), (g, g > 0)):
        line = pooled_skeleton(inside.double()[None, None], iterations)[0, 0].numpy() > 0
        depth = distance_transform_edt(inside.numpy()) if inside.any() else np.zeros(inside.shape)
        r = np.where(line, depth, 0)
        top = max(r.max(), 1)
        weight = np.where(line, ((top - r + 1) / top) ** (2 if d == 3 else 1), 0)
        parts.append([torch.from_numpy(x) * v for x in (weight, np.minimum(depth, top) / top, r / top)])
    (line_p, depth_p, r_p), (line_g, depth_g, r_g) = parts
    below_p = below_g = torch.zeros(())
    for i in itertools.product(*map(range, target.shape)):
        below_p = below_p + line_p[i] * (r_p[i] if r_g[i] == 0 else r_g[i])
        below_g = below_g + line_g[i] * (r_g[i] if r_p[i] == 0 else r_p[i])
    t_p = ((line_p * depth_g).sum() + smooth) / (below_p + smooth)
    t_s = ((line_g * depth_p).sum() + smooth) / (below_g + smooth)
    return 1 - 2 * t_p * t_s / (t_p + t_s)


@pytest.mark.parametrize("shape", [(2, 13, 11), (2, 7, 9, 8)], ids=str)
def test_centerline_boundary_dice_is_its_formula(shape):
    logits, target = sample(3, shape)
    target = (target > 0).long() * (1 + target % 2)
    expected = sum(naive_centerline_boundary_dice(x, t, 3, 0.1) for x, t in zip(logits, target, strict=True)) / 2
    same(segloss.centerline_boundary_dice_loss(logits, target, iterations=3, smooth=0.1), expected, logits)


@pytest.mark.parametrize("thinning", ["morphological", "topological"])
@pytest.mark.parametrize("weighting", ["boundary", "mask", "none"])
def test_centerline_boundary_dice_of_the_truth_is_zero(weighting, thinning):
    _, target = sample(1, (2, 13, 11))
    logits = 80.0 * target[:, None] - 40
    how = {"weighting": weighting, "thinning": thinning, "smooth": 0.0}
    assert segloss.centerline_boundary_dice_loss(logits, target, **how).item() == pytest.approx(0, abs=1e-6)


def test_unweighted_centerline_dice_of_hard_predictions_is_cldice():
    _, target = sample(1)
    logits = 100 * sample(1, seed=3)[0].detach().sign()
    ours = segloss.centerline_boundary_dice_loss(logits, target, weighting="none", iterations=4)
    torch.testing.assert_close(ours, segloss.soft_cldice_loss(logits, target, iterations=4))


def test_centerline_boundary_dice_has_no_gradient_where_background_is_predicted():
    logits, target = sample(1)
    (gradient,) = torch.autograd.grad(segloss.centerline_boundary_dice_loss(logits, target), logits)
    assert gradient[logits > 0].any()
    assert not gradient[logits < 0].any()
