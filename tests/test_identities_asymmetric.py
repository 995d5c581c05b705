"""Identities of the losses that treat rare classes apart."""

import pytest
import torch
import torch.nn.functional as F

import segloss
from tests.test_identities_supervision import batch, same

LOSSES = [
    segloss.asymmetric_focal_margin_loss,
    segloss.asymmetric_ce_dice_loss,
    segloss.asymmetric_adversarial_loss,
    segloss.asymmetric_mixup_loss,
]


def mixed(loss, target):
    """The further inputs of a loss."""
    return {"partner": target.flip(0), "share": 0.3} if loss is segloss.asymmetric_mixup_loss else {}


def test_without_margin_and_focal_factor_it_is_cross_entropy():
    logits, target = batch()
    same(
        segloss.asymmetric_focal_margin_loss(logits, target, gamma=0, margin=0), F.cross_entropy(logits, target), logits
    )


def test_without_asymmetry_and_margin_it_is_the_focal_loss():
    logits, target = batch()
    loss = segloss.asymmetric_focal_margin_loss(logits, target, gamma=1.5, margin=0, asymmetric=False)
    same(loss, segloss.focal_loss(logits, target, gamma=1.5), logits)


@pytest.mark.parametrize("rare", [{2}, [1, 3], ()], ids=str)
def test_margin_is_taken_from_the_logit_of_the_truth_of_rare_classes(rare):
    logits, target = batch()
    chosen = torch.isin(target, torch.tensor(list(rare), dtype=torch.long)).unsqueeze(1)
    lowered = logits - 0.7 * F.one_hot(target, 4).movedim(-1, 1) * chosen
    loss = segloss.asymmetric_focal_margin_loss(logits, target, gamma=0, margin=0.7, rare=rare)
    same(loss, F.cross_entropy(lowered, target), logits)
    both = segloss.asymmetric_ce_dice_loss(logits, target, gamma=0, margin=0.7, rare=rare, smooth=0)
    dice = segloss.dice_loss(lowered, target)
    same(both, F.cross_entropy(lowered, target) + dice, logits)


@pytest.mark.parametrize("pooled", [True, False])
def test_adversarial_form_of_all_classes_is_cross_entropy_and_dice(pooled):
    logits, target = batch()
    loss = segloss.asymmetric_adversarial_loss(logits, target, asymmetric=False, smooth=0.3, batch=pooled)
    same(loss, F.cross_entropy(logits, target) + segloss.dice_loss(logits, target, smooth=0.3, batch=pooled), logits)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_large_margin_is_finite_where_nothing_is_in_doubt(reduction):
    logits = torch.tensor([[[0.0], [200.0]]], requires_grad=True)
    loss = segloss.asymmetric_focal_margin_loss(logits, torch.tensor([[1]]), margin=30.0, reduction=reduction)
    loss.sum().backward()
    assert loss.sum().item() == pytest.approx(0, abs=1e-5)
    assert bool(logits.grad.isfinite().all())


def test_adversarial_form_has_no_gradient_where_no_class_is_rare():
    logits, target = batch()
    loss = segloss.asymmetric_adversarial_loss(logits, target, rare=[3])
    (gradient,) = torch.autograd.grad(loss, logits)
    assert torch.equal(gradient.abs().sum(1) > 0, target == 3)


@pytest.mark.parametrize("asymmetric", [True, False])
def test_mixup_of_an_image_with_itself_is_the_plain_sum(asymmetric):
    logits, target = batch()
    keywords = {"gamma": 2.0, "margin": 0.5, "rare": [2, 3], "asymmetric": asymmetric}
    loss = segloss.asymmetric_mixup_loss(logits, target, partner=target, share=0.4, **keywords)
    same(loss, segloss.asymmetric_ce_dice_loss(logits, target, **keywords), logits)


