"""What the contract binds: every function of the catalogue with every set of parameter values, once."""

import functools
import importlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from segloss import catalog, modules
from segloss.catalog import Entry, Implementation
from segloss.testing.base import Loss


@dataclass(frozen=True)
class Member:
    """A loss or measure under the name of the newest paper that has it, and its exceptions with their reasons."""

    name: str
    loss: Loss
    exceptions: dict[str, str]


@functools.cache
def members(package: str = "segloss") -> tuple[Member, ...]:
    """One member for each function and set of parameter values; what papers claim of the same is put together.

    Args:
        package: Whose catalogue: that of segloss, or of a package which brings one.
    """
    alike: dict[str, list[tuple[Entry, Loss]]] = defaultdict(list)
    for entry in (entry for entry in catalog.entries().values() if entry.package == package):
        for implementation in entry.implementations:
            loss = claimed(implementation, measure=implementation in entry.measures)
            alike[repr((implementation.function, loss.params, loss.range, entry.exceptions))].append((entry, loss))

    found = []
    for (entry, loss), *others in alike.values():
        known = [loss, *(other for _, other in others)]
        family = tuple(it for group in alike.values() for _, it in group if it.function is loss.function)
        merged = replace(
            loss,
            tasks=union(it.tasks for it in known),
            dims=union(it.dims for it in known),
            soft_labels=any(it.soft_labels for it in known),
            others=family,
        )
        name = loss.function.__name__
        found.append(Member(f"{entry.key}-{name}", merged, exceptions(entry, loss)))
    return tuple(found)


def exceptions(entry: Entry, loss: Loss) -> dict[str, str]:
    """Those of an entry that hold for a loss: with its name before the promise, its name and parameters, or neither."""
    named = ((name.rpartition("."), reason) for name, reason in (entry.exceptions or {}).items())
    return {promise: reason for (of, _, promise), reason in named if not of or means(of, loss)}


def means(of: str, loss: Loss) -> bool:
    """Whether `function` or `function(parameter=value, …)` is this loss."""
    name, _, params = of.removesuffix(")").partition("(")
    values = dict(param.split("=") for param in params.split(", ") if param)
    known = {key: repr(loss.params.get(key, loss.parameters[key].default)) for key in values if loss.accepts(key)}
    return name == loss.function.__name__ and known == values


def claimed(implementation: Implementation, *, measure: bool) -> Loss:
    """The function of an entry with what the entry claims of it."""
    path, _, name = implementation.function.rpartition(".")
    forms = {form.lower(): value for form, value in vars(modules).items() if isinstance(value, type)}
    return Loss(
        getattr(importlib.import_module(path), name),
        implementation.params,
        implementation.task,
        implementation.dims,
        implementation.range or (None, None),
        implementation.soft_labels,
        measure,
        module=forms.get(name.replace("_", "")) if path.partition(".")[0] == "segloss" else None,
    )


def union(claims: Iterable[Iterable[Any]]) -> tuple[Any, ...]:
    """What any of them claims, in order."""
    return tuple(dict.fromkeys(claim for several in claims for claim in several))
