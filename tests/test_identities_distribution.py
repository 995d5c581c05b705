"""What must be equal between losses of single voxels, and what their weight maps are by definition."""

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import segloss
from tests.test_identities import batch, same


@pytest.fixture(params=[1, 2, 4], ids="C={}".format)
def inputs(request):
    return batch(request.param)


def cross_entropy(logits, target, reduction="mean"):
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype), reduction=reduction)
    return F.cross_entropy(logits, target, reduction=reduction)


ONES = torch.ones(2, 1, 9, 8)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y: segloss.focal_loss(x, y, gamma=0),
        lambda x, y: 2 * segloss.focal_loss(x, y, gamma=0, alpha=0.5),
        lambda x, y: segloss.topk_cross_entropy_loss(x, y, k=1),
        lambda x, y: segloss.bootstrapped_cross_entropy_loss(x, y, threshold=1, min_kept=0),
        lambda x, y: segloss.tilted_cross_entropy_loss(x, y, t=0, level="voxel"),
        lambda x, y: segloss.tilted_cross_entropy_loss(x, y, t=1e-9, level="voxel"),
        lambda x, y: segloss.weighted_cross_entropy_loss(x, y, weight_map=ONES),
        lambda x, y: segloss.weighted_focal_loss(x, y, weight_map=ONES, gamma=0),
    ],
)
def test_all_are_cross_entropy_in_the_end(inputs, loss):
    same(loss(*inputs), cross_entropy(*inputs), inputs[0])


def test_weights_of_one_change_nothing(inputs):
    logits, target = inputs
    focal = segloss.weighted_focal_loss(logits, target, weight_map=ONES, gamma=1.5, alpha=0.3)
    same(focal, segloss.focal_loss(logits, target, gamma=1.5, alpha=0.3), logits)
    dice = segloss.weighted_dice_loss(logits, target, weight_map=ONES)
    same(dice, segloss.squared_dice_loss(logits, target), logits)
    similarity = segloss.weighted_asymmetric_similarity_loss(logits, target, weight_map=ONES, beta=1)
    same(similarity, segloss.squared_dice_loss(logits, target), logits)


def test_focal_star_without_shift_at_gamma_one_is_cross_entropy():
    logits, target = batch(1)
    same(segloss.focal_star_loss(logits, target, gamma=1, shift=0), cross_entropy(logits, target), logits)


def test_a_tilt_goes_from_the_smallest_to_the_largest_class():
    logits, target = batch(3)
    each = cross_entropy(logits, target, "none").detach()
    classes = torch.stack([each[target == c].mean() for c in range(3)])
    for t, expected in ((-1e6, classes.min()), (0, classes.mean()), (1e6, classes.max())):
        value = segloss.tilted_cross_entropy_loss(logits, target, t=t)
        torch.testing.assert_close(value.detach(), expected, rtol=1e-4, atol=0)


@pytest.mark.parametrize("t", [-2.0, 2.0])
def test_a_tilt_of_losses_that_are_large_is_between_them(t):
    """Ignored voxels, whose loss is 0, do not set the largest exponent."""
    logits, target = torch.tensor([[[-300.0, -400.0, 5.0]]]), torch.tensor([[1, 1, 255]])
    value = segloss.tilted_cross_entropy_loss(logits, target, t=t, level="voxel", ignore_index=255)
    expected = (400 if t > 0 else 300) - math.log(2) / t
    torch.testing.assert_close(value, torch.tensor(expected))


@pytest.mark.parametrize("k", [1e-9, 0.1, 0.37, 0.5, 0.999])
def test_top_k_of_voxels_left_by_a_mask_is_that_of_the_others_alone(inputs, k):
    logits, target = inputs
    mask = torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(1)) < 0.6
    hardest = cross_entropy(logits, target, "none")[mask.squeeze(1)].sort(descending=True).values
    number = max(1, math.floor(k * len(hardest)))
    same(segloss.topk_cross_entropy_loss(logits, target, k=k, mask=mask), hardest[:number].mean(), logits)


