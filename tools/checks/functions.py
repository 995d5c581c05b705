"""Rules for the signature and the place of functions."""

import keyword
from collections.abc import Iterator

from tools.catalogue import Catalogue
from tools.problems import Problem
from tools.sources import Function

FREE = ("smooth",)
"""Shared keywords that may stand among a loss's own: the constants of its formula."""


def every_loss_is_claimed(catalogue: Catalogue) -> Iterator[Problem]:
    """Every loss is the loss of a paper."""
    for path, function in catalogue.functions.items():
        if function.is_loss and not catalogue.claims(path):
            yield function.problem(f"no entry of catalog.yaml names {path}; add it to the losses of its paper")


def names_are_unique(catalogue: Catalogue) -> Iterator[Problem]:
    """All are exported side by side at the top of the package."""
    first: dict[str, Function] = {}
    for function in catalogue.functions.values():
        other = first.setdefault(function.name, function)
        if other is not function:
            yield function.problem(f"another function has this name, in {other.path}:{other.line}; rename one")


def files_do_not_hide_functions(catalogue: Catalogue) -> Iterator[Problem]:
    """A function's name is neither that of its file nor a word of Python."""
    for function in catalogue.functions.values():
        if function.module.rpartition(".")[2] == function.name:
            yield function.problem(
                f"the function hides its own file as segloss.{function.family}.{function.name}; rename the file"
            )
        if keyword.iskeyword(function.name):
            yield function.problem("is a word of Python; rename it")


def calls_are_alike(catalogue: Catalogue) -> Iterator[Problem]:
    """Every loss is called with logits and target, and with keywords."""
    for function in _losses(catalogue):
        if function.parameter_names[:2] != ["logits", "target"]:
            yield function.problem("must begin with the parameters logits, target")
            continue
        loose = [parameter.name for parameter in function.parameters[2:] if not parameter.keyword_only]
        if loose:
            yield function.problem(f"{', '.join(loose)} must be keyword-only; put a * after target")


def everything_is_annotated(catalogue: Catalogue) -> Iterator[Problem]:
    """Signatures are complete, for type checkers and for the module forms."""
    for function in _losses(catalogue):
        bare = [parameter.name for parameter in function.parameters if not parameter.annotation]
        if bare or not function.returns:
            yield function.problem(
                f"no type is given for {', '.join([*bare, *([] if function.returns else ['the value'])])}"
            )


def keywords_keep_their_order(catalogue: Catalogue) -> Iterator[Problem]:
    """A loss's own keywords come first, then the shared ones, in the order of the vocabulary."""
    order = [name for name in catalogue.common if name not in ("logits", "target", *FREE)]
    for function in _losses(catalogue):
        shared = [name for name in function.parameter_names if name in order]
        expected = sorted(shared, key=order.index)
        if shared != expected:
            yield function.problem(f"keywords that all losses share stand in the order {', '.join(expected)}")
            continue
        own = [name for name in function.parameter_names[2:] if name not in order]
        late = [name for name in own if function.parameter_names.index(name) > len(own) + 1]
        if late:
            yield function.problem(f"{', '.join(late)} must stand before the keywords that all losses share")


def _losses(catalogue: Catalogue) -> Iterator[Function]:
    return (function for function in catalogue.functions.values() if function.is_loss)
