"""Promises about numbers: values, gradients, precision."""

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

from segloss.testing.base import (
    Loss,
    close,
    finite,
    hesitant,
    leaning,
    once,
    promise,
    right,
    sure,
    twice,
    value_and_grad,
)
from segloss.testing.samples import Case, extra

STEP = 1e-6  # short, so that it seldom crosses a kink of a sort or a maximum
DTYPES = torch.float16, torch.bfloat16, torch.float32, torch.float64


@promise(of="both")
def scalar_and_finite(loss: Loss, case: Case) -> None:
    """The value is one finite number."""
    value = loss(case)
    assert value.shape == (), f"the value should be a scalar, its shape is {tuple(value.shape)}"
    finite(loss, case, "sample")


@promise
def keeps_dtype(loss: Loss, case: Case) -> None:
    """Value and gradient have the type of the logits."""
    for dtype in DTYPES:
        for name, tensor in zip(("value", "gradient"), value_and_grad(loss, case.to(dtype)), strict=True):
            assert tensor.dtype == dtype, f"the {name} should be {dtype}, as the logits are, it is {tensor.dtype}"


@promise(of="both")
def range_holds(loss: Loss, case: Case) -> None:
    """The value lies in the claimed range, whatever the prediction."""
    low, high = loss.range
    wrong = case.replace(logits=-right(case).logits)
    for name, example in {"sample": case, "sure": sure(case), "right": right(case), "wrong": wrong}.items():
        value = loss(example).item()
        assert low is None or value >= low - 1e-9, f"{name}: {value} is below the claimed range {loss.range}"
        assert high is None or value <= high + 1e-9, f"{name}: {value} is above the claimed range {loss.range}"


@promise
def gradient_is_derivative(loss: Loss, case: Case) -> None:
    """The gradient is the derivative of the value, by finite differences; so it is with each keyword losses share.

    That in float32, which may be computed by another way, is the same.
    """
    case = apart(case)
    for keywords in ({}, *_shared(loss, case)):
        what = f"gradient with {keywords}" if keywords else "gradient"
        gradient = value_and_grad(loss, case, **keywords)[1]
        for along in (*directions(case, 1 if keywords else 4), gradient):
            ahead, behind = (
                loss(case.replace(logits=case.logits + side * along), **keywords) for side in (STEP, -STEP)
            )
            close((gradient * along).sum(), (ahead - behind) / (2 * STEP), what, rtol=1e-5, atol=1e-8)
        single = value_and_grad(loss, case.to(torch.float32), **keywords)[1].double()
        close(single, gradient, f"{what}, in float32", rtol=1e-3, atol=1e-8 + 1e-4 * gradient.abs().max().item())


def _shared(loss: Loss, case: Case) -> Iterator[dict[str, object]]:
    """Values of keywords that the loss has."""
    choices: dict[str, tuple[object, ...]] = {
        "include_background": (False,) if case.logits.shape[1] > 1 else (),
        "batch": (False, True),
        "absent": ("skip", "penalise"),
        "weight": (extra("weight", case),),
        "reduction": ("sum",),
    }
    for name in filter(loss.accepts, choices):
        yield from ({name: value} for value in choices[name])


@promise
def second_derivative_is_right_or_refused(loss: Loss, case: Case) -> None:
    """The gradient can be derived once more, or says that it cannot."""
    case = apart(case)
    (along,) = directions(case, 1)
    ahead, behind = (value_and_grad(loss, case.replace(logits=case.logits + side * along))[1] for side in (STEP, -STEP))
    logits = case.logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(case.replace(logits=logits)), logits, create_graph=True)
    second, message = torch.zeros_like(logits), ""
    if gradient.requires_grad:
        try:
            (second,) = torch.autograd.grad((gradient * along).sum(), logits, materialize_grads=True)
        except RuntimeError as error:
            message = str(error)
    if message:
        assert "twice" in message or "second" in message, f"the refusal should say what is refused: {message}"
        return
    close(second, (ahead - behind) / (2 * STEP), "second derivative", rtol=1e-4, atol=1e-7)


def apart(case: Case) -> Case:
    """The case with no two logits closer than ten steps, of either sign, so that a step does not change their order."""
    rank = case.logits.abs().flatten().argsort().argsort().view_as(case.logits)
    return case.replace(logits=case.logits + 10 * STEP * rank * case.logits.sign())


