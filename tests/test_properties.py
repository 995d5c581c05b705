"""Every loss on inputs that nobody chose: shapes, classes, types, strides, ignored voxels, logits up to ±1e4."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from segloss.testing.members import Member, members
from segloss.testing.samples import CLASSES, EXTRAS, Case, extra
from tests.tried import tell

pytestmark = pytest.mark.xdist_group("figures")  # one process counts what it tried

EXAMPLES = 24
TYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
STRIDES = {
    "contiguous": lambda tensor: tensor,
    "channels last": lambda tensor: tensor.movedim(1, -1).contiguous().movedim(-1, 1),
    "every other voxel": lambda tensor: tensor.repeat_interleave(2, -1)[..., ::2],
    "reversed axes": lambda tensor: (
        tensor.permute(*reversed(range(tensor.ndim))).contiguous().permute(*reversed(range(tensor.ndim)))
    ),
}
TRIED: Counter[str] = Counter()
DONE: set[str] = set()


@dataclass(frozen=True)
class Drawn:
    """What an example is made of."""

    task: str
    shape: tuple[int, ...]
    images: int
    classes: int
    dtype: torch.dtype
    strides: str
    ignored: str
    scale: float
    seed: int


@st.composite
def drawn(draw: st.DrawFn, member: Member) -> Drawn:
    task = draw(st.sampled_from(member.loss.tasks))
    dims = draw(st.sampled_from(member.loss.dims))
    fixed = any(isinstance(value, list | tuple) for value in member.loss.params.values())
    least = {"binary": 1, "multiclass": 2, "multilabel": 2}[task]
    return Drawn(
        task,
        tuple(draw(st.lists(st.integers(1, 9), min_size=dims, max_size=dims))),
        draw(st.integers(1, 3)),
        CLASSES[task] if fixed or task == "binary" else draw(st.integers(least, 5)),
        draw(st.sampled_from(TYPES)),
        draw(st.sampled_from(sorted(STRIDES))),
        draw(st.sampled_from(("none", "some", "an image", "all"))),
        draw(st.sampled_from((0.0, 1.0, 100.0, 1e4))),
        draw(st.integers(0, 2**16)),
    )


def case_of(member: Member, example: Drawn) -> Case:
    """Logits and target as random as can be: classes may be absent, and images of one class."""
    generator = torch.Generator().manual_seed(example.seed)
    size = (example.images, example.classes, *example.shape)
    logits = torch.randn(size, generator=generator, dtype=torch.float64) * example.scale
    flat = (example.images, *example.shape)
    if example.task == "multilabel":
        target = torch.rand(size, generator=generator) < 0.4
    else:
        target = torch.randint(max(2, example.classes), flat, generator=generator)
        target = target * torch.randint(2, (example.images, *[1] * len(example.shape)), generator=generator)
    case = Case(example.task, logits.clamp(-1e4, 1e4), target)
    required = [name for name, it in list(member.loss.parameters.items())[2:] if it.default is it.empty]
    made = {**EXTRAS, **member.loss.extras}
    extras = {name: extra(name, case, made) for name in required if name not in member.loss.params}
    case = replace(case, extras=extras).to(example.dtype)
    return case.replace(logits=STRIDES[example.strides](case.logits), target=STRIDES[example.strides](case.target))


def mask_of(example: Drawn) -> Tensor | None:
    """Voxels that count, (B, 1, *S)."""
    if example.ignored == "none":
        return None
    mask = torch.ones(example.images, 1, *example.shape, dtype=torch.bool)
    mask[{"some": (..., slice(None, None, 2)), "an image": slice(0, 1), "all": ...}[example.ignored]] = False
    return mask


@pytest.mark.parametrize("member", members(), ids=lambda member: member.name)
def test_a_loss_is_finite_whatever_it_meets(member: Member) -> None:
    answered = Counter[str]()

    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
    )
    @given(drawn(member))
    def tried(example: Drawn) -> None:
        answered[found := holds(member, example)] += 1
        if found == "refused":  # such as an image smaller than the window of the loss
            larger = replace(example, shape=tuple(size + 8 for size in example.shape))
            answered[holds(member, larger)] += 1

    tried()
    assert not answered["refused without a reason"]
    assert answered["answered"] >= EXAMPLES // 3, f"refused too much: {answered}"
    TRIED.update(answered)
    DONE.add(member.name)


def holds(member: Member, example: Drawn) -> str:
    """Assert what holds of an example; "refused" where the loss says by a ValueError what it cannot take."""
    loss, case, mask = member.loss, case_of(member, example), mask_of(example)
    keywords: dict[str, Any] = {"mask": mask} if mask is not None and loss.accepts("mask") else {}
    logits = case.logits.detach().requires_grad_(not loss.measure)
    try:
        value = loss(case.replace(logits=logits), **keywords)
    except ValueError as error:
        return "refused" if str(error) else "refused without a reason"
    if loss.measure:  # which may be undefined where there is nothing to measure
        assert not value.isinf().any(), f"{example}: {value}"
        return "answered"
    assert value.isfinite().all(), f"{example}: {value}"
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert gradient.isfinite().all(), f"{example}: {(~gradient.isfinite()).sum()} gradients are not finite"
    if keywords:
        out = (~mask).expand_as(gradient)
        assert not gradient[out].any(), f"{example}: gradient where voxels are left out"
    if example.ignored == "all" and keywords:
        assert value == 0, f"{example}: nothing counts, and the value is {value}"
    plain = case.replace(logits=case.logits.contiguous(), target=case.target.contiguous())
    torch.testing.assert_close(loss(plain, **keywords), value.detach(), rtol=1e-5, atol=1e-6)
    return "answered"


def test_the_figures_are_kept() -> None:
    if {member.name for member in members()} == DONE:
        tell("properties", {"losses": len(DONE), "examples": TRIED.total(), "refused with a reason": TRIED["refused"]})


def test_a_faulty_loss_is_caught() -> None:
    member = next(member for member in members() if member.name.endswith("tversky_loss"))
    example = Drawn("binary", (4, 4), 2, 1, torch.float64, "contiguous", "some", 1e4, 0)
    assert holds(member, example) == "answered"

    def naive(logits: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        return -(logits.sigmoid().log() * target.unsqueeze(1)).mean()

    with pytest.raises(AssertionError):
        holds(replace(member, loss=replace(member.loss, function=naive, params={})), example)
