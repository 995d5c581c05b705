"""What a promise is, whom it binds, and the words promises are written in."""

import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, overload

import torch
from torch import Tensor

from segloss.testing.samples import EXTRAS, Case, extra, sample


@dataclass(frozen=True)
class Loss:
    """A loss or measure with its parameter values, and what is claimed of it."""

    function: Callable[..., Tensor]
    params: Mapping[str, object] = field(default_factory=dict)
    tasks: tuple[str, ...] = ("binary", "multiclass", "multilabel")
    dims: tuple[int, ...] = (1, 2, 3)
    range: tuple[float | None, float | None] = (None, None)
    soft_labels: bool = False
    measure: bool = False
    module: type[torch.nn.Module] | None = None
    extras: Mapping[str, Callable[[Case], Tensor]] = field(default_factory=dict)  # samples of required inputs, by name
    others: tuple["Loss", ...] = ()  # the same function with other parameter values, whose claims it may keep too

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """Parameters of the function, by name."""
        return inspect.signature(self.function).parameters

    def accepts(self, keyword: str) -> bool:
        """Whether the function has this keyword."""
        return keyword in self.parameters

    def keywords(self, case: Case) -> dict[str, object]:
        """Parameter values, extra inputs and the activation which the task asks for."""
        activation = {"activation": "sigmoid"} if case.task == "multilabel" and self.accepts("activation") else {}
        return {**activation, **self.params, **case.extras}

    def on(self, task: str, dims: int, **shape: object) -> Case:
        """A fresh sample with the extra inputs that the function requires."""
        case = sample(task, dims, **shape)
        case = case.replace(logits=case.logits.clone(), target=case.target.clone())
        required = [
            name for name, parameter in list(self.parameters.items())[2:] if parameter.default is parameter.empty
        ]
        made = {**EXTRAS, **self.extras}
        return case.replace(extras={name: extra(name, case, made) for name in required if name not in self.params})

    def __call__(self, case: Case, **keywords: object) -> Tensor:
        """The value on a case, with further keywords."""
        return self.function(case.logits, case.target, **{**self.keywords(case), **keywords})


Check = Callable[[Loss, Case], None]
Places = Callable[[Loss], Iterator[tuple[str, int]]]
Kind = Literal["losses", "measures", "both"]


def everywhere(loss: Loss) -> Iterator[tuple[str, int]]:
    """Every claimed task and number of spatial axes."""
    return itertools.product(loss.tasks, loss.dims)


def twice(loss: Loss) -> Iterator[tuple[str, int]]:
    """Two tasks and numbers of spatial axes, for what is slow: several classes first."""
    tasks = sorted(loss.tasks, key=["multiclass", "multilabel", "binary"].index)
    yield tasks[0], loss.dims[0]
    yield tasks[-1], loss.dims[-1]


def once(loss: Loss) -> Iterator[tuple[str, int]]:
    """Several classes, if claimed, in a plane."""
    return itertools.islice(((task, 2) for task, _ in twice(loss) if 2 in loss.dims), 1)


@dataclass(frozen=True)
class Promise:
    """A check, the keyword it is about, where it is made, and of what."""

    check: Check
    keyword: str | None
    places: Places
    of: Kind

    def binds(self, loss: Loss) -> bool:
        """Whether the loss has the keyword and is of the kind that the promise is about."""
        known = self.keyword is None or loss.accepts(self.keyword)
        return known and self.of in ("both", "measures" if loss.measure else "losses")

    def test(self, loss: Loss) -> None:
        """Raise an AssertionError if the loss breaks the promise in any of its places."""
        for task, dims in self.places(loss):
            try:
                self.check(loss, loss.on(task, dims))
            except Exception as error:
                error.add_note(f"{self.check.__name__}, {task}, {dims} spatial axes")
                raise


CONTRACT: dict[str, Promise] = {}


@overload
def promise(check: Check) -> Check: ...
@overload
def promise(
    *, keyword: str | None = None, places: Places = everywhere, of: Kind = "losses"
) -> Callable[[Check], Check]: ...
def promise(
    check: Check | None = None, *, keyword: str | None = None, places: Places = everywhere, of: Kind = "losses"
) -> Check | Callable[[Check], Check]:
    """Enter a check into the contract; one about a keyword binds only losses that have it."""

    def enter(check: Check) -> Check:
        CONTRACT[check.__name__] = Promise(check, keyword, places, of)
        return check

    return enter if check is None else enter(check)


def close(actual: Tensor, expected: Tensor, what: str, rtol: float = 1e-7, atol: float = 1e-10) -> None:
    """Assert that two tensors agree, saying what they are."""
    torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, msg=lambda text: f"{what}: {text}")


def value_and_grad(loss: Loss, case: Case, **keywords: object) -> tuple[Tensor, Tensor]:
    """Value, and its gradient with respect to the logits."""
    logits = case.logits.detach().requires_grad_()
    value = loss(case.replace(logits=logits), **keywords)
    assert value.requires_grad, "the value should carry a gradient to the logits"
    return value.detach(), torch.autograd.grad(value, logits)[0]


def finite(loss: Loss, case: Case, what: str, **keywords: object) -> None:
    """Assert that value and, of a loss, gradient are finite."""
    if loss.measure:
        value = gradient = loss(case, **keywords)
    else:
        value, gradient = value_and_grad(loss, case, **keywords)
    assert value.isfinite(), f"{what}: the value should be finite, it is {value.item()}"
    assert gradient.isfinite().all(), f"{what}: the gradient should be finite, {(~gradient.isfinite()).sum()} are not"


def refused(
    argument: str,
    what: str,
    call: Callable[[], object],
    errors: type[Exception] | tuple[type[Exception], ...] = ValueError,
) -> None:
    """Assert that a call is refused, with a message that names the argument."""
    try:
        call()
    except errors as error:
        message = str(error)
    except Exception as error:
        raise AssertionError(f"{what} should be refused with a ValueError that names {argument!r}") from error
    else:
        raise AssertionError(f"{what} should be refused with a ValueError that names {argument!r}, it is accepted")
    assert argument in message, f"the message on {what} should name {argument!r}, it is: {message}"


def leaning(case: Case, step: float) -> Case:
    """The logits moved towards the truth."""
    return case.replace(logits=case.logits + step * (2 * case.truth - 1))


def sure(case: Case) -> Case:
    """The prediction of the case, with no doubt left."""
    if case.task == "multiclass":
        best = torch.zeros_like(case.logits).scatter(1, case.logits.argmax(1, keepdim=True), 1)
    else:
        best = (case.logits > 0).to(case.logits.dtype)
    return case.replace(logits=200 * best - 100)


def hesitant(case: Case) -> Case:
    """A prediction that favours nothing."""
    return case.replace(logits=torch.zeros_like(case.logits))


def right(case: Case) -> Case:
    """A prediction of the truth with no doubt left."""
    return leaning(hesitant(case), 200)
