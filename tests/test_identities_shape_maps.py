"""Losses of distance maps and of layers: brute force, special cases, and maps made beforehand."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import segloss
from segloss.core import distance_map, signed_distance_map
from segloss.precompute import contour_distance_map
from segloss.testing.samples import blobs, label_map
from tests.parity.run import GOLDEN
from tests.test_identities import batch, same

PLACES = [((11,), (1.5,)), ((8, 7), (0.7, 2.0)), ((5, 4, 6), (3.0, 1.0, 0.5))]


@pytest.fixture(params=PLACES, ids=lambda place: f"{len(place[0])}D")
def place(request):
    return request.param


def scene(classes, shape, seed=0):
    """Logits, and labels of several shapes; as masks where classes overlap, with a negative number of them."""
    generator = torch.Generator().manual_seed(seed)
    draw = label_map if classes > 0 else blobs
    target = torch.stack([draw(abs(classes), shape, generator) for _ in range(2)])
    logits = 2 * torch.randn(2, abs(classes), *shape, generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), target


def cross_entropy(logits, target, reduction="mean"):
    if target.ndim == logits.ndim:
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype), reduction=reduction)
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction=reduction)
    return F.cross_entropy(logits, target, reduction=reduction)


def masks_of(logits, target):
    if target.ndim == logits.ndim:
        return target
    return target[:, None] > 0 if logits.shape[1] == 1 else F.one_hot(target, logits.shape[1]).movedim(-1, 1) > 0


def nearest(places, voxel, spacing):
    """The distance of a voxel to the nearest of some places."""
    return np.sqrt((((np.array(voxel) - np.array(places)) * spacing) ** 2).sum(1)).min()


def where(region):
    return [tuple(voxel) for voxel in np.argwhere(np.asarray(region))]


def contour(region):
    """Voxels with a neighbour along an axis, in the image, that is not of the region."""
    inside = set(where(region))
    steps = [sign * step for step in np.eye(region.ndim, dtype=int) for sign in (1, -1)]

    def outside(voxel):
        return voxel not in inside and all(0 <= at < size for at, size in zip(voxel, region.shape, strict=True))

    return [voxel for voxel in sorted(inside) if any(outside(tuple(np.array(voxel) + step)) for step in steps)]


def penalty(labels, spacing, normalise):
    """The reversed distance in every class of a map of labels."""
    phi = torch.zeros(labels.shape, dtype=torch.float64)
    for label in labels.unique():
        others = where(labels != label)
        depth = {voxel: nearest(others, voxel, spacing) for voxel in where(labels == label)} if others else {}
        reversed_ = {voxel: max(depth.values()) - d for voxel, d in depth.items()}
        top = max(reversed_.values(), default=0) if normalise else 1
        for voxel, r in reversed_.items():
            phi[voxel] = r / top if top > 0 else 0
    return phi


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("classes", [1, 3, -2])
def test_the_penalty_is_its_formula(classes, normalise, place):
    shape, spacing = place
    logits, target = scene(classes, shape)
    maps = target.flatten(0, 1).long() if classes < 0 else target
    phi = torch.stack([penalty(labels, spacing, normalise) for labels in maps]).view(target.shape)
    how = {"activation": "sigmoid"} if classes < 0 else {}
    value = segloss.distance_penalised_cross_entropy_loss(logits, target, normalise=normalise, spacing=spacing, **how)
    same(value, ((1 + phi) * cross_entropy(logits, target, "none")).mean(), logits)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("classes", [1, 3, -2])
def test_distances_made_beforehand_give_the_same(classes, signed, place):
    shape, spacing = place
    logits, target = scene(classes, shape)
    make = signed_distance_map if signed else distance_map
    distance = make(masks_of(logits, target), spacing=spacing, dtype=torch.float64)
    how = {"activation": "sigmoid"} if classes < 0 else {}
    for loss, keywords in (
        (segloss.distance_penalised_cross_entropy_loss, how),
        (segloss.signed_distance_regression_loss, {"steepness": 5.0}),
    ):
        same(
            loss(logits, target, distance=distance, **keywords),
            loss(logits, target, spacing=spacing, **keywords),
            logits,
        )


def test_the_penalty_grows_with_the_voxels_unless_it_is_normalised():
    logits, target = scene(3, (9, 8))

    def rise(normalise, spacing):
        loss = segloss.distance_penalised_cross_entropy_loss(logits, target, normalise=normalise, spacing=spacing)
        return loss - cross_entropy(logits, target)

    same(rise(False, (2.0, 3.0)), 2 * rise(False, (1.0, 1.5)), logits)
    same(rise(True, (2.0, 3.0)), rise(True, (1.0, 1.5)), logits)


@pytest.mark.parametrize("label", [0, 2])
def test_without_another_class_and_in_thin_ones_nothing_is_penalised(label):
    logits, _ = scene(3, (9, 8))
    alone = torch.full((2, 9, 8), label)
    stripes = torch.arange(8).remainder(3).expand(2, 9, 8)
    for target in (alone, stripes):
        same(segloss.distance_penalised_cross_entropy_loss(logits, target), cross_entropy(logits, target), logits)


@pytest.mark.parametrize("classes", [1, 2, -2])
def test_the_shape_term_is_its_formula(classes, place):
    shape, spacing = place
    logits, target = scene(classes, shape)
    true = masks_of(logits, target)[:, -1 if classes == 2 else 0 :]
    predicted = logits[:, 1:] > logits[:, :1] if classes == 2 else logits > 0
    E = torch.zeros(true.shape[:2], dtype=torch.float64)
    for at in itertools.product(*map(range, E.shape)):
        C, C_hat = contour(true[at]), contour(predicted[at])
        if C and C_hat:
            E[at] = np.mean([nearest(C, voxel, spacing) for voxel in C_hat])
    assert E.any()
    weight = 1 + E.view(*E.shape, *[1] * len(shape)) * (true != predicted)
    weight = weight if classes < 0 else weight[:, 0]
    how = {"activation": "sigmoid"} if classes < 0 else {}
    expected = (weight * cross_entropy(logits, target, "none")).mean()
    same(segloss.shape_aware_cross_entropy_loss(logits, target, spacing=spacing, **how), expected, logits)
    distance = contour_distance_map(target, abs(classes), spacing=spacing, batched=True).double()
    given = segloss.shape_aware_cross_entropy_loss(logits, target, contour_distance=distance, **how)
    torch.testing.assert_close(given, expected, rtol=1e-6, atol=0)


def test_contours_are_those_of_the_voxels_that_count():
    logits, target = scene(2, (9, 8))
    target = target.masked_fill(torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.2, 255)
    distance = contour_distance_map(target, 2, batched=True, ignore_index=255).double()
    given = segloss.shape_aware_cross_entropy_loss(logits, target, contour_distance=distance, ignore_index=255)
    same(given, segloss.shape_aware_cross_entropy_loss(logits, target, ignore_index=255), logits)


def test_two_channels_are_one_by_their_difference():
    logits, target = scene(2, (9, 8))
    one = segloss.shape_aware_cross_entropy_loss(logits[:, 1:] - logits[:, :1], target)
    same(segloss.shape_aware_cross_entropy_loss(logits, target), one, logits)
    half = segloss.shape_aware_cross_entropy_loss(logits.softmax(1), target, activation="none")
    torch.testing.assert_close(half, one)


@pytest.mark.parametrize("case", ["right", "no truth", "no prediction", "all foreground"])
def test_without_a_distance_the_shape_term_vanishes(case):
    logits, target = scene(1, (9, 8))
    signs = {"right": 2.0 * target - 1, "no prediction": -1.0, "no truth": 1.0, "all foreground": 1.0}
    logits = logits.abs() * torch.as_tensor(signs[case]).reshape(-1, 1, *target.shape[1:] if case == "right" else ())
    logits = logits.detach().requires_grad_()
    target = torch.zeros_like(target) if case == "no truth" else target
    same(segloss.shape_aware_cross_entropy_loss(logits, target), cross_entropy(logits, target), logits)


@pytest.mark.parametrize("shift", [1, 2, 4])
def test_the_further_the_contour_the_dearer_a_mistake(shift):
    target = torch.zeros(1, 20, 20, dtype=torch.long)
    target[:, 5:12, 4:12] = 1
    logits = (6.0 * target.roll(shift, -1) - 3)[:, None]
    each = segloss.shape_aware_cross_entropy_loss(logits, target, reduction="none")
    mistaken = target.roll(shift, -1) != target
    E = each[mistaken] / cross_entropy(logits, target, "none")[mistaken] - 1
    torch.testing.assert_close(E, E[0].expand_as(E))
    assert 0.4 * shift < E[0] < shift


def smoothness(y, window):
    """The term of every pixel, one by one."""
    half = window // 2
    rows = [torch.zeros(y.shape[:-1], dtype=y.dtype)] * y.shape[-1]
    for x in range(half, y.shape[-1] - half):
        mean = sum(y[..., x + d] for d in range(-half, half + 1)) / window
        rows[x] = ((1 + mean) / (1 + y[..., x]) - 1).abs()
    return torch.stack(rows, -1)


@pytest.mark.parametrize("window", [1, 3, 5, 9, 21])
def test_the_smoothness_is_its_formula(window):
    logits, target = batch(1, shape=(6, 17))
    expected = cross_entropy(logits, target, "sum") + 30 * smoothness(logits.sigmoid(), window).sum()
    value = segloss.layer_smoothness_loss(logits, target, smoothness_weight=30.0, window=window, reduction="sum")
    same(value, expected, logits)


def test_windows_with_ignored_pixels_have_no_term():
    logits, target = batch(1, shape=(6, 17))
    mask = torch.rand(2, 1, 6, 17, generator=torch.Generator().manual_seed(0)) < 0.9
    whole = F.pad(mask.unfold(-1, 3, 1).all(-1), (1, 1))
    terms = cross_entropy(logits, target, "none") * mask[:, 0] + 5 * (smoothness(logits.sigmoid(), 3) * whole)[:, 0]
    value = segloss.layer_smoothness_loss(logits, target, smoothness_weight=5.0, window=3, mask=mask)
    same(value, terms.sum() / mask.sum(), logits)


@pytest.mark.parametrize("height", [0.3, -1.7, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_flat_rows_cost_exactly_nothing(height, dtype):
    logits = torch.full((1, 1, 5, 30), height, dtype=dtype).add(torch.arange(5)[:, None]).requires_grad_()
    target = torch.ones(1, 5, 30, dtype=torch.long)
    value = segloss.layer_smoothness_loss(logits, target, ce_weight=0.0, smoothness_weight=1e6)
    assert value == 0
    assert not torch.autograd.grad(value, logits)[0].any()


@pytest.mark.parametrize("window", [3, 5])
def test_a_gap_is_dearer_itself_and_a_speck_beside_it_but_both_cost_the_same(window):
    speck = torch.full((1, 1, 1, 15), -40.0, dtype=torch.float64).index_fill(-1, torch.tensor(7), 40.0)
    target = torch.zeros(1, 1, 15, dtype=torch.long)
    keywords = {"ce_weight": 0.0, "smoothness_weight": 1.0, "window": window, "reduction": "none"}
    up, down = (segloss.layer_smoothness_loss(sign * speck, target, **keywords)[0, 0] for sign in (1, -1))
    assert down[7] > 1.5 * up[7]
    assert up[6] > 1.5 * down[6]
    torch.testing.assert_close(up.sum(), down.sum())
    torch.testing.assert_close(up.sum().item(), 1.5 * (window - 1) / window)


def test_layers_are_free_to_shift_in_depth_and_to_turn_over():
    logits, target = batch(1, shape=(6, 17))
    for turned in (lambda x: x.flip(-1), lambda x: x.flip(-2), lambda x: x.roll(2, -2)):
        value = segloss.layer_smoothness_loss(logits, target)
        same(segloss.layer_smoothness_loss(turned(logits), turned(target)), value, logits)


def test_the_weights_of_a_layer_are_those_of_the_authors():
    with np.load(GOLDEN / "gerl2020distance" / "2d_spatial_weight.npz") as recorded:
        target, weight = (torch.from_numpy(recorded[name]) for name in ("target", "weight"))
    torch.testing.assert_close(segloss.layer_weight_map(target)[:, 0].double(), weight)


def test_weights_where_a_column_has_no_layer_or_a_gap():
    target = torch.tensor([[0, 0, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0, 0]]).T
    expected = torch.tensor([[2, 1, 1, 1, 1, 2, 3], [1] * 7, [1, 2, 3, 4, 5, 6, 7]]).T
    torch.testing.assert_close(segloss.layer_weight_map(target[None])[0, 0], expected.float())


def true_map(region, spacing):
    """Distances to the other side, negative inside, each side divided by its largest, 0 on the contour."""
    y = torch.zeros(region.shape, dtype=torch.float64)
    for side, sign in ((region, -1), (~region, 1)):
        others = where(~side)
        if others and side.any():
            away = {voxel: nearest(others, voxel, spacing) for voxel in where(side)}
            for voxel, d in away.items():
                y[voxel] = sign * d / max(away.values())
    for voxel in contour(region):
        y[voxel] = 0
    return y


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("level", ["voxel", "image"])
@pytest.mark.parametrize("classes", [1, 3, -2])
def test_the_regression_is_its_formula(classes, level, pooled, place):
    shape, spacing = place
    logits, target = scene(classes, shape)
    g = masks_of(logits, target)
    y = torch.stack([true_map(region, spacing) for region in g.flatten(0, 1)]).view(g.shape)
    axes = [*([0] if pooled else []), *range(2, logits.ndim)]
    p, s = logits.tanh(), 1e-3
    h = 1 / (1 + (4 * p).exp())
    dice = 1 - (2 * (h * g).sum(axes) + s) / ((h**2).sum(axes) + g.sum(axes) + s)
    above, below = y * p, y * p + p**2 + y**2
    if level == "voxel":
        product = -((above + s) / (below + s)).mean(axes)
    else:
        product = -(above.sum(axes) + s) / (below.sum(axes) + s)
    expected = (0.5 * dice + 2 * product + 3 * (p - y).abs().mean(axes)).mean()
    value = segloss.signed_distance_regression_loss(
        logits,
        target,
        dice_weight=0.5,
        product_weight=2.0,
        l1_weight=3.0,
        level=level,
        steepness=4.0,
        smooth=s,
        spacing=spacing,
        batch=pooled,
    )
    same(value, expected, logits)


def test_the_unit_of_distances_does_not_matter_to_the_regression():
    logits, target = scene(3, (9, 8))
    value = segloss.signed_distance_regression_loss(logits, target, spacing=(1.0, 1.5))
    same(segloss.signed_distance_regression_loss(logits, target, spacing=(2.0, 3.0)), value, logits)


def test_the_soft_mask_is_compared_by_squared_dice():
    logits, target = scene(1, (9, 8))
    dice = {"dice_weight": 1.0, "product_weight": 0.0, "l1_weight": 0.0}
    value = segloss.signed_distance_regression_loss(logits, target, steepness=7.0, smooth=0.1, **dice)
    same(value, segloss.squared_dice_loss(-7.0 * logits.tanh(), target, smooth=0.1), logits)


@pytest.mark.parametrize("level", ["voxel", "image"])
def test_the_true_map_is_best(level):
    target = torch.zeros(1, 12, 12, dtype=torch.long)
    target[:, 3:9, 2:9] = 1
    y = true_map(target[0] > 0, (1, 1))[None, None]
    alone = {"dice_weight": 0.0, "product_weight": 1.0, "l1_weight": 1.0, "level": level, "smooth": 1e-9}

    def loss(p):
        return segloss.signed_distance_regression_loss(p.clamp(-1 + 1e-12, 1 - 1e-12).atanh(), target, **alone)

    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 0.1, 1.0):
        assert loss(y + size * torch.randn(y.shape, generator=generator, dtype=torch.float64)) > loss(y)
    assert loss(-y) > loss(torch.zeros_like(y)) > loss(y)


def test_an_object_of_one_voxel_has_no_inside():
    target = torch.zeros(1, 7, dtype=torch.long)
    target[0, 3] = 1
    logits = torch.tensor([[[1.0, 2 / 3, 1 / 3, 0.0, 1 / 3, 2 / 3, 1.0]]]).clamp(max=1 - 1e-6).atanh()
    value = segloss.signed_distance_regression_loss(logits, target, dice_weight=0.0, product_weight=0.0, l1_weight=1.0)
    assert value < 1e-6


X, Y = batch(3)
ONE, BINARY = X[:, :1], Y.clamp(max=1)
FAR = torch.ones(2, 3, 9, 8)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        *(
            ("contour_distance", lambda it=it: segloss.shape_aware_cross_entropy_loss(ONE, BINARY, contour_distance=it))
            for it in (FAR, FAR[:, 0], FAR[:, :1] / 0, FAR[:, :1].long(), FAR[:, :1], -FAR[:, :1])
        ),
        ("logits", lambda: segloss.shape_aware_cross_entropy_loss(X, Y)),
        ("target", lambda: contour_distance_map(FAR, 3, batched=True)),
        ("spacing", lambda: contour_distance_map(FAR > 0, 3, batched=True, spacing=(1.0,))),
        ("window", lambda: segloss.layer_smoothness_loss(ONE, BINARY, window=4)),
        ("window", lambda: segloss.layer_smoothness_loss(ONE, BINARY, window=0)),
        ("smoothness_weight", lambda: segloss.layer_smoothness_loss(ONE, BINARY, smoothness_weight=-1.0)),
        ("ce_weight", lambda: segloss.layer_smoothness_loss(ONE, BINARY, ce_weight=-1.0)),
        ("weight_map", lambda: segloss.layer_smoothness_loss(ONE, BINARY, weight_map=-FAR[:, :1])),
        ("logits", lambda: segloss.layer_smoothness_loss(ONE[..., 0], BINARY[..., 0])),
        ("logits", lambda: segloss.layer_smoothness_loss(ONE[..., None], BINARY[..., None])),
        ("target", lambda: segloss.layer_smoothness_loss(X, Y)),
        ("target", lambda: segloss.layer_weight_map(BINARY[..., 0])),
        ("target", lambda: segloss.layer_weight_map(FAR[:, 0])),
        ("level", lambda: segloss.signed_distance_regression_loss(X, Y, level="batch")),
        ("steepness", lambda: segloss.signed_distance_regression_loss(X, Y, steepness=0.0)),
        ("smooth", lambda: segloss.signed_distance_regression_loss(X, Y, smooth=-1.0)),
        ("l1_weight", lambda: segloss.signed_distance_regression_loss(X, Y, l1_weight=-1.0)),
    ],
)
def test_what_cannot_be_meant_is_refused(argument, call):
    with pytest.raises(ValueError, match=f"^(a |the )?{argument}\\b"):
        call()
