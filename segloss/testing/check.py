"""The contract for losses of anyone: `check_loss` of one function, `check_catalogue` of an installed package."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from torch import Tensor

from segloss.catalog import Implementation
from segloss.testing.base import CONTRACT, Loss
from segloss.testing.members import members
from segloss.testing.samples import Case

CLAIMS = ("params", "task", "dims", "range", "soft_labels", "measure")


def check_loss(
    function: Callable[..., Tensor],
    claims: Mapping[str, Any] | Implementation,
    *,
    exceptions: Mapping[str, str] | None = None,
    extras: Mapping[str, Callable[[Case], Tensor]] | None = None,
) -> list[str]:
    r"""Check that a loss keeps what the losses of segloss promise, in every task and dimension it claims.

    Which promises bind it follows from its keywords: `ignore_index`, `mask`, `weight`, `reduction` and so on. What is
    not claimed must be refused with a `ValueError`.

    Args:
        function: The loss, called with `logits` (B, C, \*S), `target` and keywords.
        claims: As an entry of the catalogue has them: `params`, `task`, `dims`, `range`, `soft_labels`; and `measure`,
            true for what has no gradient.
        exceptions: Promises that the loss cannot keep, each with the reason. A promise that is kept after all must not
            be named.
        extras: A function from the sample to each input that the loss requires besides logits and target, by the name
            of the parameter; needed only for inputs that segloss has no sample of.

    Returns:
        Names of the promises that were checked and kept.

    Raises:
        AssertionError: If a promise is broken; the message names all that are, each with the first reason.
        ValueError: If a claim or an exception is unknown.

    Examples:
        >>> from segloss.testing import check_loss
        >>> claims = {"task": ["binary", "multiclass", "multilabel"], "dims": [1, 2, 3], "range": [0, 1]}
        >>> kept = check_loss(segloss.tversky_loss, {**claims, "soft_labels": True})
        >>> "masked_voxels_change_nothing" in kept
        True
    """
    return _checked(_loss(function, claims, extras or {}), exceptions or {})


class Checked(NamedTuple):
    """The outcome of `check_catalogue`.

    Attributes:
        kept: Names of the functions that keep the contract, each with the key of its paper.
        lacking: Those that need a package which is not installed, by name, with what they say.
    """

    kept: list[str]
    lacking: dict[str, str]


def check_catalogue(package: str, extras: Mapping[str, Callable[[Case], Tensor]] | None = None) -> Checked:
    """Check every loss and measure of the catalogue that an installed package brings.

    A loss that needs a package which is not installed must say how to install it, and is not checked further.

    Args:
        package: The package that the entry point names.
        extras: As in `check_loss`.

    Returns:
        What was checked, and what could not be.

    Raises:
        AssertionError: If a promise is broken; the message names all that are.
        ValueError: If no entry is of this package.
    """
    found = members(package)
    if not found:
        raise ValueError(f"package {package!r} brings no catalogue: no entry of segloss.catalog.entries() is of it")
    checked, broken = Checked([], {}), []
    for member in found:
        loss = replace(member.loss, extras=extras or {})
        try:
            if lacks := _lacks(loss):
                checked.lacking[member.name] = lacks
            else:
                _checked(loss, member.exceptions)
                checked.kept.append(member.name)
        except AssertionError as error:
            broken.append(str(error))
    if broken:
        raise AssertionError("\n".join(broken))
    return checked


def _lacks(loss: Loss) -> str:
    """What a loss says of a package that it needs and does not find; empty where it runs."""
    try:
        loss(loss.on(loss.tasks[0], loss.dims[0]))
    except ImportError as error:
        name = getattr(loss.function, "__name__", repr(loss.function))
        if "pip install" not in str(error):
            raise AssertionError(f"{name} should say what to install, not: {error}") from error
        return str(error)
    return ""


def _loss(
    function: Callable[..., Tensor], claims: Mapping[str, Any] | Implementation, extras: Mapping[str, Any]
) -> Loss:
    if isinstance(claims, Implementation):
        claims = {name: getattr(claims, name) for name in CLAIMS if hasattr(claims, name)}
    if unknown := claims.keys() - {*CLAIMS, "function", "needs", "standalone"}:
        raise ValueError(f"claims: {', '.join(sorted(unknown))} is not one of {', '.join(CLAIMS)}")
    known = {name: claims[name] for name in CLAIMS if name in claims}
    renamed = {"tasks" if name == "task" else name: value for name, value in known.items()}
    for name in ("tasks", "dims", "range"):
        if name in renamed:
            renamed[name] = tuple(renamed[name])
    return Loss(function, **renamed, extras=extras)


def _checked(loss: Loss, exceptions: Mapping[str, str]) -> list[str]:
    """Promises kept; every broken one is told at once."""
    if not __debug__:
        raise RuntimeError("the contract is made of assertions: run Python without -O")
    name = getattr(loss.function, "__name__", repr(loss.function))
    if unknown := exceptions.keys() - CONTRACT.keys():
        raise ValueError(f"exceptions: no promise is called {', '.join(sorted(unknown))}")
    kept, broken = [], []
    for promise in (promise for promise in CONTRACT if CONTRACT[promise].binds(loss)):
        try:
            CONTRACT[promise].test(loss)
        except Exception as error:  # a promise is broken by whatever it meets
            if promise not in exceptions:
                where = getattr(error, "__notes__", [promise])[0]
                broken.append(f"{where}: {type(error).__name__}: {error}")
        else:
            kept.append(promise)
            if promise in exceptions:
                broken.append(f"{promise}: is kept; remove it from the exceptions")
    if broken:
        raise AssertionError(
            "\n".join([f"{name} breaks {len(broken)} of {len(kept) + len(broken)} promises:", *broken])
        )
    return kept