def directions(case: Case, number: int) -> Tensor:
    """Random directions of the logits, the same every time."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(number, *case.logits.shape, generator=generator, dtype=torch.float64)


@promise
def extreme_logits_are_finite(loss: Loss, case: Case) -> None:
    """Logits of ±10000 give a finite value and gradient."""
    signs = torch.where(case.logits > 0, 1e4, -1e4)
    for dtype, flip in itertools.product(DTYPES, (1, -1)):
        finite(loss, case.replace(logits=flip * signs).to(dtype), f"logits of ±1e4 in {dtype}")


@promise
def nan_is_not_hidden(loss: Loss, case: Case) -> None:
    """The value of logits that are not a number is none either, so that training that has failed shows."""
    for dtype in (torch.float32, torch.float64):
        example = case.to(dtype)
        value = loss(example.replace(logits=torch.full_like(example.logits, torch.nan)))
        assert value.isnan(), f"all logits are NaN in {dtype}, and the value is {value.item()}"


@promise
def absent_classes_are_finite(loss: Loss, case: Case) -> None:
    """An absent class, an empty and a full image give a finite value and gradient, however sure the prediction."""
    first, last = torch.zeros_like(case.target), torch.ones_like(case.target)
    if case.target.dtype == torch.bool:
        absent = case.target.clone()
        absent[:, -1] = False
    else:
        last *= max(1, case.logits.shape[1] - 1)
        absent = torch.where(case.target == last, first, case.target)
    for name, target in {"absent class": absent, "empty image": first, "full image": last}.items():
        example = case.replace(target=target).to(torch.float32)
        for predict in (hesitant, sure, right):
            finite(loss, predict(example), f"{name}, {predict.__name__} prediction")
            if loss.accepts("absent"):
                for policy in ("skip", "penalise"):
                    finite(loss, predict(example), f"{name}, {predict.__name__}, absent={policy!r}", absent=policy)


@promise
def best_at_truth(loss: Loss, case: Case) -> None:
    """Leaning the logits towards the truth never raises the loss, and lowers it in the end."""
    for start in (case, hesitant(case), sure(case)):
        values = [loss(leaning(start, step)).item() for step in (0, 0.25, 0.5, 1, 2, 4, 8, 16, 210)]
        for before, after in itertools.pairwise(values):
            assert after <= before + 1e-9, f"leaning towards the truth should not raise the loss, it goes {values}"
        assert values[-1] < values[0] - 1e-3, f"the truth should cost less than a wrong prediction, it goes {values}"


@promise(places=once)
def large_images_are_exact(loss: Loss, case: Case) -> None:
    """On an image too large to be worked on in one piece, the gradient is still the derivative of the value."""
    large = loss.on(case.task, 2, shape=(700, 500), images=1)
    gradient = value_and_grad(loss, large)[1]
    for along in (*directions(large, 1), gradient / gradient.abs().max()):
        ahead, behind = (loss(large.replace(logits=large.logits + side * along)) for side in (STEP, -STEP))
        close((gradient * along).sum(), (ahead - behind) / (2 * STEP), "gradient of a large image", rtol=1e-3)


@promise(places=once)
def half_precision_is_close(loss: Loss, case: Case) -> None:
    """On a megapixel, half precision is within 1 % of float64, and its gradient points the same way.

    What a topology loss costs grows faster than the image, so that such a loss meets a smaller one.
    """
    side = 256 if ".topology." in loss.function.__module__ else 1024
    large = loss.on(case.task, 2, shape=(side, side), images=1)
    for dtype in (torch.float16, torch.bfloat16):
        rounded = large.to(dtype)
        value, gradient = value_and_grad(loss, rounded)
        expected, direction = value_and_grad(loss, rounded.to(torch.float64))
        close(value.double(), expected, f"value in {dtype}", rtol=0.01, atol=0)
        assert gradient.any(), f"the gradient in {dtype} should not vanish"
        alike = torch.cosine_similarity(gradient.double().flatten(), direction.flatten(), dim=0).item()
        assert alike > 0.9, f"the gradient in {dtype} should point as in float64, the cosine between them is {alike}"


@promise(places=twice)
def compiles(loss: Loss, case: Case) -> None:
    """The loss compiles as one graph, once for all inputs of a size, to the same value and gradient."""
    torch.compiler.reset()
    keywords, backend = loss.keywords(case.replace(extras={})), CompileCounterWithBackend("aot_eager")
    compiled = Loss(
        torch.compile(
            lambda logits, target, **inputs: loss.function(logits, target, **keywords, **inputs),
            fullgraph=True,
            backend=backend,
        )
    )
    expected, slope = value_and_grad(loss, case)
    other = case.replace(target=case.target.clone(), extras={name: it.clone() for name, it in case.extras.items()})
    try:
        value, gradient = value_and_grad(compiled, case)
        number = backend.frame_count
        value_and_grad(compiled, other)
    except Exception as error:
        raise AssertionError(f"the loss should compile with fullgraph=True: {error}") from error
    finally:
        torch.compiler.reset()
    close(value, expected, "compiled value")
    close(gradient, slope, "compiled gradient")
    again = backend.frame_count - number
    assert not again, f"other inputs of the same size should not be compiled for anew, {again} graphs were"
