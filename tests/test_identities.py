"""What must be equal because one formula contains another, or because a paper proves it."""

import math

import pytest
import torch

import segloss
from segloss.core.blocks import SIZE


def batch(classes=3, seed=0, shape=(9, 8)):
    """Random logits and labels in which every class occurs in every image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, max(classes, 2), (2, *shape), generator=generator)
    target.flatten(1)[:, : max(classes, 2)] = torch.arange(max(classes, 2))
    return logits.requires_grad_(), target


def same(one, other, logits):
    """Equal in value and in gradient."""
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.autograd.grad(one, logits)[0], torch.autograd.grad(other, logits)[0])


@pytest.fixture(params=[1, 2, 3, 5], ids="C={}".format)
def inputs(request):
    return batch(request.param)


@pytest.mark.parametrize("smooth", [0.0, 0.7])
def test_tversky_at_one_half_is_dice(inputs, smooth):
    logits, target = inputs
    tversky = segloss.tversky_loss(logits, target, alpha=0.5, beta=0.5, smooth=smooth)
    same(tversky, segloss.dice_loss(logits, target, smooth=2 * smooth), logits)


@pytest.mark.parametrize("smooth", [0.0, 0.7])
def test_tversky_at_one_is_jaccard(inputs, smooth):
    logits, target = inputs
    tversky = segloss.tversky_loss(logits, target, alpha=1, beta=1, smooth=smooth)
    same(tversky, segloss.jaccard_loss(logits, target, smooth=smooth), logits)


@pytest.mark.parametrize("beta", [0.5, 1.0, 1.5, 3.0])
def test_f_beta_is_tversky_with_its_weights(inputs, beta):
    logits, target = inputs
    share = beta**2 / (1 + beta**2)
    tversky = segloss.tversky_loss(logits, target, alpha=1 - share, beta=share, smooth=0.3)
    same(segloss.f_beta_loss(logits, target, beta=beta, smooth=0.3), tversky, logits)


def test_f_one_is_dice(inputs):
    logits, target = inputs
    same(segloss.f_beta_loss(logits, target, beta=1), segloss.dice_loss(logits, target), logits)


def test_focal_tversky_at_gamma_one_is_tversky(inputs):
    logits, target = inputs
    focal = segloss.focal_tversky_loss(logits, target, gamma=1, smooth=0.2)
    same(focal, segloss.tversky_loss(logits, target, smooth=0.2), logits)


def test_focal_tversky_is_a_power_of_each_class(inputs):
    logits, target = inputs
    tversky = segloss.tversky_loss(logits, target, smooth=1.0, reduction="none")
    same(segloss.focal_tversky_loss(logits, target, gamma=4 / 3), (tversky**0.75).mean(), logits)


def test_jaccard_is_dice_over_two_minus_dice(inputs):
    logits, target = inputs
    D = 1 - segloss.dice_loss(logits, target, reduction="none")
    J = 1 - segloss.jaccard_loss(logits, target, reduction="none")
    same(J.sum(), (D / (2 - D)).sum(), logits)
    assert bool(((J <= D) & (D <= 2 * J)).all())
    assert (D - J).max().item() <= 3 - 2 * math.sqrt(2) + 1e-12


def test_noise_robust_dice_at_two_is_squared_dice(inputs):
    logits, target = inputs
    robust = segloss.noise_robust_dice_loss(logits, target, gamma=2, smooth=0)
    same(robust, segloss.squared_dice_loss(logits, target), logits)


def test_noise_robust_dice_at_one_without_squares_is_dice(inputs):
    logits, target = inputs
    robust = segloss.noise_robust_dice_loss(logits, target, gamma=1, squared=False, smooth=0)
    same(robust, segloss.dice_loss(logits, target), logits)


def test_generalised_dice_of_one_class_is_dice():
    logits, target = batch(1)
    same(segloss.generalised_dice_loss(logits, target), segloss.dice_loss(logits, target), logits)


def test_generalised_dice_with_equal_weights_is_one_minus_the_mean_true_probability():
    logits, target = batch(4)
    at_truth = logits.softmax(1).gather(1, target[:, None]).mean()
    same(segloss.generalised_dice_loss(logits, target, volume_power=0), 1 - at_truth, logits)


def test_wasserstein_dice_under_equal_distances_sums_over_the_foreground():
    logits, target = batch(4)
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    hits = 2 * (p * (target > 0)).flatten(1).sum(1)
    expected = (1 - hits / (hits + (1 - p).flatten(1).sum(1))).mean()
    same(segloss.generalised_wasserstein_dice_loss(logits, target), expected, logits)


def test_sensitivity_specificity_at_the_class_share_is_the_squared_error():
    logits, target = batch(1)
    share = target[:1].double().mean().item()
    loss = segloss.sensitivity_specificity_loss(logits[:1], target[:1], r=share)
    same(loss, ((logits.sigmoid()[:1, 0] - target[:1]) ** 2).mean(), logits)


def test_lovasz_of_hard_predictions_is_the_jaccard_loss():
    _, target = batch(3)
    _, other = batch(3, seed=1)
    hard = torch.nn.functional.one_hot(other, 3).movedim(-1, 1).double()
    lovasz = segloss.lovasz_softmax_loss(hard, target, activation="none", batch=False)
    torch.testing.assert_close(lovasz, segloss.jaccard_loss(hard, target, activation="none"))


def test_lovasz_policies_agree_where_no_class_is_absent(inputs):
    logits, target = inputs
    skip = segloss.lovasz_softmax_loss(logits, target, absent="skip")
    same(skip, segloss.lovasz_softmax_loss(logits, target, absent="penalise"), logits)


def test_lovasz_is_the_extension_of_the_jaccard_set_function():
    logits, target = batch(3, shape=(4, 3))
    p = logits.softmax(1).detach()
    total = 0.0
    for c in range(3):
        truth = (target == c).flatten()
        error = (truth.double() - p[:, c].flatten()).abs()
        wrong, before = torch.zeros_like(truth), 0.0
        for i in error.argsort(descending=True):
            wrong[i] = True
            jaccard = (wrong.sum() / (truth | wrong).sum()).item()
            total += error[i].item() * (jaccard - before)
            before = jaccard
    torch.testing.assert_close(segloss.lovasz_softmax_loss(logits, target).item(), total / 3)


@pytest.mark.parametrize("size", [1, 80, 160], ids="{} at a time".format)
@pytest.mark.parametrize("pooled", [True, False])
def test_lovasz_sorts_any_number_of_rows_together(inputs, pooled, size, monkeypatch):
    logits, target = inputs
    channels = torch.stack([target == c for c in range(logits.shape[1])], 1)

    def losses():
        mask = target.flip(1) > 0
        yield segloss.lovasz_softmax_loss(logits, target, batch=pooled, mask=mask, reduction="sum")
        yield segloss.lovasz_hinge_loss(logits, channels, batch=pooled, mask=mask, reduction="sum")

    plain = list(losses())
    monkeypatch.setitem(SIZE, "cpu", size)
    for one, other in zip(losses(), plain, strict=True):
        for _ in range(2):
            torch.testing.assert_close(one, other)
            gradients = (torch.autograd.grad(loss, logits, retain_graph=True)[0] for loss in (one, other))
            torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("name", ["dice_loss", "jaccard_loss", "tversky_loss", "squared_dice_loss"])
def test_two_logits_are_one_by_their_difference(name):
    logits, target = batch(2)
    loss = getattr(segloss, name)
    foreground = loss(logits, target, include_background=False)
    same(foreground, loss(logits[:, 1:] - logits[:, :1], target), logits)


@pytest.mark.parametrize("name", ["tversky_loss", "focal_tversky_loss"])
@pytest.mark.parametrize(("price", "error"), [("alpha", "fp"), ("beta", "fn")])
def test_alpha_prices_false_positives_and_beta_false_negatives(name, price, error):
    target = torch.tensor([[1, 1, 1, 0, 0, 0]])
    logits = torch.where(torch.tensor([[1, 1, 1, 1, 0, 0]] if error == "fp" else [[1, 1, 0, 0, 0, 0]]) > 0, 9.0, -9.0)
    loss = getattr(segloss, name)
    prices = {"alpha": 0.3, "beta": 0.3}
    cheap, dear = (loss(logits[:, None], target, **{**prices, price: value}) for value in (0.3, 0.9))
    assert dear > cheap * 1.2


def test_jaccard_index_and_loss_agree_on_hard_predictions():
    _, target = batch(3)
    _, other = batch(3, seed=1)
    hard = torch.nn.functional.one_hot(other, 3).movedim(-1, 1).double()
    index = segloss.jaccard_index(hard, target)
    torch.testing.assert_close(1 - index, segloss.jaccard_loss(hard, target, activation="none"))


def test_boundary_f1_of_the_truth_is_one_and_its_loss_is_zero():
    target = torch.zeros(1, 16, 16, dtype=torch.long)
    target[:, 4:12, 5:11] = 1
    logits = (2.0 * target - 1)[:, None] * 50
    assert segloss.boundary_f1(logits, target, tolerance=0.5) == 1
    assert segloss.boundary_f1_loss(logits, target).item() == pytest.approx(0, abs=1e-6)