def test_symmetric_mixup_mixes_the_cross_entropies():
    logits, target = batch()
    other, share = target.flip(0), torch.tensor([0.9, 0.2], dtype=torch.float64)
    loss = segloss.asymmetric_mixup_loss(logits, target, partner=other, share=share, asymmetric=False, reduction="none")
    one, two = (F.cross_entropy(logits, labels, reduction="none").mean((1, 2)) for labels in (target, other))
    p, y = logits.softmax(1), torch.stack([F.one_hot(t, 4).movedim(-1, 1).double() for t in (target, other)])
    y = share.view(2, 1, 1, 1) * y[0] + (1 - share).view(2, 1, 1, 1) * y[1]
    dice = segloss.dice_loss(p, y, activation="none", smooth=0, reduction="none").mean(1)
    torch.testing.assert_close(loss, share * one + (1 - share) * two + dice, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("share", "rare", "expected"),
    [
        (0.5, [2], [0, 2, 2, 2, None, 2]),
        (0.9, [2], [0, None, 2, 2, None, None]),
        (0.1, [2], [0, 2, None, 2, None, 2]),
        (0.5, [1, 2], [0, 2, 2, 2, 1, None]),
        (0.9, [1, 2], [0, None, 2, 2, None, 1]),
    ],
)
def test_mixed_labels_keep_to_the_rare_class(share, rare, expected):
    """Of two rare classes one is kept only where it does not give way to the other, too."""
    target, partner = torch.tensor([[0, 0, 2, 2, 0, 1]]), torch.tensor([[0, 2, 0, 2, 1, 2]])
    logits = torch.zeros(1, 3, 6, dtype=torch.float64, requires_grad=True)
    loss = segloss.asymmetric_mixup_loss(logits, target, partner=partner, share=share, rare=rare)
    (gradient,) = torch.autograd.grad(loss, logits)
    labels = [None if not g.any() else int(g.argmin()) for g in gradient[0].T]
    assert labels == expected


def test_voxels_ignored_in_either_image_change_nothing():
    logits, target = batch()
    target[0, 0] = 9
    partner = target.flip(0)
    mask = (target != 9) & (partner != 9)
    ignored = segloss.asymmetric_mixup_loss(logits, target, partner=partner, share=0.3, ignore_index=9)
    clean = (labels.masked_fill(labels == 9, 0) for labels in (target, partner))
    masked = segloss.asymmetric_mixup_loss(logits, next(clean), partner=next(clean), share=0.3, mask=mask.unsqueeze(1))
    same(ignored, masked, logits)


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
class TestAll:
    @pytest.mark.parametrize("rare", [[4], {-1, 2}], ids=str)
    def test_unknown_rare_classes_are_refused(self, loss, rare):
        logits, target = batch()
        with pytest.raises(ValueError, match="rare"):
            loss(logits, target, rare=rare, **mixed(loss, target))

    def test_finite_without_doubt_without_classes_and_without_voxels(self, loss):
        for label, ignore_index in ((0, None), (1, None), (3, None), (9, 9)):
            for sign in (-1e4, 0.0, 1e4):
                logits = (sign * torch.eye(4).view(1, 4, 4).repeat(2, 1, 1)).requires_grad_()
                target = torch.full((2, 4), label)
                for eps in (0.0, 1e-6):
                    value = loss(logits, target, ignore_index=ignore_index, eps=eps, **mixed(loss, target))
                    assert value.isfinite()
                    assert torch.autograd.grad(value, logits)[0].isfinite().all()
                    assert value >= -1e-5
                    assert ignore_index is None or value == 0

    def test_negative_numbers_are_refused(self, loss):
        logits, target = batch()
        for name in ("gamma", "margin", "eps", "smooth", "mixup_margin"):
            if name in loss.__kwdefaults__:
                with pytest.raises(ValueError, match=name):
                    loss(logits, target, **{name: -0.1}, **mixed(loss, target))


@pytest.mark.parametrize("share", [-0.1, 1.1, torch.tensor([0.5, 2.0]), torch.ones(3), torch.ones(2, 1)], ids=str)
def test_wrong_shares_are_refused(share):
    logits, target = batch()
    with pytest.raises(ValueError, match="share"):
        segloss.asymmetric_mixup_loss(logits, target, partner=target, share=share)


def test_wrong_partners_are_refused():
    logits, target = batch()
    for partner in (target[:1], target + 1, target.double()):
        with pytest.raises(ValueError, match="partner"):
            segloss.asymmetric_mixup_loss(logits, target, partner=partner, share=0.5)
