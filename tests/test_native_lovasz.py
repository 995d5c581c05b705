"""The Lovász losses in loops of the CPU, against the same in operations of torch."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from segloss.core import lovasz
from segloss.region.lovasz import lovasz_hinge_loss, lovasz_softmax_loss

SHAPES = [(2, 1, 7), (2, 2, 9), (2, 3, 5, 7), (3, 19, 12, 13), (1, 2, 300, 300), (1, 3, 300, 300), (2, 1, 41, 41, 41)]


def found(loss: Callable[..., Tensor], logits: Tensor, target: Tensor, **how: Any) -> tuple[Tensor, Tensor]:
    x = logits.clone().requires_grad_()
    value = loss(x, target, reduction="none", **how)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def agrees(
    monkeypatch: pytest.MonkeyPatch, loss: Callable[..., Tensor], *given: Tensor, ties: bool = False, **how: Any
) -> None:
    """Voxels that tie may stand in another order, so of these the sorted gradients are compared."""
    value, gradient = found(loss, *given, **how)
    with monkeypatch.context() as patch:
        patch.setattr(lovasz, "loops_for", lambda *_: None)
        other, expected = found(loss, *given, **how)
    torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
    if ties:
        gradient, expected = (it.flatten().sort()[0] for it in (gradient, expected))
    torch.testing.assert_close(gradient, expected, rtol=1e-3, atol=2e-3 * expected.abs().max().item())


def sample(shape: tuple[int, ...], scale: float = 2.0) -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    spatial = shape[2:]
    labels = torch.randint(0, max(2, shape[1]), (shape[0], *spatial))
    return scale * torch.randn(shape), labels, torch.rand(shape[0], 1, *spatial) > 0.3


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize("absent", ["skip", "penalise"])
def test_softmax(shape, batch, absent, monkeypatch):
    logits, target, mask = sample(shape)
    target[0] = target[0].clamp(max=1)  # most classes are absent from one image
    for how in ({}, {"ignore_index": 1}, {"mask": mask}):
        agrees(monkeypatch, lovasz_softmax_loss, logits, target, batch=batch, absent=absent, **how)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("batch", [True, False])
def test_hinge(shape, batch, monkeypatch):
    logits, _, mask = sample(shape)
    target = torch.rand(shape) > 0.6
    for how in ({}, {"mask": mask}):
        agrees(monkeypatch, lovasz_hinge_loss, logits, target, batch=batch, **how)


@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (1, 40, 60, 70), (3, 12, 1500)], ids=str)
def test_labels_are_read_as_they_lie(shape):
    logits, _, mask = sample(shape)
    moved = (torch.rand(shape[0], *shape[2:], shape[1]) > 0.6).movedim(-1, 1)
    value, gradient = found(lovasz_hinge_loss, logits, moved, mask=mask)
    expected, of_contiguous = found(lovasz_hinge_loss, logits, moved.contiguous(), mask=mask)
    torch.testing.assert_close(value, expected, rtol=0, atol=0)
    torch.testing.assert_close(gradient, of_contiguous, rtol=0, atol=0)


def test_hinge_of_class_indices(monkeypatch):
    logits, target, _ = sample((2, 1, 6, 5))
    target[0, 0] = 255
    agrees(monkeypatch, lovasz_hinge_loss, logits, target, ignore_index=255)


@pytest.mark.parametrize("batch", [True, False])
def test_foreground_alone(batch, monkeypatch):
    logits, target, _ = sample((2, 2, 8, 9))
    agrees(monkeypatch, lovasz_softmax_loss, logits, target, batch=batch, include_background=False)


@pytest.mark.parametrize(
    ("loss", "how"),
    [
        (lovasz_softmax_loss, {}),
        (lovasz_softmax_loss, {"batch": False, "include_background": False}),
        (lovasz_softmax_loss, {"absent": "penalise"}),
        (lovasz_hinge_loss, {"batch": False}),
    ],
)
def test_compilers_meet_one_operator(loss, how):
    logits, labels, mask = sample((2, 3, 5, 7))
    target = labels if loss is lovasz_softmax_loss else torch.stack([labels == c for c in range(3)], 1)
    expected = found(loss, logits, target, mask=mask, **how)
    torch.compiler.reset()
    compiled = found(torch.compile(loss, fullgraph=True, backend="aot_eager"), logits, target, mask=mask, **how)
    torch.testing.assert_close(compiled, expected)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1, 70000), (1, 2, 70000), (2, 3, 30000)], ids=str)
def test_any_number_of_threads(shape, threads, monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        agrees(monkeypatch, lovasz_softmax_loss, *sample(shape)[:2])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_ties(channels, monkeypatch):
    logits, target, _ = sample((2, channels, 400))
    if channels < 3:
        agrees(monkeypatch, lovasz_softmax_loss, logits.round(), target, ties=True)
    p = logits.softmax(1).mul(8).round() / 8
    agrees(monkeypatch, lovasz_softmax_loss, p, target, activation="none", ties=True)
    agrees(monkeypatch, lovasz_hinge_loss, logits.round(), torch.rand(logits.shape) > 0.5, ties=True)
    agrees(monkeypatch, lovasz_softmax_loss, torch.zeros_like(logits), target, ties=True)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_perfect_predictions(channels, monkeypatch):
    _, target, _ = sample((2, channels, 400))
    truth = torch.stack([target == c for c in ([1] if channels == 1 else range(channels))], 1)
    logits = 200 * truth.float() - 100
    agrees(monkeypatch, lovasz_softmax_loss, logits, target)
    agrees(monkeypatch, lovasz_hinge_loss, logits, truth)
    agrees(monkeypatch, lovasz_hinge_loss, -logits, truth, ties=True)
    if channels > 1:
        for p in (truth.float(), truth.flip(1).float()):
            agrees(monkeypatch, lovasz_softmax_loss, p, target, activation="none", ties=True)


@pytest.mark.parametrize("absent", ["skip", "penalise"])
def test_no_foreground(absent, monkeypatch):
    for shape in ((2, 1, 50), (2, 2, 50), (2, 3, 50)):
        logits, target, mask = sample(shape)
        agrees(monkeypatch, lovasz_softmax_loss, logits, torch.zeros_like(target), absent=absent)
        agrees(monkeypatch, lovasz_hinge_loss, logits, torch.zeros(shape, dtype=torch.bool))
        agrees(monkeypatch, lovasz_softmax_loss, logits, target, absent=absent, mask=mask & False)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("channels", [1, 2, 3])
def test_what_is_no_number_does_no_harm(bad, channels, monkeypatch):
    logits, target, _ = sample((2, channels, 300))
    logits[0, 0, ::7] = bad
    for loss, g in ((lovasz_softmax_loss, target), (lovasz_hinge_loss, logits > 0)):
        value = found(loss, logits, g)[0]
        with monkeypatch.context() as patch:
            patch.setattr(lovasz, "loops_for", lambda *_: None)
            torch.testing.assert_close(value, found(loss, logits, g)[0], equal_nan=True)


def test_many_classes(monkeypatch):
    agrees(monkeypatch, lovasz_softmax_loss, *sample((1, 300, 400))[:2])


def distinct(n: int, generator: torch.Generator) -> Tensor:
    """Multiples of one number, so that no two errors are alike."""
    return ((torch.randperm(n, generator=generator) + 0.25) / (n + 1)).float()


def crowded(n: int, generator: torch.Generator) -> Tensor:
    """The same, nearly all so close to 1/2 that their first bits are the same, whatever the truth."""
    steps, others = 4 * (torch.randperm(n, generator=generator) - n // 2) + 1, distinct(n, generator)
    p = 0.5 + steps.double() * 2**-24
    return torch.where((torch.arange(n) % 50 == 0) & ((others - 0.5).abs() > 0.1), others, p.float())


@pytest.mark.parametrize("p_of", [distinct, crowded])
@pytest.mark.parametrize(("n", "absent"), [(50, 10), (5000, 100), (70000, 60000), (70000, 100)])
def test_values_are_the_definition_where_no_errors_tie(n, absent, p_of):
    generator = torch.Generator().manual_seed(2)
    p = p_of(n, generator).view(1, 1, n)
    target = (torch.rand(1, 1, n, generator=generator) > 0.7) & (torch.arange(n) >= absent)
    leaf, exact = p.clone().requires_grad_(), p.double().requires_grad_()
    for x in (leaf, exact):
        lovasz_softmax_loss(x, target, activation="none").backward()
    error, order = (target.double() - p.double()).abs().flatten().sort(descending=True)
    assert error.unique().numel() == n
    g = target.flatten()[order].double()
    size = g.sum()
    jaccard = 1 - (size - g.cumsum(0)) / (size + (1 - g).cumsum(0))
    jump = jaccard.diff(prepend=torch.zeros(1, dtype=torch.float64))
    value = lovasz_softmax_loss(p, target, activation="none")
    torch.testing.assert_close(value.double(), (error * jump).sum(), rtol=1e-5, atol=0)
    expected = torch.zeros(n, dtype=torch.float64).scatter(0, order, jump * (1 - 2 * g))
    torch.testing.assert_close(leaf.grad.flatten().double(), expected, rtol=1e-4, atol=1e-12)
    torch.testing.assert_close(exact.grad.flatten(), expected, rtol=1e-9, atol=1e-15)


def test_a_transform_takes_plain_operations():
    logits, target = torch.randn(1, 3, 40), torch.randint(0, 3, (1, 40))
    leaf = logits.clone().requires_grad_()
    lovasz_softmax_loss(leaf, target).backward()
    found = torch.func.grad(lambda x: lovasz_softmax_loss(x, target))(logits)
    torch.testing.assert_close(found, leaf.grad)