@pytest.mark.parametrize("fraction", [0.29, 0.57, 0.07])
def test_a_share_of_a_hundred_voxels_is_a_round_number(fraction):
    logits = torch.arange(100, dtype=torch.float64).reshape(1, 1, 100)
    value = segloss.topk_cross_entropy_loss(logits, torch.zeros(1, 100, dtype=torch.long), k=fraction, reduction="none")
    assert (value > 0).sum() == round(100 * fraction)


def test_voxels_that_tie_share_the_last_places():
    logits = torch.zeros(1, 2, 10, dtype=torch.float64, requires_grad=True)
    target = torch.zeros(1, 10, dtype=torch.long)
    topk = segloss.topk_cross_entropy_loss(logits, target, k=0.3)
    bootstrapped = segloss.bootstrapped_cross_entropy_loss(logits, target, threshold=0.3, min_kept=3)
    for value in (topk, bootstrapped):
        same(value, cross_entropy(logits, target), logits)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(
    "loss",
    [segloss.topk_cross_entropy_loss, segloss.bootstrapped_cross_entropy_loss, segloss.tilted_cross_entropy_loss],
)
def test_what_counts_is_not_looked_at_in_a_compiled_graph(loss, reduction):
    logits, target = batch(3)
    mask = torch.rand(2, 1, 9, 8, generator=torch.Generator().manual_seed(1)) < 0.6
    torch.compiler.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    value, expected = (f(logits, target, mask=mask, reduction=reduction).sum() for f in (compiled, loss))
    same(value, expected, logits)
    torch.compiler.reset()


def cells(shape, number, seed=0):
    """Boxes with a number each, which do not overlap but may touch."""
    generator = np.random.default_rng(seed)
    labels = np.zeros(shape, np.int64)
    for name in generator.permutation(100)[:number] + 1:
        corner = [int(generator.integers(0, size - 2)) for size in shape]
        box = tuple(slice(at, at + int(generator.integers(1, 4))) for at in corner)
        labels[box][labels[box] == 0] = name
    return torch.as_tensor(labels)[None]


@pytest.mark.parametrize("border", ["background", "all"])
@pytest.mark.parametrize("shape", [(40,), (19, 17), (9, 8, 7)], ids=str)
def test_the_unet_map_is_its_formula(shape, border):
    instances, sigma, spacing = cells(shape, 5), 1.3, [1.0, 2.5, 0.7][: len(shape)]
    weights = segloss.unet_weight_map(
        instances, class_weight=(0.5, 2.0), w0=7.0, sigma=sigma, spacing=spacing, border=border
    )
    assert weights.shape == (1, 1, *shape)
    places = {name: np.argwhere(instances[0].numpy() == name) for name in instances.unique().tolist() if name}
    for voxel in itertools.product(*map(range, shape)):
        away = sorted(np.sqrt((((np.array(voxel) - place) * spacing) ** 2).sum(1)).min() for place in places.values())
        inside = instances[(0, *voxel)] > 0
        expected = 2.0 if inside else 0.5
        if border == "all" or not inside:
            expected += 7.0 * math.exp(-((away[0] + away[1]) ** 2) / (2 * sigma**2))
        assert weights[(0, 0, *voxel)] == pytest.approx(expected, rel=1e-6)


def test_balanced_classes_have_the_same_total():
    instances = torch.cat([cells((19, 17), 4), cells((19, 17), 0)])
    first, second = segloss.unet_weight_map(instances, class_weight="balanced", w0=0).squeeze(1)
    there = instances[0] > 0
    torch.testing.assert_close(first[there].sum(), first[~there].sum())
    torch.testing.assert_close(first.mean(), torch.tensor(1.0))
    assert (second == 1).all()


