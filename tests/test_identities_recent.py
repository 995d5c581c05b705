"""Identities of losses since 2022."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

import segloss
from tests.test_identities import batch, same

SHAPES = [(17,), (9, 8), (5, 6, 4)]


def one_hot(target, classes):
    return F.one_hot(target, classes).movedim(-1, 1).double()


def flat(x):
    """One row a class, over images and voxels."""
    return x.movedim(1, 0).flatten(1)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kappa", [0.0, 4.0, [1.0, 32.0, 0.0]], ids=str)
def test_tvmf_sharpens_the_cosine(shape, kappa):
    logits, target = batch(3, shape=shape)
    cosine = torch.cosine_similarity(flat(logits.softmax(1)), flat(one_hot(target, 3)))
    k = torch.as_tensor(kappa, dtype=torch.float64)
    expected = ((1 - ((1 + cosine) / (1 + k * (1 - cosine)) - 1)) ** 2).mean()
    same(segloss.tvmf_dice_loss(logits, target, kappa=kappa, batch=True), expected, logits)


def test_tvmf_has_the_norm_of_soft_labels():
    logits, target = batch(3)
    soft = 0.7 * one_hot(target, 3) + 0.1
    cosine = torch.cosine_similarity(logits.softmax(1).flatten(2), soft.flatten(2), 2)
    same(segloss.tvmf_dice_loss(logits, soft, kappa=0.0), ((1 - cosine) ** 2).mean(), logits)


def test_tvmf_looks_at_directions_alone():
    _, target = batch(2)
    truth = one_hot(target, 2)
    share = torch.tensor([0.2, 0.7]).view(1, 2, 1, 1)
    loss = segloss.tvmf_dice_loss(share * truth, truth, activation="none")
    torch.testing.assert_close(loss, torch.zeros_like(loss), atol=1e-12, rtol=0)


def test_tvmf_takes_the_kappa_of_the_classes_that_take_part():
    logits, target = batch(3)
    each = segloss.tvmf_dice_loss(logits, target, kappa=[1.0, 2.0, 3.0], include_background=False, reduction="none")
    for c, kappa in ((1, 2.0), (2, 3.0)):
        alone = segloss.tvmf_dice_loss(logits, target, kappa=kappa, reduction="none")
        torch.testing.assert_close(each[:, c - 1], alone[:, c])


def test_tvmf_rises_with_kappa_from_zero_to_four():
    logits, target = batch(3)
    losses = [segloss.tvmf_dice_loss(logits, target, kappa=kappa).item() for kappa in (0.0, 1.0, 32.0, 1e6)]
    assert losses == sorted(losses)
    assert losses[-1] == pytest.approx(4, abs=1e-3)


def test_tvmf_of_an_absent_class_is_constant():
    logits, target = batch(3)
    target[target == 2] = 0
    loss = segloss.tvmf_dice_loss(logits, target, kappa=8.0, reduction="none")[:, 2]
    assert loss.tolist() == pytest.approx([(2 - 1 / 9) ** 2] * 2)
    assert not torch.autograd.grad(loss.sum(), logits)[0].any()


def test_tvmf_module_takes_another_kappa_each_epoch():
    logits, target = batch(3)
    criterion = segloss.TvMFDiceLoss(kappa=torch.zeros(3), batch=True)
    before = criterion(logits, target)
    criterion.kappa = 32 * torch.tensor([0.9, 0.5, 0.1])
    assert criterion(logits, target) == segloss.tvmf_dice_loss(logits, target, kappa=criterion.kappa, batch=True)
    assert criterion(logits, target) > before


@pytest.mark.parametrize("kappa", [-1.0, math.nan, [1.0, 2.0], [1.0, -2.0, 0.0], [[1.0], [1.0], [1.0]]], ids=str)
def test_tvmf_refuses(kappa):
    with pytest.raises(ValueError, match="kappa"):
        segloss.tvmf_dice_loss(*batch(3), kappa=kappa)


def boundary_voxels(mask):
    """Voxels with a neighbour along an axis that is not of the mask, one by one."""
    found = 0
    for place in mask.nonzero().tolist():
        neighbours = (
            [at + step * (axis == other) for other, at in enumerate(place)]
            for axis, step in itertools.product(range(mask.ndim), (-1, 1))
        )
        found += not all(
            all(0 <= at < n for at, n in zip(place, mask.shape, strict=True)) and mask[tuple(place)]
            for place in neighbours
        )
    return found


def dou(p, g, alpha, s):
    z, y, both = (p**2).sum(), (g**2).sum(), (p * g).sum()
    return (z + y - 2 * both + s) / (z + y - (1 + alpha) * both + s)


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("shape", [(40,), (9, 20), (8, 7, 9)], ids=str)
def test_boundary_dou_counts_the_boundary(shape, pooled):
    logits, target = batch(2, shape=shape)
    target[:] = 0
    target[0, 2:8] = target[1, 1:4] = 1
    expected, p, g = [], logits.softmax(1), one_hot(target, 2)
    for c in range(2):
        sizes = [(boundary_voxels(one[c] > 0), one[c].sum()) for one in g]
        images = [(p[b, c], g[b, c], *sizes[b]) for b in range(2)]
        if pooled:
            images = [(p[:, c], g[:, c], sizes[0][0] + sizes[1][0], sizes[0][1] + sizes[1][1])]
        for one, other, C, S in images:
            expected.append(dou(one, other, min(1 - 2 * (C + 0.01) / (S + 0.01), 0.3), 0.01))
    loss = segloss.boundary_dou_loss(logits, target, alpha_max=0.3, smooth=0.01, batch=pooled)
    same(loss, torch.stack(expected).mean(), logits)


def test_boundary_dou_without_interior_is_squared_dice():
    logits, target = batch(3)
    target[:, ::2] = 0
    loss = segloss.boundary_dou_loss(logits, target, alpha_max=-1.0, smooth=0.0)
    same(loss, segloss.squared_dice_loss(logits, target), logits)


def test_boundary_dou_at_alpha_zero_is_one_minus_the_intersection_over_union():
    _, target = batch(2, shape=(40, 40))
    target[:] = 0
    target[:, 3:30, 5:33] = 1
    shifted = 100 * (one_hot(target.roll(2, 1), 2) - 0.5)
    loss = segloss.boundary_dou_loss(shifted, target, alpha_max=0.0, smooth=0.0)
    torch.testing.assert_close(loss, segloss.jaccard_loss(shifted, target))


def test_boundary_dou_prices_a_shift_of_a_larger_object_higher_than_dou_does():
    _, target = batch(2, shape=(60, 60))
    losses = []
    for size in (3, 40):
        target[:] = 0
        target[:, 5 : 5 + size, 5 : 5 + size] = 1
        shifted = 100 * (one_hot(target.roll(1, 1), 2) - 0.5)
        keywords = {"include_background": False, "smooth": 0.0}
        loss = segloss.boundary_dou_loss(shifted, target, **keywords)
        losses.append(loss / segloss.boundary_dou_loss(shifted, target, alpha_max=-1.0, **keywords))
    assert losses[0] == pytest.approx(1 / (1 - 0.5 * (1 - 2 * 8 / 9 + 1) * 6 / 9))
    assert losses[1] > 3


def test_boundary_dou_of_an_absent_class_is_one():
    logits, target = batch(3)
    target[target == 2] = 0
    loss = segloss.boundary_dou_loss(logits, target, reduction="none")[:, 2]
    assert loss.tolist() == [1, 1]
    assert torch.autograd.grad(loss.sum(), logits)[0].abs().max() < 1e-9


@pytest.mark.parametrize(("argument", "value"), [("alpha_max", 1.1), ("alpha_max", -2.0), ("smooth", -1.0)])
def test_boundary_dou_refuses(argument, value):
    with pytest.raises(ValueError, match=argument):
        segloss.boundary_dou_loss(*batch(3), **{argument: value})
