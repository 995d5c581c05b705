"""Gradients of a pass that are written over what was kept for them, or added to others."""

import pytest
import torch

import segloss
from segloss.core import native_pass, one_pass, sums
from segloss.core.named import CROSS_ENTROPY
from segloss.core.sharing import sharing
from tests.again import same_whenever_asked

HARDEST = {
    "topk": lambda *given, **how: segloss.topk_cross_entropy_loss(*given, k=0.2, **how),
    "bootstrapped": lambda *given, **how: segloss.bootstrapped_cross_entropy_loss(*given, min_kept=9, **how),
    "Dice and topk": lambda *given, **how: segloss.dice_topk_loss(*given, k=0.2, **how),
}


def sample(activation: str, classes: int, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(classes)
    logits = torch.randn(2, classes, 9, 11, generator=generator, dtype=dtype).mul_(2).requires_grad_()
    labels = torch.randint(classes, (2, 9, 11), generator=generator)
    if activation == "sigmoid":
        labels = torch.rand(2, 9, 11, classes, generator=generator).gt(0.6).movedim(-1, 1)
    return logits, labels, torch.rand(2, 1, 9, 11, generator=generator) > 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("activation", "classes"), [("softmax", 2), ("softmax", 5), ("sigmoid", 1), ("sigmoid", 3)])
@pytest.mark.parametrize("loss", HARDEST)
@pytest.mark.parametrize("tied", [False, True])
def test_the_hardest_of_a_pass_are_those_of_its_map(tied, loss, activation, classes, dtype):
    logits, labels, mask = sample(activation, classes, dtype)
    logits = logits.detach().round().requires_grad_() if tied else logits
    ours = HARDEST[loss](logits, labels, activation=activation, mask=mask)
    with sharing():  # composed of a pass and of what is done with its map
        theirs = HARDEST[loss](logits, labels, activation=activation, mask=mask)
    torch.testing.assert_close(ours, theirs)
    found, expected = (torch.autograd.grad(it, logits)[0] for it in (ours, theirs))
    torch.testing.assert_close(found, expected)
    assert found.count_nonzero() > 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("activation", "classes"), [("softmax", 2), ("softmax", 5), ("sigmoid", 3)])
@pytest.mark.parametrize("loss", HARDEST)
def test_gradients_of_the_hardest_may_be_asked_for_again(loss, activation, classes, dtype):
    logits, labels, mask = sample(activation, classes, dtype)
    same_whenever_asked(lambda: HARDEST[loss](logits, labels, activation=activation, mask=mask), logits)


def test_a_map_of_channels_turns_into_the_gradient(monkeypatch):
    logits, labels, _ = sample("sigmoid", 3, torch.float32)
    loops = native_pass.fused_gradient
    seen = []

    def spy(*given, **how):
        gradient = loops(*given, **how)
        seen.append([it.data_ptr() for it in (given[4], given[6], gradient)])
        return gradient

    monkeypatch.setattr(native_pass, "fused_gradient", spy)
    HARDEST["Dice and topk"](logits, labels, activation="sigmoid").backward()
    ((room, log_p, gradient),) = seen
    assert room == log_p == gradient


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize(("activation", "classes"), [("softmax", 2), ("softmax", 5), ("softmax", 12), ("sigmoid", 3)])
def test_gradients_of_two_passes_add_up_in_one_array(activation, classes, dtype, monkeypatch):
    logits, labels, _ = sample(activation, classes, dtype)
    x = segloss.core.prepare(logits, labels, activation=activation)
    generator = torch.Generator().manual_seed(0)

    def priced_sums(found: tuple[torch.Tensor | None, ...]) -> torch.Tensor:
        prices = generator.manual_seed(0)
        return sum(
            (it * torch.randn(it.shape, generator=prices, dtype=it.dtype)).sum() for it in found if it is not None
        )

    made, bare = [], one_pass.bare_gradient

    def spy(*given, **how):
        made.append(bare(*given, **how))
        return made[-1]

    monkeypatch.setattr(one_pass, "bare_gradient", spy)
    ours = priced_sums(sums.sums_by_scale(x, 3.0, CROSS_ENTROPY))
    found = torch.autograd.grad(ours, logits, retain_graph=True)[0]
    assert len(made) == 2
    assert made[0] is made[1]
    apart = sums.class_sums(x, scale=3.0)[0], None, sums.voxel_sums(x, CROSS_ENTROPY)
    theirs = priced_sums(apart)
    torch.testing.assert_close(ours, theirs)
    expected = torch.autograd.grad(theirs, logits)[0]
    torch.testing.assert_close(found, expected, **({"rtol": 0.02, "atol": 0.02} if dtype == torch.bfloat16 else {}))
