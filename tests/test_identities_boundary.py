"""Identities of the losses that measure distances to a contour, and of the maps made beforehand."""

import itertools
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import segloss
from segloss.core import ball_prices, eroded_errors
from segloss.precompute import distance_map, signed_distance_map
from tests.test_identities_supervision import same

PAGE = Path(__file__).resolve().parent.parent / "docs" / "precompute.md"
SHAPES = [((2, 3, 9, 7), (1.0, 1.0)), ((1, 2, 5, 4, 6), (2.0, 0.5, 1.5)), ((2, 1, 13), (0.7,))]
DISTANCE_LOSSES = [
    segloss.boundary_loss,
    segloss.hausdorff_dt_loss,
    segloss.log_hausdorff_dt_loss,
    segloss.dice_hd_loss,
]


def batch(shape):
    """Random logits, and labels in patches of several voxels."""
    generator = torch.Generator().manual_seed(len(shape))
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    coarse = torch.randint(0, max(2, shape[1]), (shape[0], 1, *(-(-n // 3) for n in shape[2:])), generator=generator)
    return logits.requires_grad_(), F.interpolate(coarse.double(), size=shape[2:]).long()[:, 0]


def one_hot(target, classes):
    return torch.stack([target == name for name in (range(classes) if classes > 1 else (1,))], 1)


def probabilities(logits):
    return logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()


def field(masks, spacing):
    """The distance to the nearest voxel of the other side, voxel by voxel."""
    found = np.zeros(masks.shape)
    for index in np.ndindex(masks.shape):
        b, c, *here = index
        other = np.argwhere(masks[b, c].numpy() != bool(masks[index]))
        if len(other):
            found[index] = np.sqrt((((other - here) * spacing) ** 2).sum(1)).min()
    return torch.from_numpy(found)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("rim", [0.0, 1.0, 0.3])
def test_boundary_loss_by_brute_force(shape, spacing, rim):
    logits, target = batch(shape)
    g = one_hot(target, shape[1])
    d = field(g, spacing)
    phi = torch.where(g, (rim - d) * (d > 0), d)
    same(segloss.boundary_loss(logits, target, rim=rim, spacing=spacing), (probabilities(logits) * phi).mean(), logits)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize(
    ("alpha", "one_sided", "side"), [(2.0, False, "both"), (1.0, True, "both"), (0.5, False, "inside")]
)
def test_hausdorff_by_distances_by_brute_force(shape, spacing, alpha, one_sided, side):
    logits, target = batch(shape)
    p, g = probabilities(logits), one_hot(target, shape[1])
    price = 0
    for mask in (g,) if one_sided else (g, p > 0.5):
        d = field(mask, spacing)
        price = price + (d if side == "both" else d * mask) ** alpha
    expected = ((p - g.double()) ** 2 * price).mean()
    keywords = {"alpha": alpha, "one_sided": one_sided, "side": side, "spacing": spacing}
    same(segloss.hausdorff_dt_loss(logits, target, **keywords), expected, logits)


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
@pytest.mark.parametrize("alpha", [1.0, 2.0, 1.5])
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("ignored", [None, 7, 1])
def test_distances_inside_of_all_classes_at_once_are_those_of_each(shape, spacing, alpha, one_sided, ignored):
    """Float32 takes them at once where it can, float64 one by one; so do second derivatives."""
    logits, target = batch(shape)
    keywords = {"side": "inside", "spacing": spacing, "ignore_index": ignored, "alpha": alpha}
    losses = [
        partial(segloss.hausdorff_dt_loss, target=target, one_sided=one_sided, **keywords),
        partial(segloss.dice_hd_loss, target=target, **keywords),
    ]
    for loss in losses:
        found = []
        for dtype in (torch.float64, torch.float32):
            x = logits.detach().to(dtype).requires_grad_()
            value = loss(x)
            (slope,) = torch.autograd.grad(value, x, create_graph=True)
            (curvature,) = torch.autograd.grad(slope.square().sum(), x)
            found.append([it.detach().double() for it in (value, slope, curvature)])
        for exact, near in zip(*found, strict=True):
            assert (near - exact).norm() <= 1e-5 * exact.norm()


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_hausdorff_by_erosions_by_brute_force(shape, spacing):
    logits, target = batch(shape)
    p, g, axes = probabilities(logits), one_hot(target, shape[1]).double(), len(shape) - 2
    at = torch.stack(torch.meshgrid(*[torch.arange(-1, 2)] * axes, indexing="ij"))
    cross = (at.abs().sum(0) <= 1).double() / (2 * axes + 1)
    total = 0
    for b, c in itertools.product(range(shape[0]), range(shape[1])):
        e = (p[b, c] - g[b, c]) ** 2
        for k in range(1, 5):
            convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
            e = (convolve(e[None, None], cross[None, None], padding=1)[0, 0] - 0.5).clamp(min=0)
            if e.amax() > e.amin():
                e = (e - e.amin()) / (e.amax() - e.amin())
            total = total + k**1.5 * e.mean()
    loss = segloss.hausdorff_erosion_loss(logits, target, alpha=1.5, erosions=4)
    same(loss, total / (shape[0] * shape[1]), logits)


@pytest.mark.parametrize("shape", [(2, 2, 1500), (1, 2, 40, 70), (2, 1, 9, 20, 70), (3, 2, 1, 4, 4)], ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("stretched", [False, True])
@pytest.mark.parametrize("wrong", [0.7, 0.97, 1.0])
def test_erosions_by_loops_are_those_step_by_step(shape, masked, stretched, wrong):
    """Where all is wrong, erosions leave something of every voxel, and the least has a price, too."""
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(1))
    g, valid = draw(shape) < 0.5, draw(shape[0], 1, *shape[2:]) < 0.95 if masked else None
    p = torch.where(draw(shape) < wrong, 0.95 * ~g + 0.05 * draw(shape), draw(shape))
    if valid is not None:
        p, g = p * valid, g & valid
    erosions_agree(p, g, valid, [1.0, 3.0, 0.5, 2.0], stretched)


@pytest.mark.parametrize("shape", [(1, 2, 13), (1, 1, 6, 7), (2, 2, 3, 4, 5)], ids=str)
def test_extremes_of_erosions_that_tie_share_their_price(shape):
    """A mirrored map has each value twice, if its sums are exact."""
    q = torch.randint(61, 64, shape, generator=torch.Generator().manual_seed(1)) / 64
    erosions_agree((q + q.flip(-1)) / 2, torch.zeros(shape, dtype=torch.bool), None, [1.0], True)


def erosions_agree(p, g, valid, prices, stretched):
    """In single precision they are found by loops."""
    found = []
    for y in p, p.double():
        leaf = y.detach().requires_grad_()
        sums = eroded_errors(leaf, g, valid, prices, stretched=stretched)
        price = torch.arange(1.0, 1 + sums.numel(), dtype=sums.dtype).view_as(sums)
        slope = torch.autograd.grad((sums * price).sum(), leaf)[0].double()
        found += [sums, slope if valid is None else slope * valid]
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=0)
    torch.testing.assert_close(found[1], found[3], rtol=0, atol=1e-4 * found[3].abs().max().item())


@pytest.mark.parametrize(("shape", "spacing"), SHAPES)
def test_hausdorff_by_convolutions_by_brute_force(shape, spacing):
    logits, target = batch(shape)
    p, g, axes = probabilities(logits), one_hot(target, shape[1]).double(), len(shape) - 2
    extra, missed = 0, 0
    radii = [1, 2.5, 9]  # the last spans most of these images
    for r in radii:
        reach = int(r)
        at = torch.stack(torch.meshgrid(*[torch.arange(-reach, reach + 1)] * axes, indexing="ij"))
        ball = (at.square().sum(0) <= r**2).double()
        ball = (ball / ball.sum()).expand(shape[1], 1, *ball.shape)
        convolve = (F.conv1d, F.conv2d, F.conv3d)[axes - 1]
        # Beyond the image is background: the complement of a mask is 1 there.
        of = {
            name: convolve(F.pad(m, [reach] * (2 * axes), value=value), ball, groups=shape[1])
            for name, m, value in (
                ("g", g, 0),
                ("not g", 1 - g, 1),
                ("p", (p > 0.5).double(), 0),
                ("not p", (p <= 0.5).double(), 1),
            )
        }
        above = {name: (a - 0.5).clamp(min=0) for name, a in of.items()}
        extra = extra + r**2 * (above["not g"] + above["p"])
        missed = missed + r**2 * (above["g"] + above["not p"])
    expected = ((p - g) ** 2 * (extra * p + missed * g)).mean()
    same(segloss.hausdorff_convolution_loss(logits, target, radii=radii), expected, logits)


@pytest.mark.parametrize(
    ("shape", "radii"),
    [
        *[((2, 3, 40), [1, 2.5, 9]), ((1, 1, 5), [7]), ((2, 2, 12, 17), [1, 2.5, 9]), ((1, 2, 3, 4), [6, 1.5])],
        *[
            ((1, 1, 70, 80), [3, 5**0.5, 18]),
            ((1, 2, 6, 7, 9), [1.5, 20]),
            ((2, 1, 21, 20, 25), [3, 6]),
            ((1, 1, 43, 43, 43), [21]),
        ],
    ],
    ids=str,
)
@pytest.mark.parametrize("share", [0.002, 0.4, 0.9])
def test_balls_by_loops_are_those_by_fourier_transform(shape, radii, share):
    """The last ball has more voxels than a short integer counts."""
    g, yes = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)) < share
    found = [ball_prices(g, yes, radii, [1.0, 0.3, 2.0][: len(radii)], t) for t in (torch.float32, torch.float64)]
    torch.testing.assert_close(found[0], found[1].float())


def test_boundary_loss_is_least_for_the_truth_and_linear_in_the_probabilities():
    logits, target = batch((2, 3, 9, 7))
    truth = one_hot(target, 3).double()
    p, q = (probabilities(x) for x in (logits.detach(), -logits.detach()))
    at = [segloss.boundary_loss(x, target, activation="none", reduction="none") for x in (p, q, (p + 3 * q) / 4, truth)]
    torch.testing.assert_close(at[2], (at[0] + 3 * at[1]) / 4)
    assert (at[3] <= torch.minimum(at[0], at[1])).all()
    assert (at[3] <= 0).all()


def test_hausdorff_loss_of_a_false_voxel_grows_with_the_square_of_its_distance():
    target = torch.zeros(1, 41, dtype=torch.long)
    target[:, :5] = 1
    values = []
    for at in (10, 20, 40):
        logits = 40.0 * target[:, None].double() - 20
        logits[..., at] = 0.0
        values.append(segloss.hausdorff_dt_loss(logits, target, one_sided=True).item() * 41 / 0.25)
    assert values == pytest.approx([6**2, 16**2, 36**2])


def test_log_hausdorff_is_the_logarithm_of_the_mean():
    logits, target = batch((2, 3, 9, 7))
    same(
        segloss.log_hausdorff_dt_loss(logits, target, include_background=False),
        segloss.hausdorff_dt_loss(logits, target, include_background=False).log1p(),
        logits,
    )
    assert segloss.log_hausdorff_dt_loss(logits, target, reduction="none").shape == (1,)


@pytest.mark.parametrize("batch_dice", [True, False])
def test_dice_hd_balances_its_parts(batch_dice):
    logits, target = batch((2, 3, 9, 7))
    hausdorff = segloss.hausdorff_dt_loss(logits, target, side="inside")
    dice = segloss.dice_loss(logits, target, smooth=1e-5, batch=batch_dice)
    w = (hausdorff / (dice + 1e-5)).detach()
    same(segloss.dice_hd_loss(logits, target, batch=batch_dice), w * dice + hausdorff, logits)


def test_without_stretching_one_erosion_is_all():
    logits, target = batch((2, 3, 9, 7))
    keywords = {"normalise": False, "alpha": 3.0}
    same(
        segloss.hausdorff_erosion_loss(logits, target, erosions=7, **keywords),
        segloss.hausdorff_erosion_loss(logits, target, erosions=1, **keywords),
        logits,
    )


@pytest.mark.parametrize("loss", DISTANCE_LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("classes", [1, 3])
def test_absent_and_full_classes_have_no_distance(loss, classes):
    logits = torch.randn(2, classes, 8, 7, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.zeros(2, 8, 7, dtype=torch.long)
    target[1] = max(1, classes - 1)
    value = loss(logits, target, **({} if loss is segloss.boundary_loss else {"alpha": 2.0}))
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
    if loss is segloss.boundary_loss:
        assert value == 0
        assert not gradient.any()


@pytest.mark.parametrize("backend", ["scipy", "numba"])
@pytest.mark.parametrize("loss", DISTANCE_LOSSES, ids=lambda loss: loss.__name__)
def test_every_backend_gives_the_same_loss(loss, backend):
    pytest.importorskip(backend)
    logits, target = batch((1, 2, 5, 4, 6))
    expected = loss(logits, target, spacing=(2, 0.5, 1.5))
    with segloss.distance_backend(backend):
        torch.testing.assert_close(loss(logits, target, spacing=(2, 0.5, 1.5)), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(
    ("start", "step", "kind", "epoch", "weights"),
    [
        (0.01, 0.01, "rebalance", 0, (0.99, 0.01)),
        (0.01, 0.01, "rebalance", 49, (0.5, 0.5)),
        (0.01, 0.01, "rebalance", 500, (0.0, 1.0)),
        (0.1, 0.0, "increase", 7, (1.0, 0.1)),
        (0.0, 0.5, "increase", 3, (1.0, 1.0)),
    ],
)
def test_boundary_schedule(start, step, kind, epoch, weights):
    assert segloss.boundary_schedule(epoch, start=start, step=step, kind=kind) == pytest.approx(weights)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("rim", lambda x, y: segloss.boundary_loss(x, y, rim=-1)),
        ("alpha", lambda x, y: segloss.hausdorff_dt_loss(x, y, alpha=0)),
        ("side", lambda x, y: segloss.hausdorff_dt_loss(x, y, side="outside")),
        ("side", lambda x, y: segloss.dice_hd_loss(x, y, side="none")),
        ("smooth", lambda x, y: segloss.dice_hd_loss(x, y, smooth=-1)),
        ("alpha", lambda x, y: segloss.log_hausdorff_dt_loss(x, y, alpha=-1)),
        ("erosions", lambda x, y: segloss.hausdorff_erosion_loss(x, y, erosions=0)),
        ("alpha", lambda x, y: segloss.hausdorff_erosion_loss(x, y, alpha=0)),
        ("radii", lambda x, y: segloss.hausdorff_convolution_loss(x, y, radii=[])),
        ("radii", lambda x, y: segloss.hausdorff_convolution_loss(x, y, radii=[3, 0])),
        ("alpha", lambda x, y: segloss.hausdorff_convolution_loss(x, y, alpha=0)),
        ("epoch", lambda x, y: segloss.boundary_schedule(-1)),
        ("start", lambda x, y: segloss.boundary_schedule(0, start=2)),
        ("kind", lambda x, y: segloss.boundary_schedule(0, kind="fall")),
        ("classes", lambda x, y: signed_distance_map(y, 0, batched=True)),
        ("target", lambda x, y: signed_distance_map(y, 2, batched=True)),
        ("target", lambda x, y: signed_distance_map(y.double(), 3, batched=True)),
        ("target", lambda x, y: signed_distance_map(one_hot(y, 3), 2, batched=True)),
        ("target", lambda x, y: signed_distance_map(y[0, 0, 0], 3)),
        ("target", lambda x, y: distance_map(x > 0, 3)),
        ("ignore_index", lambda x, y: distance_map(x > 0, 3, batched=True, ignore_index=1)),
        ("spacing", lambda x, y: distance_map(y, 3, batched=True, spacing=[1.0])),
        ("side", lambda x, y: distance_map(y, 3, batched=True, side="left")),
    ],
)
def test_what_makes_no_sense_is_refused(argument, call):
    logits, target = batch((2, 3, 9, 7))
    with pytest.raises(ValueError, match=argument):
        call(logits, target)


def test_what_is_no_tensor_is_refused():
    logits, target = batch((2, 3, 9, 7))
    with pytest.raises(TypeError, match="target must be a tensor or an array"):
        signed_distance_map([[0, 1]], 1)
    with pytest.raises(TypeError, match="distance must be a tensor"):
        segloss.boundary_loss(logits, target, distance=[[0.0]])


@pytest.mark.parametrize("classes", [1, 3])
def test_targets_of_every_form_have_the_same_map(classes):
    _, target = batch((2, classes, 9, 7))
    expected = signed_distance_map(target, classes, batched=True, spacing=(2, 1))
    assert expected.shape == (2, classes, 9, 7)
    assert expected.dtype == torch.float32
    forms = [target.unsqueeze(1), target.to(torch.uint8), target.numpy(), one_hot(target, classes)]
    for form in forms:
        assert torch.equal(signed_distance_map(form, classes, batched=True, spacing=(2, 1)), expected)
    one = signed_distance_map(target[0], classes, spacing=(2, 1))
    assert torch.equal(one, expected[0])
    assert torch.equal(signed_distance_map(one_hot(target, classes)[0], classes, spacing=(2, 1)), one)
    assert torch.equal(distance_map(target[0], classes, spacing=(2, 1)), one.abs())
    inside, outside = (distance_map(target[0], classes, spacing=(2, 1), side=side) for side in ("inside", "outside"))
    assert torch.equal(outside - inside, one)


def test_ignored_voxels_are_on_no_side():
    target = torch.tensor([0, 255, 255, 1, 1, 0])
    found = signed_distance_map(target, 1, ignore_index=255)
    assert found.tolist() == [[3.0, 0.0, 0.0, -2.0, -1.0, 1.0]]
    with pytest.raises(ValueError, match="ignore_index"):
        signed_distance_map(target, 1)


def test_cutting_and_flipping_a_map_is_that_of_a_label_map():
    _, target = batch((1, 3, 9, 7))
    found = signed_distance_map(target[0], 3)
    assert torch.equal(signed_distance_map(target[0].flip(1), 3), found.flip(2))
    assert math.isfinite(found.sum())


def test_precompute_offers_every_map():
    names = {"signed_distance_map", "distance_map", "unet_weight_map", "inverse_weight_map", "distance_backend"}
    assert names <= set(dir(segloss.precompute))
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in page or f"::: segloss.precompute.{name}" in page for name in names)