def test_every_component_has_the_same_total_weight():
    instances = cells((19, 17), 6, seed=3)
    weights = segloss.inverse_weight_map(instances > 0, w_min=0, w_max=None)[0, 0]
    inside = instances[0] > 0
    total = weights[~inside].sum()
    torch.testing.assert_close(weights.sum() / total, (weights.sum() / total).round())
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))


X, Y = batch(3)


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("gamma", lambda: segloss.focal_loss(X, Y, gamma=-1)),
        ("alpha", lambda: segloss.focal_loss(X, Y, alpha=1.5)),
        ("alpha", lambda: segloss.focal_loss(X, Y, alpha=[0.5, 0.5])),
        ("alpha", lambda: segloss.focal_loss(X, Y, alpha=[0.5, -0.5, 1])),
        ("gamma", lambda: segloss.focal_star_loss(X[:, :1], Y.clamp(max=1), gamma=0)),
        ("k", lambda: segloss.topk_cross_entropy_loss(X, Y, k=0)),
        ("k", lambda: segloss.topk_cross_entropy_loss(X, Y, k=10)),
        ("k", lambda: segloss.topk_cross_entropy_loss(X, Y, k=math.nan)),
        ("threshold", lambda: segloss.bootstrapped_cross_entropy_loss(X, Y, threshold=0)),
        ("min_kept", lambda: segloss.bootstrapped_cross_entropy_loss(X, Y, min_kept=-1)),
        ("t", lambda: segloss.tilted_cross_entropy_loss(X, Y, t=math.inf)),
        ("level", lambda: segloss.tilted_cross_entropy_loss(X, Y, level="pixel")),
        ("weight_map", lambda: segloss.weighted_cross_entropy_loss(X, Y, weight_map=ONES[:1])),
        ("weight_map", lambda: segloss.weighted_cross_entropy_loss(X, Y, weight_map=ONES.expand(2, 3, 9, 8))),
        ("weight_map", lambda: segloss.weighted_cross_entropy_loss(X, Y, weight_map=-ONES)),
        ("weight_map", lambda: segloss.weighted_focal_loss(X, Y, weight_map=ONES * math.nan)),
        ("weight_map", lambda: segloss.weighted_dice_loss(X, Y, weight_map=ONES / 0)),
        ("beta", lambda: segloss.weighted_asymmetric_similarity_loss(X, Y, weight_map=ONES, beta=0)),
        ("instances", lambda: segloss.unet_weight_map(ONES)),
        ("instances", lambda: segloss.unet_weight_map(-Y)),
        ("instances", lambda: segloss.unet_weight_map(Y[0, 0])),
        ("class_weight", lambda: segloss.unet_weight_map(Y, class_weight=(1, 1, 1))),
        ("class_weight", lambda: segloss.unet_weight_map(Y, class_weight="equal")),
        ("sigma", lambda: segloss.unet_weight_map(Y, sigma=0)),
        ("spacing", lambda: segloss.unet_weight_map(Y, spacing=(1, 1, 1))),
        ("border", lambda: segloss.unet_weight_map(Y, border="inside")),
        ("target", lambda: segloss.inverse_weight_map(ONES)),
        ("w_max", lambda: segloss.inverse_weight_map(Y, w_min=2, w_max=1)),
    ],
)
def test_what_is_out_of_range_is_refused_by_its_name(argument, call):
    with pytest.raises(ValueError, match=rf"\b{argument}\b"):
        call()


def test_a_weight_is_not_looked_at_where_voxels_are_left_out():
    mask = torch.ones(2, 1, 9, 8, dtype=torch.bool)
    mask[..., 3] = False
    weights = ONES.masked_fill(~mask, math.nan)
    value = segloss.weighted_cross_entropy_loss(X, Y, weight_map=weights, mask=mask)
    same(value, segloss.weighted_cross_entropy_loss(X, Y, weight_map=ONES, mask=mask), X)
