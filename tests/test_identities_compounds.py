"""What must be equal because a compound is made of other losses, and what its parts must not do to each other."""

import pytest
import torch
import torch.nn.functional as F

import segloss
from tests.test_identities import batch, same


@pytest.fixture(params=[1, 2, 3, 5], ids="C={}".format)
def inputs(request):
    return batch(request.param)


def cross_entropy(logits, target, **keywords):
    return segloss.focal_loss(logits, target, gamma=0.0, **keywords)


@pytest.mark.parametrize("pool", [False, True])
def test_dice_ce_is_the_sum_of_its_parts(inputs, pool):
    logits, target = inputs
    target[0, :3] = 255
    loss = segloss.dice_ce_loss(logits, target, dice_weight=0.7, ce_weight=2.0, batch=pool, ignore_index=255)
    dice = segloss.dice_loss(logits, target, smooth=1e-5, batch=pool, ignore_index=255)
    same(loss, 0.7 * dice + 2 * cross_entropy(logits, target, ignore_index=255), logits)


def test_ce_part_is_that_of_pytorch():
    logits, target = batch(4)
    weight, target[0, :3] = torch.tensor([0.5, 1.0, 3.0, 2.0], dtype=torch.float64), 255
    loss = segloss.dice_ce_loss(logits, target, dice_weight=0.0, weight=weight, ignore_index=255)
    same(loss, F.cross_entropy(logits, target, weight=weight, ignore_index=255), logits)


@pytest.mark.parametrize("squared", [False, True])
def test_dice_focal_is_the_sum_of_its_parts(inputs, squared):
    logits, target = inputs
    dice = segloss.squared_dice_loss if squared else segloss.dice_loss
    loss = segloss.dice_focal_loss(logits, target, alpha=0.3, gamma=1.5, squared=squared, smooth=1.0)
    same(loss, dice(logits, target, smooth=1.0) + segloss.focal_loss(logits, target, alpha=0.3, gamma=1.5), logits)


def test_dice_focal_at_gamma_zero_is_dice_ce(inputs):
    logits, target = inputs
    weight = torch.linspace(1, 3, logits.shape[1], dtype=torch.float64)
    same(
        segloss.dice_focal_loss(logits, target, gamma=0.0, weight=weight),
        segloss.dice_ce_loss(logits, target, weight=weight),
        logits,
    )


def test_added_classes_are_as_many_times_the_mean(inputs):
    logits, target = inputs
    added = segloss.dice_focal_loss(logits, target, class_reduction="sum", focal_weight=0.5, smooth=0.0)
    dice = segloss.dice_loss(logits, target)
    same(added, logits.shape[1] * dice + 0.5 * segloss.focal_loss(logits, target), logits)


def test_exponential_logarithmic_at_gamma_one_is_log_dice_and_ce(inputs):
    logits, target = inputs
    loss = segloss.exponential_logarithmic_loss(logits, target, gamma_dice=1.0, gamma_ce=1.0)
    log_dice = -(1 - segloss.dice_loss(logits, target, smooth=1.0, reduction="none")).log().mean()
    same(loss, 0.8 * log_dice + 0.2 * cross_entropy(logits, target), logits)


def test_combo_with_equal_prices_is_dice_and_half_of_binary_cross_entropy(inputs):
    logits, target = inputs
    classes = logits.shape[1]
    p = logits.sigmoid() if classes == 1 else logits.softmax(1)
    truth = F.one_hot(target, max(classes, 2)).movedim(-1, 1)[:, -classes:].to(p.dtype)
    dice = segloss.dice_loss(logits, target, smooth=1.0, reduction="none").sum(1).mean()
    bce = F.binary_cross_entropy(p, truth)
    same(segloss.combo_loss(logits, target, alpha=0.4, beta=0.5), 0.2 * bce + 0.6 * dice, logits)


def test_combo_prices_false_negatives():
    logits = torch.zeros(1, 1, 8, dtype=torch.float64)
    missed = segloss.combo_loss(logits - 3, torch.ones(1, 8, dtype=torch.long), alpha=1.0, beta=0.9)
    raised = segloss.combo_loss(logits + 3, torch.zeros(1, 8, dtype=torch.long), alpha=1.0, beta=0.9)
    torch.testing.assert_close(missed, 9 * raised)


