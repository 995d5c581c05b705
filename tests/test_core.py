"""The primitives of the core against brute force."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor

import segloss
from segloss.core import (
    difference,
    evidence,
    hard_masks,
    likelihood,
    log_likelihood,
    piecewise_linear,
    power,
    prepare,
    ratio,
    soft_masks,
)
from segloss.core.blocks import SIZE, blocks
from segloss.core.differences import both_valid
from segloss.core.hardest import _least, hardest, hardest_sum
from segloss.core.labels import by_label
from segloss.core.masks import true_mask
from segloss.core.memory import empty_like
from segloss.core.named import focused
from segloss.core.squares import squares_of
from segloss.core.sums import class_sums, voxel_sums
from segloss.core.truth import SQUARES, Term

TERMS = (
    Term(lambda p, g: (p - g) ** 2),
    Term(lambda p, g: p**3 * g + (1 + p) ** 4, lambda p, g: 3 * p**2 * g + 4 * (1 + p) ** 3),
    Term(lambda p, g: p**2 * (1 - g), lambda p, g: 2 * p * (1 - g)),
)
SQUARED = (SQUARES, Term(lambda p, g: g * (1 - p) ** 2 + 3 * g), Term(lambda p, g: (p * (1 - g)) ** 2 - p))
BLOCKED = list(itertools.product((1, 3, 50), (1, 4, 300), (1, 64, 5000)))
SHAPES = [(1, 35, 3, 4), (2, 1, 7), (3, 2, 5, 6), (2, 3, 4, 5), (1, 6, 3, 4, 5)]


def sample(shape, *, dense, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
    if dense:
        return logits, torch.rand(shape, generator=generator, dtype=dtype)
    return logits, torch.randint(0, max(shape[1], 2), (shape[0], *shape[2:]), generator=generator)


def naive(logits: Tensor, target: Tensor, valid: Tensor, activation: str) -> Tensor:
    """All sums of the evidence from the definition, with a one-hot map: (5, B, C)."""
    classes = logits.shape[1]
    if not target.is_floating_point():
        labels = [1] if classes == 1 else range(classes)
        target = torch.stack([target == c for c in labels], 1).to(logits.dtype)
    p = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid(), "none": logits}[activation]
    maps = [p, target, p * target, *(f.value(p, target) for f in TERMS)]
    return torch.stack([(m * valid).flatten(2).sum(2) for m in maps])


def same_gradient(ours: Tensor, theirs: Tensor, logits: Tensor) -> None:
    """Equal gradients of a random weighting of the values."""
    price = torch.randn_like(ours)
    one, other = (torch.autograd.grad((v * price).sum(), logits, retain_graph=True)[0] for v in (ours, theirs))
    torch.testing.assert_close(one, other)


pytestmark = pytest.mark.filterwarnings("ignore:Backwards compatibility. New undefined gradient")


@pytest.fixture(params=[(2**3, 1), (2**5, 2), (2**18, 3)], ids="blocks of {0[0]} on {0[1]} threads".format)
def _block_size(request, monkeypatch):
    size, threads = request.param
    monkeypatch.setitem(SIZE, "cpu", size)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_evidence_is_the_definition(shape, activation, dense, masked):
    if activation == "softmax" and shape[1] == 1:
        activation = "sigmoid"
    logits, target = sample(shape, dense=dense)
    x = logits.sigmoid() if activation == "none" else logits
    mask = torch.rand(shape[0], 1, *shape[2:]) < 0.6 if masked else None
    e = evidence(x, target, activation, mask=mask, terms=TERMS)
    ours = torch.stack([e.p, e.g, e.tp, *e.terms])
    valid = torch.ones(shape[0], 1, *shape[2:], dtype=torch.bool) if mask is None else mask
    theirs = naive(x, target, valid, activation)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(e.fp, e.p - e.tp)
    torch.testing.assert_close(e.fn, e.g - e.tp)
    torch.testing.assert_close(e.n, valid.flatten(2).sum(2).double())
    same_gradient(ours, theirs, logits)


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("joint", [False, True], ids=["alone", "with a loss"])
@pytest.mark.parametrize("terms", [TERMS, SQUARED], ids=["terms", "squares"])
def test_terms_of_hard_labels_are_the_definition(shape, activation, dense, weighted, joint, terms):
    if activation == "softmax" and shape[1] == 1:
        activation = "sigmoid"
    logits, target = sample(shape, dense=dense)
    target = target > 0.5 if dense else target
    mask = torch.rand(shape[0], 1, *shape[2:]) < 0.6
    weights = torch.rand(shape[0], 1, mask[0].numel(), dtype=torch.float64) if weighted else None
    x = logits.sigmoid() if activation == "none" else logits
    inputs = prepare(x, target, activation=activation, mask=mask)
    voxel = focused(1.5) if joint and not (dense and activation == "softmax") else None
    ours = class_sums(inputs, terms, weights=weights, voxel=voxel)[0][:, 3:]
    p = {"softmax": logits.softmax(1), "sigmoid": logits.sigmoid(), "none": x}[activation].flatten(2)
    g = target.flatten(2) if dense else true_mask(prepare(x, target, activation=activation))
    maps = [f.value(p, g.double()) * mask.flatten(2) for f in terms]
    theirs = torch.stack([(m if weights is None else m * weights).sum(2) for m in maps], 1)
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)
    twice = [torch.autograd.grad(v.square().sum(), logits, create_graph=True)[0].sin().sum() for v in (ours, theirs)]
    torch.testing.assert_close(*(torch.autograd.grad(v, logits, retain_graph=True)[0] for v in twice))


def test_squares_are_found_from_their_values():
    assert squares_of(replace(SQUARES, squares=None)) == (0, -2, 2, 1, 1)  # p² where wrong; (1 - m)² + 1 where missed
    assert squares_of(SQUARES) == squares_of(replace(SQUARES, squares=None))
    assert squares_of(Term(lambda p, g: p * g)) == (0, -1, 1, 0, 0)
    assert squares_of(SQUARED[1]) == (0, 0, 3, 0, 1)
    for other in (lambda p, g: (p - g).abs() ** 1.5, lambda p, g: -(1 - p).log(), lambda p, g: (1 - p) ** 2):
        assert squares_of(Term(other)) is None


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_terms_are_exact_where_the_truth_is_sure(classes):
    """What a term would be of the true class, if it were not, is large there, and must not be added and taken off."""
    target = torch.randint(classes, (2, 200))
    one_hot = torch.nn.functional.one_hot(target, classes).movedim(-1, 1)
    logits = (torch.randn(2, classes, 200) + 10 * one_hot).requires_grad_()
    p = logits.double().softmax(1)
    expected = -torch.where(one_hot > 0, p, 1 - p).log().mean() / 2
    found = segloss.combo_loss(logits, target, alpha=1.0)
    ours, theirs = (torch.autograd.grad(it, logits)[0] for it in (found, expected))
    torch.testing.assert_close(found, expected.float(), rtol=1e-4, atol=0)
    assert (ours - theirs).norm() < 1e-3 * theirs.norm()


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("shape", [(2, 2, 7), (2, 4, 5, 3), (1, 34, 9)], ids=str)
def test_cost_is_the_definition(shape):
    logits, target = sample(shape, dense=False)
    cost = torch.rand(shape[1], shape[1], dtype=torch.float64)
    ours = evidence(logits, target, cost=cost).terms[0]
    expected = torch.einsum("bcs,bcs->bs", cost[target.flatten(1)].movedim(-1, 1), logits.softmax(1).flatten(2))
    theirs = torch.stack([(expected * (target.flatten(1) == c)).sum(1) for c in range(shape[1])], 1)
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


@pytest.mark.parametrize("shape", [(1, 1, 5), (2, 2, 4), (1, 3, 2, 3)], ids=str)
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
def test_gradients_of_first_and_second_order(shape, dense):
    logits, target = sample(shape, dense=dense)

    def function(x):
        e = evidence(x, target, terms=TERMS)
        return torch.stack([e.p, e.tp, *e.terms]).pow(2)

    assert torch.autograd.gradcheck(function, logits)
    assert torch.autograd.gradgradcheck(function, logits)


@pytest.mark.parametrize("shape", [(1, 1, 6), (1, 2, 6), (1, 3, 6), (2, 3, 12), (1, 40, 12)], ids=str)
@pytest.mark.parametrize("loss", [segloss.dice_loss, segloss.dice_ce_loss, segloss.focal_loss])
def test_the_way_back_may_have_other_threads(shape, loss):
    """What was kept on the way there lies as its threads laid it."""
    logits, target = sample(shape, dense=False)
    expected = torch.autograd.grad(loss(logits, target), logits)[0]
    before = torch.get_num_threads()
    for there, back in itertools.permutations((1, 2, 3), 2):
        torch.set_num_threads(there)
        value = loss(logits, target)
        torch.set_num_threads(back)
        torch.testing.assert_close(torch.autograd.grad(value, logits)[0], expected)
    torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(2, 1, 6), (2, 2, 6), (2, 3, 6)], ids=str)
@pytest.mark.parametrize("loss", [segloss.dice_loss, segloss.dice_ce_loss, segloss.focal_loss, segloss.combo_loss])
def test_a_gradient_can_be_asked_for_again(shape, loss):
    logits, target = sample(shape, dense=False)
    value = loss(logits, target)
    first = torch.autograd.grad(value, logits, retain_graph=True)[0].clone()
    again = torch.autograd.grad(value, logits, retain_graph=True)[0]
    torch.testing.assert_close(again, first)
    (with_graph,) = torch.autograd.grad(loss(logits, target), logits, create_graph=True)
    torch.testing.assert_close(with_graph, first)


@pytest.mark.parametrize("loss", [segloss.dice_loss, segloss.focal_loss, segloss.lovasz_softmax_loss])
def test_gradients_of_several_losses_need_no_other_array(loss):
    """Autograd adds to a gradient in place if it is no view."""
    logits, target = sample((2, 3, 4, 5), dense=False)
    (gradient,) = torch.autograd.grad(loss(logits, target), logits)
    assert gradient.shape == logits.shape
    assert gradient._base is None


@pytest.mark.parametrize("shape", [(2, 1, 6), (2, 2, 6), (2, 3, 6)], ids=str)
def test_a_pass_without_a_gradient_gives_the_same(shape):
    logits, target = sample(shape, dense=False)
    with torch.no_grad():
        value = segloss.dice_ce_loss(logits, target)
    assert value.grad_fn is None
    torch.testing.assert_close(value, segloss.dice_ce_loss(logits, target).detach())


def log_truth(x: Tensor, target: Tensor, valid: Tensor, activation: str) -> Tensor:
    """The log-probability of the truth from the definition."""
    classes = x.shape[1]
    if target.dtype != torch.bool and activation != "sigmoid" and classes > 1:
        log_p = x.log_softmax(1) if activation == "softmax" else x.log()
        return (log_p.gather(1, target[:, None].clamp(0, classes - 1)) * valid).flatten(2)
    if target.dtype != torch.bool:
        target = torch.stack([target == c for c in ([1] if classes == 1 else range(classes))], 1)
    p = x.sigmoid() if activation == "sigmoid" else x
    return (torch.where(target, p, 1 - p).log() * valid).flatten(2)


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 3, 4)], ids=str)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("joint", [False, True], ids=["alone", "with the sums"])
def test_log_likelihood_is_the_definition(shape, activation, dense, joint):
    if activation == "softmax" and (dense or shape[1] == 1):
        activation = "sigmoid"
    logits, target = sample(shape, dense=dense)
    target = target > 0.5 if dense else target
    mask = torch.rand(shape[0], 1, *shape[2:]) < 0.6
    x = logits.sigmoid() if activation == "none" else logits
    theirs = log_truth(x, target, mask, activation)
    if joint:
        e = evidence(x, target, activation, mask=mask, likelihood=True)
        assert e.log_p is not None
        torch.testing.assert_close(e.log_p, theirs)
        hits = naive(x, target.to(x.dtype) if dense else target, mask, activation)[2]
        same_gradient(
            torch.cat([e.log_p.flatten(), e.tp.flatten()]), torch.cat([theirs.flatten(), hits.flatten()]), logits
        )
    else:
        ours = log_likelihood(prepare(x, target, activation=activation, mask=mask))
        torch.testing.assert_close(ours, theirs)
        same_gradient(ours, theirs, logits)


@pytest.mark.parametrize(("shape", "activation"), [((1, 1, 5), "auto"), ((2, 2, 4), "auto"), ((1, 3, 2, 3), "sigmoid")])
def test_log_likelihood_has_derivatives_of_both_orders(shape, activation):
    logits, target = sample(shape, dense=False)

    def function(x):
        e = evidence(x, target, activation, likelihood=True)
        return e.log_p, e.tp.square()

    assert torch.autograd.gradcheck(function, logits)
    assert torch.autograd.gradgradcheck(function, logits)


def priced(log_p: Tensor) -> Tensor:
    """A loss of a voxel that is not linear in its cross-entropy."""
    return -((1 - log_p.exp()) ** 1.5) * log_p


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("shape", [*SHAPES, (2, 2, 3, 4), (1, 40, 6)], ids=str)
@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("dense", [False, True], ids=["labels", "dense"])
@pytest.mark.parametrize("joint", [False, True], ids=["alone", "with all else"])
def test_sums_by_truth_are_the_definition(shape, activation, dense, joint):
    if activation == "softmax" and (dense or shape[1] == 1):
        activation = "sigmoid"
    logits, target = sample(shape, dense=dense)
    target = target > 0.5 if dense else target
    mask = torch.rand(shape[0], 1, *shape[2:]) < 0.6
    x = logits.sigmoid() if activation == "none" else logits
    log_p = log_truth(x, target, mask, activation)
    inputs = prepare(x, target, activation=activation, mask=mask)
    truths = true_mask(inputs)
    if not inputs.is_joint:
        truths = torch.stack([truths, ~truths & mask.flatten(2)], 1)
    theirs = (priced(log_p).unsqueeze(1) * truths.view(shape[0], -1, *truths.shape[-2:])).sum(-1)
    if joint:
        sums, likelihood, ours = class_sums(inputs, likelihood=True, voxel=focused(1.5))
        parts, others = (
            (ours, likelihood, sums[:, 1]),
            (theirs, log_p, naive(x, as_float(target, x), mask, activation)[2]),
        )
        ours, theirs = (torch.cat([part.flatten() for part in each]) for each in (parts, others))
    else:
        ours = voxel_sums(inputs, focused(1.5))
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


def as_float(target: Tensor, x: Tensor) -> Tensor:
    return target.to(x.dtype) if target.dtype == torch.bool else target


@pytest.mark.parametrize(("shape", "activation"), [((1, 1, 5), "auto"), ((2, 2, 4), "auto"), ((1, 3, 2, 3), "softmax")])
def test_sums_by_truth_have_derivatives_of_both_orders(shape, activation):
    logits, target = sample(shape, dense=False)

    def function(x):
        e = evidence(x, target, activation, voxel=focused(3.0))
        return e.losses, e.tp.square()

    rounding = 1e-12  # the first way back reads what the way there has left, the second finds it again
    assert torch.autograd.gradcheck(function, logits, nondet_tol=rounding)
    assert torch.autograd.gradgradcheck(function, logits, nondet_tol=rounding)


@pytest.mark.parametrize("classes", [3, 40])
def test_probabilities_too_small_to_divide_by_give_the_same(classes, monkeypatch):
    logits, target = sample((2, classes, 9), dense=False)
    found = []
    for safe in (likelihood.SAFE, 2.0):
        monkeypatch.setattr(likelihood, "SAFE", safe)
        logits.grad = None
        e = evidence(logits, target, voxel=focused(1.5))
        (e.losses.sum() + e.tp.square().sum()).backward()
        found.append((e.losses.detach(), logits.grad))
    torch.testing.assert_close(*found)


def test_a_probability_that_vanishes_has_its_cross_entropy():
    logits = torch.zeros(1, 3, 4, dtype=torch.float64)
    logits[0, 1, 0] = 300.0
    logits.requires_grad_()
    target = torch.zeros(1, 4, dtype=torch.long)
    e = evidence(logits, target, voxel=focused(2.0))
    e.losses.sum().backward()
    theirs = logits.detach().clone().requires_grad_()
    log_p = theirs.log_softmax(1)[:, 0]
    loss = (-((1 - log_p.exp()) ** 2) * log_p).sum()
    torch.testing.assert_close(e.losses.sum(), loss)
    torch.testing.assert_close(logits.grad, torch.autograd.grad(loss, theirs)[0])


KNOWN = {
    3: torch.tensor([[True, True, False], [True, True, True]]),
    40: torch.stack([torch.arange(40) % 3 == 0, torch.arange(40) < 20]),
}


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("classes", KNOWN)
@pytest.mark.parametrize("terms", [None, TERMS, SQUARED], ids=["alone", "terms", "squares"])
@pytest.mark.parametrize("safe", [likelihood.SAFE, 2.0], ids=["from p", "from logits"])
def test_classes_that_are_not_known_are_true_with_the_background(classes, terms, safe, monkeypatch):
    monkeypatch.setattr(likelihood, "SAFE", safe)
    logits, target = sample((2, classes, 9), dense=False)
    known = KNOWN[classes]
    target = target * known.gather(1, target)
    mask = torch.rand(2, 1, 9) < 0.7
    x = prepare(logits, target, mask=mask)
    g = target.unsqueeze(1) == (torch.arange(classes) * known).unsqueeze(2)
    p, g = logits.softmax(1) * mask, (g & mask).double()
    log_p = torch.where(mask, (p * g).sum(1, keepdim=True), 1.0).log()
    ours, theirs = [log_likelihood(x, known=known)], [log_p]
    if terms:
        ours = class_sums(x, terms, known=known, likelihood=True, voxel=focused(1.5))
        sums = [(it * mask).sum(2) for it in (p, p * g, g, *(f.value(p, g) for f in terms))]
        loss = -((1 - log_p.exp()) ** 1.5) * log_p
        theirs = [torch.stack(sums, 1), log_p, (loss * g * known.unsqueeze(2)).sum(2).unsqueeze(1)]
    ours, theirs = (torch.cat([it.flatten() for it in each]) for each in (ours, theirs))
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


def test_classes_true_together_that_vanish_have_a_gradient():
    logits = torch.tensor([[[-200.0], [-201.0], [0.0]]], dtype=torch.float64, requires_grad=True)
    x = prepare(logits, torch.zeros(1, 1, dtype=torch.long))
    known = torch.tensor([[True, False, True]])
    log_likelihood(x, known=known).sum().backward()
    share = torch.sigmoid(torch.tensor(1.0, dtype=torch.float64))
    torch.testing.assert_close(logits.grad[0, :, 0], torch.stack([share, 1 - share, -torch.ones_like(share)]))


def test_the_way_back_leaves_its_prices_as_they_are():
    logits, target = sample((2, 3, 9), dense=False)
    for change in ({}, {"known": KNOWN[3]}, {"scale": 3.0}):
        log_p = log_likelihood(prepare(logits, target * KNOWN[3].gather(1, target)), **change)
        price = torch.ones_like(log_p)
        torch.autograd.grad(log_p, logits, price)
        assert (price == 1).all()


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("terms", [(), TERMS, SQUARED], ids=["plain", "terms", "squares"])
@pytest.mark.parametrize(("classes", "activation"), [(1, "sigmoid"), (3, "sigmoid"), (2, "softmax"), (40, "softmax")])
def test_logits_times_a_factor_and_in_favour_of_the_truth(classes, activation, terms):
    logits, target = sample((2, classes, 9), dense=False)
    g = torch.nn.functional.one_hot(target, classes).movedim(-1, 1) > 0 if classes > 1 else target.unsqueeze(1) > 0
    target = target if activation == "softmax" else g
    how = {"activation": activation, "mask": torch.rand(2, 1, 9) < 0.7}
    bonus = torch.arange(1.0, classes + 1).view(-1, 1) / classes
    other = 2.5 * logits + bonus * (g if activation == "softmax" else 2 * g.double() - 1)
    wanted = {"voxel": focused(1.5), "likelihood": True}
    ours = class_sums(prepare(logits, target, **how), terms, scale=2.5, lowered=-bonus[:, 0], **wanted)
    theirs = class_sums(prepare(other, target, **how), terms, **wanted)
    ours, theirs = (torch.cat([it.flatten() for it in each]) for each in (ours, theirs))
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


@pytest.mark.usefixtures("_block_size")
@pytest.mark.parametrize("classes", [2, 3, 40])
@pytest.mark.parametrize("margin", [0.5, 300.0], ids="margin {}".format)
def test_a_margin_is_taken_off_the_logit_of_the_truth(classes, margin):
    logits, target = sample((2, classes, 9), dense=False)
    lowered = margin * torch.arange(classes) / classes
    mask = torch.rand(2, 1, 9) < 0.7
    one_hot = torch.nn.functional.one_hot(target, classes).movedim(-1, 1)
    wanted = {"likelihood": True, "voxel": focused(1.5)}
    ours = class_sums(prepare(logits, target, mask=mask), TERMS, lowered=lowered, **wanted)
    theirs = class_sums(prepare(logits - one_hot * lowered.view(-1, 1), target, mask=mask), TERMS, **wanted)
    ours, theirs = (torch.cat([it.flatten() for it in each]) for each in (ours, theirs))
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
@pytest.mark.parametrize("clamp", [0.0, 0.1])
def test_slope_is_the_derivative_of_the_value(gamma, clamp):
    ce = torch.tensor([1e-3, 0.05, 0.3, 1.0, 2.0, 5.0], dtype=torch.float64, requires_grad=True)
    loss = focused(gamma, clamp)
    theirs = torch.autograd.grad(loss.value(-torch.expm1(-ce), ce).sum(), ce)[0]
    torch.testing.assert_close(loss.slope(-torch.expm1(-ce), ce), theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_sums_of_short_types_are_taken_in_float32_or_better(dtype):
    logits, target = sample((1, 3, 512, 512), dense=False, dtype=torch.float32)
    short = logits.detach().to(dtype).requires_grad_()
    e, exact = evidence(short, target), evidence(short.detach().double(), target)
    torch.testing.assert_close(e.tp, exact.tp, rtol=1e-5, atol=0)
    torch.testing.assert_close(e.g, exact.g, rtol=0, atol=0)
    e.tp.sum().backward()
    assert short.grad is not None
    assert short.grad.dtype == dtype


@pytest.mark.parametrize("classes", [2, 3])
def test_sums_do_not_depend_on_the_layout_of_memory(classes):
    logits, target = sample((2, classes, 6, 5), dense=False)
    twisted = logits.detach().movedim(1, -1).contiguous().movedim(-1, 1).requires_grad_()
    for x in (twisted, logits.detach().transpose(2, 3).contiguous().transpose(2, 3).requires_grad_()):
        one, two = evidence(logits, target).tp, evidence(x, target).tp
        torch.testing.assert_close(one, two)
        price = torch.randn_like(one)
        gradients = [torch.autograd.grad((v * price).sum(), y)[0] for v, y in ((one, logits), (two, x))]
        torch.testing.assert_close(*gradients)


@pytest.mark.parametrize(
    ("images", "classes", "voxels"), list(itertools.product((1, 3, 50), (1, 4, 300), (1, 64, 5000)))
)
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_blocks_cover_every_voxel_once(images, classes, voxels, threads, monkeypatch):
    monkeypatch.setitem(SIZE, "cpu", 1000)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    logits = torch.zeros(images, classes, voxels)
    for at, (first, second) in blocks(logits):
        at.of(logits).add_(1)
        assert first.shape == second.shape == at.of(logits).shape
        assert first.numel() <= 4000 * max(1, threads / 2) + threads * classes
    assert bool((logits == 1).all())


def test_piecewise_linear_has_the_slope_of_its_rule():
    logits, _ = sample((2, 3, 4), dense=False)
    x = prepare(logits, torch.zeros(2, 4, dtype=torch.long))
    slope = torch.randn(2, 3, 4, dtype=torch.float64)

    def rule(p):
        value = (p * slope).sum(2)
        p.copy_(slope)
        return value

    ours, theirs = piecewise_linear(x, rule), (logits.softmax(1) * slope).sum(2)
    torch.testing.assert_close(ours, theirs)
    same_gradient(ours, theirs, logits)


def test_ratio_is_safe_at_zero():
    top, bottom = (torch.tensor([1.0, 0.0, 0.0], requires_grad=True) for _ in range(2))
    value = ratio(top, bottom)
    value.sum().backward()
    assert value.tolist() == [1, 1, 1]
    assert top.grad is not None
    assert bottom.grad is not None
    assert top.grad.tolist() == [1, 0, 0]
    assert bottom.grad.tolist() == [-1, 0, 0]


def test_power_is_safe_at_zero():
    base = torch.tensor([0.0, 0.25], requires_grad=True)
    value = power(base, 0.5)
    value.sum().backward()
    assert value.tolist() == [0, 0.5]
    assert base.grad is not None
    assert base.grad.tolist() == [0, 1]


@pytest.mark.parametrize("classes", [1, 3])
def test_masks_of_every_class(classes):
    logits, target = sample((2, classes, 4, 5), dense=False)
    target[0, 0] = 255
    labels = [1] if classes == 1 else range(classes)
    truth = torch.stack([target == c for c in labels], 1)
    _, soft = soft_masks(prepare(logits, target, ignore_index=255))
    predicted, hard = hard_masks(logits, target, ignore_index=255)
    assert torch.equal(soft.bool(), truth.flatten(2))
    assert torch.equal(hard, truth)
    choice = logits > 0 if classes == 1 else torch.stack([logits.argmax(1) == c for c in labels], 1)
    assert torch.equal(predicted, choice & (target != 255)[:, None])


@pytest.mark.parametrize("step", [(1,), (-2,), (1, 0), (1, -1), (0, 0), (0, 2, -1), (9, 0)], ids=str)
@pytest.mark.parametrize("boxed", [False, True], ids=["everywhere", "in a box"])
def test_a_difference_is_taken_wherever_both_ends_count(step, boxed):
    generator = torch.Generator().manual_seed(0)
    shape = (4, 5, 3)[: len(step)]
    y = torch.randn(2, 3, *shape, generator=generator, dtype=torch.float64, requires_grad=True)
    valid = torch.rand(2, 1, *shape, generator=generator) < 0.7
    starts = [range(max(0, -s), max(0, size - max(0, s))) for s, size in zip(step, shape, strict=True)]
    box = None
    if boxed:
        starts = [start[:-1] if len(start) > 1 else start for start in starts]
        box = [slice(start.start, start.stop) for start in starts]
    d, there = difference(y, step, valid, box=box), both_valid(valid, step, box=box)
    expected = torch.zeros_like(d)
    for at in itertools.product(*starts):
        end = tuple(a + s for a, s in zip(at, step, strict=True))
        counts = valid[(..., *at)] & valid[(..., *end)]
        place = (..., *(a - s[0] for a, s in zip(at, starts, strict=True)))
        assert torch.equal(there[place], counts)
        expected[place] = counts * (y[(..., *end)] - y[(..., *at)])
    assert torch.equal(d, expected)
    if d.numel():
        price = torch.randn(d.shape, generator=generator, dtype=torch.float64)
        ours, theirs = (torch.autograd.grad((v * price).sum(), y)[0] for v in (d, expected))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("shape", [(2, 1, 40, 40), (2, 2, 40, 40), (1, 5, 40, 40)], ids=str)
@pytest.mark.parametrize("activation", ["auto", "sigmoid"])
def test_mixed_precision_does_not_reach_the_sums(shape, activation):
    logits, target = sample(shape, dense=False, dtype=torch.float32)

    def value_and_grad():
        e = evidence(logits, target, activation, voxel=focused(2.0))
        assert e.losses is not None
        return [e.tp, e.p, e.losses, *torch.autograd.grad(e.tp.sum() + e.losses.sum(), logits)]

    expected = value_and_grad()
    with torch.autocast("cpu", torch.bfloat16):
        found = value_and_grad()
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", [1, 40, 700, 2000])
def test_the_sum_of_the_hardest_is_that_of_their_map(number, dtype):
    log_p = -torch.randn(2, 1, 1000, generator=torch.Generator().manual_seed(0), dtype=dtype).abs()
    log_p = (8 * log_p).round().div(8).requires_grad_()
    number = torch.tensor(number)
    ours, theirs = hardest_sum(log_p, number), (log_p.double() * hardest(log_p, number)).sum()
    torch.testing.assert_close(ours.double(), theirs)
    same_gradient(ours, theirs, log_p)


def test_what_is_no_number_is_not_taken_for_easy():
    log_p = -torch.rand(1, 1, 100)
    log_p[..., 7] = torch.nan
    assert hardest_sum(log_p, torch.tensor(3)).isnan()


@pytest.mark.parametrize("size", [1, 2, 100, 40_000])
@pytest.mark.parametrize("kind", ["random", "ties", "sorted", "periodic", "hidden"])
def test_a_place_in_the_order_is_found_from_a_sample(size, kind):
    """Also where the sample, taken in even steps, does not look like the rest."""
    x = torch.randn(size, generator=torch.Generator().manual_seed(0))
    x = {
        "random": x,
        "ties": x.round(),
        "sorted": x.sort(descending=True).values,
        "periodic": torch.arange(size, dtype=torch.float32) % 2,
        "hidden": torch.where(torch.arange(size) % 2 == 0, 5.0, x),
    }[kind]
    for number in {1, max(1, size // 10), max(1, size // 2), size}:
        torch.testing.assert_close(_least(x, number)[:number].sort().values, x.sort().values[:number])
        assert _least(x, number)[number - 1] == x.sort().values[number - 1]


@pytest.mark.parametrize("kind", [torch.uint8, torch.int64])
@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("rows", [1, 3])
def test_the_value_of_the_label_is_found_at_every_voxel(rows, dtype, kind):
    generator = torch.Generator().manual_seed(0)
    values = torch.randint(0, 2 if dtype == torch.bool else 100, (rows, 200), generator=generator).to(dtype)
    labels = torch.randint(0, 200, (3, 70_000, 2), generator=generator, dtype=kind).transpose(1, 2)
    expected = torch.stack([values[image % rows][labels[image].long()] for image in range(3)])
    assert torch.equal(by_label(values, labels), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.bool])
@pytest.mark.parametrize("shape", [(2, 3, 4), (0, 3, 4), (2**20 + 1,)])
def test_space_is_as_that_of_torch(shape, dtype):
    x = torch.zeros(shape, dtype=dtype)
    found = empty_like(x)
    assert (found.shape, found.dtype, found.is_contiguous()) == (x.shape, dtype, True)
    assert not found._is_view()  # or sums of gradients would take another array
    assert torch.equal(found.fill_(1), torch.ones_like(x))


def test_space_lies_in_the_order_of_the_array_it_is_like():
    x = torch.zeros(2, 3, 4).transpose(1, 2)
    assert empty_like(x).stride() == x.stride()
