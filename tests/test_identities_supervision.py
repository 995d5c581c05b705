"""Identities of the losses for region sizes and partial labels."""

import pytest
import torch
import torch.nn.functional as F

import segloss


def batch(classes=4, seed=0, shape=(9, 8)):
    """Random logits and labels in which every class occurs in every image."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(2, classes, *shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, classes, (2, *shape), generator=generator)
    target.flatten(1)[:, :classes] = torch.arange(classes)
    return logits.requires_grad_(), target


def same(one, other, logits):
    """Equal in value and in gradient."""
    torch.testing.assert_close(one, other)
    torch.testing.assert_close(torch.autograd.grad(one, logits)[0], torch.autograd.grad(other, logits)[0])


def kl(predicted, true):
    return F.kl_div(predicted.log(), true, reduction="batchmean")


def test_label_marginal_without_its_distance_is_cross_entropy():
    logits, target = batch()
    loss = segloss.label_marginal_loss(logits, target, marginal_weight=0, temperature=3)
    same(loss, F.cross_entropy(logits, target), logits)


def test_label_marginal_averages_over_the_voxels_that_count():
    logits, target = batch()
    target[0, :5] = 255
    loss = segloss.label_marginal_loss(logits, target, marginal_weight=0, ignore_index=255)
    same(loss, F.cross_entropy(logits, target, ignore_index=255), logits)


@pytest.mark.parametrize(("divergence", "function"), [("kl", kl), ("l1", F.l1_loss)])
def test_label_marginal_distance_is_that_of_the_mean_probabilities(divergence, function):
    logits, target = batch()
    true = F.one_hot(target, 4).double().mean((1, 2))
    predicted = (10 * logits).softmax(1).mean((2, 3))
    loss = segloss.label_marginal_loss(logits, target, divergence=divergence, ce_weight=0, temperature=10)
    same(loss, function(predicted, true), logits)


def test_label_marginal_is_finite_where_the_foreground_fills_the_image():
    logits = torch.tensor([[[50.0, 60.0]], [[-50.0, -50.0]]], requires_grad=True)
    for divergence in ("kl", "l1"):
        loss = segloss.label_marginal_loss(logits, torch.ones(2, 2, dtype=torch.long), divergence=divergence)
        (gradient,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        assert gradient.isfinite().all()


MIXED = [{1, 2}, {3}]
MARGINAL = [segloss.marginal_cross_entropy_loss, segloss.marginal_dice_loss, segloss.marginal_exclusion_loss]
EXCLUSION = [segloss.exclusion_cross_entropy_loss, segloss.exclusion_dice_loss]


def merged(logits, target, annotated):
    """Probabilities and labels of each image with what is not annotated added to the background."""
    probabilities, labels = logits.softmax(1).unbind(0), target.clone()
    images = []
    for p, label, known in zip(probabilities, labels, annotated, strict=True):
        others = [c for c in range(1, len(p)) if c not in known]
        channels = [p[c] if c in known else torch.zeros_like(p[c]) for c in range(1, len(p))]
        images.append(torch.stack([p[0] + p[others].sum(0), *channels]))
        label[torch.isin(label, torch.tensor(others))] = 0
    return torch.stack(images), labels


def test_marginal_cross_entropy_adds_probabilities():
    logits, target = batch()
    q, labels = merged(logits, target, MIXED)
    loss = segloss.marginal_cross_entropy_loss(logits, target, annotated=MIXED)
    same(loss, F.nll_loss(q.clamp(min=1e-300).log(), labels), logits)


def test_marginal_dice_leaves_out_what_is_not_annotated():
    logits, target = batch()
    q, labels = merged(logits, target, MIXED)
    each = segloss.dice_loss(q, labels, activation="none", smooth=1e-5, reduction="none")
    expected = (each[0, [0, 1, 2]].mean() + each[1, [0, 3]].mean()) / 2
    same(segloss.marginal_dice_loss(logits, target, annotated=MIXED), expected, logits)


def test_marginal_dice_pools_a_class_over_the_images_where_it_is_annotated():
    logits, target = batch()
    q, labels = merged(logits, target, MIXED)
    expected = segloss.dice_loss(q, labels, activation="none", smooth=1e-5, batch=True)
    same(segloss.marginal_dice_loss(logits, target, annotated=MIXED, batch=True), expected, logits)


@pytest.mark.parametrize("background", [True, False])
def test_marginal_losses_of_full_labels_are_the_plain_ones(background):
    logits, target = batch()
    total = segloss.marginal_exclusion_loss(
        logits, target, annotated={1, 2, 3}, exclusion_ce_weight=1, include_background=background
    )
    dice = segloss.dice_loss(logits, target, smooth=1e-5, include_background=background)
    same(total, F.cross_entropy(logits, target) + dice, logits)


@pytest.mark.parametrize("pooled", [True, False])
def test_marginal_exclusion_is_the_sum_of_its_terms(pooled):
    logits, target = batch()
    terms = [
        loss(logits, target, annotated=MIXED, **({"batch": pooled} if "dice" in loss.__name__ else {}))
        for loss in (*MARGINAL[:2], *EXCLUSION)
    ]
    total = segloss.marginal_exclusion_loss(
        logits, target, annotated=MIXED, dice_weight=2, exclusion_ce_weight=3, exclusion_dice_weight=4, batch=pooled
    )
    same(total, terms[0] + 2 * terms[1] + 3 * terms[2] + 4 * terms[3], logits)


def test_exclusion_terms_leave_out_images_with_full_labels():
    logits, target = batch()
    both = segloss.marginal_exclusion_loss(logits, target, annotated=[{1}, {1, 2, 3}], reduction="none")
    plain = segloss.marginal_exclusion_loss(
        logits, target, annotated=[{1}, {1, 2, 3}], exclusion_dice_weight=0, reduction="none"
    )
    assert both[0] > plain[0]
    assert both[1] == plain[1]


def test_exclusion_masks():
    logits = torch.full((1, 4, 3), 1.0, dtype=torch.float64)
    target = torch.tensor([[0, 1, 3]])
    loss = segloss.exclusion_cross_entropy_loss(logits, target, annotated=[{1, 2}], reduction="none")
    torch.testing.assert_close(loss, torch.tensor([[2, 3, 2]]) * torch.tensor(1.25, dtype=torch.float64).log())


@pytest.mark.parametrize("loss", [*MARGINAL, *EXCLUSION], ids=lambda loss: loss.__name__)
class TestAnnotated:
    def test_forms_agree(self, loss):
        logits, target = batch()
        known = torch.tensor([[True, False, True, False]] * 2)
        expected = loss(logits, target, annotated=known)
        for annotated in ([{2}, {2}], [(2,), [0, 2]], {2}, [2], [0, 2], known & (torch.arange(4) > 0)):
            assert loss(logits, target, annotated=annotated) == expected

    @pytest.mark.parametrize(
        "annotated",
        [
            [{1}, {4}],
            [{1}, {-1}],
            {7},
            [{1}, set()],
            [{1}, {0}],
            set(),
            [],
            [{1}],
            [{1}, {2}, {3}],
            torch.tensor([[True, True, False, False], [True, False, False, False]]),
            torch.ones(2, 3, dtype=torch.bool),
            torch.ones(4, dtype=torch.bool),
            torch.ones(2, 4),
        ],
        ids=str,
    )
    def test_wrong_sets_are_refused(self, loss, annotated):
        logits, target = batch()
        with pytest.raises(ValueError, match="annotated"):
            loss(logits, target, annotated=annotated)

    @pytest.mark.parametrize("annotated", [None, 1, "12", [{1}, 2], [{1}, {1.5}], [True, False], [[1], "2"]], ids=str)
    def test_wrong_types_are_refused(self, loss, annotated):
        logits, target = batch()
        with pytest.raises(TypeError, match="annotated"):
            loss(logits, target, annotated=annotated)

    def test_finite_without_doubt_without_organs_and_without_voxels(self, loss):
        for target, ignore_index in ((0, None), (1, None), (3, None), (9, 9)):
            for sign in (-1e4, 0.0, 1e4):
                logits = sign * torch.eye(4).view(1, 4, 4).repeat(2, 1, 1)
                logits.requires_grad_()
                value = loss(logits, torch.full((2, 4), target), annotated=[{1}, {1, 2, 3}], ignore_index=ignore_index)
                assert value.isfinite()
                assert torch.autograd.grad(value, logits)[0].isfinite().all()

    def test_compiles_with_sets(self, loss):
        logits, target = batch()
        torch.compiler.reset()
        compiled = torch.compile(lambda z, y: loss(z, y, annotated=MIXED), fullgraph=True, backend="aot_eager")
        same(compiled(logits, target), loss(logits, target, annotated=MIXED), logits)
        torch.compiler.reset()


def test_generalised_f_beta_of_sure_predictions_is_f_beta():
    _, target = batch()
    logits = torch.where(F.one_hot(target.roll(1, -1), 4).movedim(-1, 1) > 0, 50.0, -50.0).double()
    loss = segloss.generalised_f_beta_loss(logits, target, beta=1.5, smooth=0)
    torch.testing.assert_close(loss, segloss.f_beta_loss(logits, target, beta=1.5))


def test_adaptive_step_is_the_loss_under_the_new_prices():
    logits, target = batch(2)
    logits = logits[:, 1:] + 2
    loss, state = segloss.adaptive_f_beta_step(None, logits, target)
    alpha_p, alpha_n, beta_squared = state[:, 0].tolist()
    assert state.tolist() != [[1.0]] * 3
    fixed = segloss.generalised_f_beta_loss(
        logits, target, alpha_p=alpha_p, alpha_n=alpha_n, beta=beta_squared**0.5, batch=True
    )
    same(loss, fixed, logits)


def test_adaptive_module_keeps_its_state_in_training_alone():
    logits, target = torch.ones(1, 1, 90), torch.tensor([[1] * 20 + [0] * 70])
    criterion = segloss.AdaptiveFBetaLoss()
    loss, state = segloss.adaptive_f_beta_step(None, logits, target)
    assert criterion(logits, target) == loss
    assert torch.equal(criterion.state, state)
    other = segloss.AdaptiveFBetaLoss()
    other.load_state_dict(criterion.state_dict())
    assert torch.equal(other.state, state)
    criterion.eval()
    assert criterion(logits, target) == loss
    assert torch.equal(criterion.state, state)
    loss, state = segloss.adaptive_f_beta_step(state, logits, target)
    criterion.train()
    assert criterion(logits, target) == loss
    assert torch.equal(criterion.state, state)


@pytest.mark.parametrize("label", [0, 1, 255])
def test_adaptive_prices_stay_finite_for_ever(label):
    logits = torch.full((1, 1, 90), -3.0, requires_grad=True)
    criterion = segloss.AdaptiveFBetaLoss(ignore_index=255)
    target = torch.full((1, 90), label)
    for _ in range(300):
        criterion(logits, target)
    loss = criterion(logits, target)
    assert criterion.state.isfinite().all()
    assert (criterion.state > 0).all()
    assert loss.isfinite()
    assert torch.autograd.grad(loss, logits)[0].isfinite().all()


def test_adaptive_module_compiles():
    logits, target = torch.ones(1, 1, 90, requires_grad=True), torch.tensor([[1] * 20 + [0] * 70])
    torch.compiler.reset()
    plain, other = segloss.AdaptiveFBetaLoss(), segloss.AdaptiveFBetaLoss()
    compiled = torch.compile(other, fullgraph=True, backend="aot_eager")
    for _ in range(3):
        same(compiled(logits, target), plain(logits, target), logits)
    assert torch.equal(other.state, plain.state)
    torch.compiler.reset()


@pytest.mark.parametrize("shape", [(3,), (3, 2), (1, 3)], ids=str)
def test_adaptive_step_refuses_another_shape(shape):
    with pytest.raises(ValueError, match="state"):
        segloss.adaptive_f_beta_step(torch.ones(shape), torch.ones(1, 1, 9), torch.ones(1, 9, dtype=torch.long))


def test_partial_labels_in_a_compound():
    logits, target = batch()
    terms = [(1.0, segloss.MarginalCrossEntropyLoss()), (2.0, segloss.ExclusionDiceLoss()), (0.5, segloss.DiceLoss())]
    total = segloss.Compound(terms)(logits, target, annotated=MIXED)
    values = [
        segloss.marginal_cross_entropy_loss(logits, target, annotated=MIXED),
        2 * segloss.exclusion_dice_loss(logits, target, annotated=MIXED),
        0.5 * segloss.dice_loss(logits, target),
    ]
    same(total, sum(values), logits)