def test_dice_topk_of_all_voxels_is_dice_ce(inputs):
    logits, target = inputs
    same(segloss.dice_topk_loss(logits, target, k=1.0), segloss.dice_ce_loss(logits, target), logits)


def test_dice_topk_is_the_sum_of_its_parts(inputs):
    logits, target = inputs
    parts = segloss.dice_loss(logits, target, smooth=1e-5) + segloss.topk_cross_entropy_loss(logits, target, k=0.2)
    same(segloss.dice_topk_loss(logits, target, k=0.2), parts, logits)


def test_penalised_generalised_dice_is_a_function_of_generalised_dice(inputs):
    logits, target = inputs
    gd = 1 - segloss.generalised_dice_loss(logits, target, reduction="none")
    same(segloss.penalised_generalised_dice_loss(logits, target, k=3.0), (1 - gd / (1 + 3 * (1 - gd))).mean(), logits)
    unpenalised = segloss.penalised_generalised_dice_loss(logits, target, k=0.0)
    same(unpenalised, segloss.generalised_dice_loss(logits, target), logits)


@pytest.mark.parametrize(
    "loss",
    [
        segloss.dice_ce_loss,
        segloss.dice_focal_loss,
        segloss.dice_topk_loss,
        segloss.combo_loss,
        segloss.exponential_logarithmic_loss,
    ],
)
def test_images_of_unequal_size_add_up_to_the_mean(inputs, loss):
    logits, target = inputs
    target[0, :5] = 255
    each = loss(logits, target, ignore_index=255, reduction="none")
    assert each.shape == (2,)
    same(loss(logits, target, ignore_index=255), each.mean(), logits)
    assert loss(logits, target, ignore_index=255, batch=True, reduction="none").shape == (1,)


@pytest.mark.parametrize("margin", [1.0, 8.0, 16.0, 30.0, 200.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("gamma", [0.1, 0.3, 0.9])
def test_exponential_logarithmic_has_a_gradient_near_the_truth(inputs, margin, dtype, gamma):
    logits, target = inputs
    truth = F.one_hot(target, max(logits.shape[1], 2)).movedim(-1, 1)[:, -logits.shape[1] :]
    sure = ((2 * truth - 1) * margin).to(dtype).requires_grad_()
    loss = segloss.exponential_logarithmic_loss(sure, target, gamma_dice=gamma, gamma_ce=gamma, smooth=0.0)
    (slope,) = torch.autograd.grad(loss, sure)
    assert loss.isfinite()
    assert slope.abs().max() < 1


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("dice_weight", lambda z, t: segloss.dice_ce_loss(z, t, dice_weight=-1.0)),
        ("ce_weight", lambda z, t: segloss.dice_ce_loss(z, t, ce_weight=-1.0)),
        ("alpha", lambda z, t: segloss.dice_focal_loss(z, t, alpha=[0.5, 0.5])),
        ("clamp", lambda z, t: segloss.dice_focal_loss(z, t, clamp=0.5)),
        ("gamma", lambda z, t: segloss.dice_focal_loss(z, t, gamma=-1.0)),
        ("class_reduction", lambda z, t: segloss.dice_focal_loss(z, t, class_reduction="none")),
        ("k", lambda z, t: segloss.dice_topk_loss(z, t, k=0.0)),
        ("k", lambda z, t: segloss.dice_topk_loss(z, t, k=1.5)),
        ("alpha", lambda z, t: segloss.combo_loss(z, t, alpha=1.5)),
        ("beta", lambda z, t: segloss.combo_loss(z, t, beta=-0.5)),
        ("gamma_dice", lambda z, t: segloss.exponential_logarithmic_loss(z, t, gamma_dice=0.0)),
        ("gamma_ce", lambda z, t: segloss.exponential_logarithmic_loss(z, t, gamma_ce=-1.0)),
        ("k", lambda z, t: segloss.penalised_generalised_dice_loss(z, t, k=-1.0)),
        ("target", lambda z, t: segloss.dice_ce_loss(z, F.one_hot(t, 3).movedim(-1, 1).bool())),
    ],
)
def test_wrong_parameters_are_named(argument, call):
    logits, target = batch(3)
    with pytest.raises(ValueError, match=argument):
        call(logits, target)
