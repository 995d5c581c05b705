"""Rules for entries of the catalogue."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from tools.catalogue import Catalogue
from tools.problems import Problem, did_you_mean
from tools.sources import Parameter

REPOSITORIES = ("github.com", "gitlab.com", "bitbucket.org", "codeberg.org")
FILL_IN = "FILL IN"


def something_is_offered(catalogue: Catalogue) -> Iterator[Problem]:
    """Every entry names at least one function."""
    for entry in catalogue.entries.values():
        given = [part for part in ("losses", "measures") if entry.gives(part)]
        if not any(part not in entry.fields or entry.fields[part] for part in given):
            yield entry.problem("offers nothing; add at least one function under losses or measures", *given[:1])


def the_paper_can_be_reached(catalogue: Catalogue) -> Iterator[Problem]:
    """Every entry links its paper."""
    for entry in catalogue.entries.values():
        if not any(entry.gives(name) for name in ("doi", "arxiv", "url")):
            yield entry.problem("has no link; add doi, arxiv or url")


def repositories_have_a_commit(catalogue: Catalogue) -> Iterator[Problem]:
    """A link to a repository names the commit that was read."""
    for entry in catalogue.entries.values():
        for at, code in enumerate(entry.fields.get("code", [])):
            named = code.get("commit") or ("commit" not in code and entry.gives("code", at, "commit"))
            if urlsplit(code.get("url", "")).netloc in REPOSITORIES and not named:
                yield entry.problem(f"code[{at}] links a repository; add the commit that was read", "code", at)


def newest_first(catalogue: Catalogue) -> Iterator[Problem]:
    """Entries stand in the order of their dates, as far as these are known."""
    dated = [entry for entry in catalogue.entries.values() if "date" in entry.fields]
    for above, entry in pairwise(dated):
        known = min(len(above.fields["date"]), len(entry.fields["date"]))
        if above.fields["date"][:known] < entry.fields["date"][:known]:
            told = f"{entry.fields['date']} stands below {above.fields['date']} of {above.key}"
            yield entry.problem(f"{told}; entries go from the newest to the oldest", "date")


def functions_exist(catalogue: Catalogue) -> Iterator[Problem]:
    """Every function of an entry exists, in the folder of the entry's family."""
    for entry in catalogue.entries.values():
        for place, item in entry.items:
            path = item.get("function", "")
            function = catalogue.functions.get(path)
            if function and entry.fields.get("family", function.family) != function.family:
                told = f"family is {entry.fields['family']!r} but {function.name} stands in segloss/{function.family}/"
                yield entry.problem(f"{told}; move the file or change the family", "family")
            elif (
                path and not function and not any(path.startswith(f"segloss.{family}.") for family in catalogue.unread)
            ):
                meant, folder = catalogue.meant(path), entry.fields.get("family", "…")
                advice = f"did you mean {meant!r}?" if meant != path else f"write it in a file of segloss/{folder}/"
                yield entry.problem(f"there is no function {path}; {advice}", *place, "function")


def params_are_parameters(catalogue: Catalogue) -> Iterator[Problem]:
    """Parameter values fit parameters of the function."""
    for entry in catalogue.entries.values():
        for place, item in entry.items:
            function = catalogue.functions.get(item.get("function", ""))
            known = {parameter.name: parameter for parameter in function.parameters[2:]} if function else {}
            for name, value in item.get("params", {}).items() if function else ():
                if name not in known:
                    advice = did_you_mean(name, known) or f"; it has {', '.join(known) or 'none'}"
                    yield entry.problem(f"{item['function']} has no parameter {name!r}{advice}", *place, "params", name)
                elif fault := _unlike_default(value, known[name]):
                    yield entry.problem(f"{name}: {fault}", *place, "params", name)


def _unlike_default(value: Any, parameter: Parameter) -> str | None:
    """What a value of another kind than the default is told; annotations with several kinds are left alone."""
    kinds = {"float": (int, float), "int": (int,), "bool": (bool,), "str": (str,)}
    expected = kinds.get(parameter.annotation or "")
    if expected is None or (isinstance(value, expected) and isinstance(value, bool) == (bool in expected)):
        return None
    return f"the parameter is {parameter.annotation}, the value {value!r} is not"


def measures_are_apart(catalogue: Catalogue) -> Iterator[Problem]:
    """What is not trained with stands under measures, all else under losses."""
    for entry in catalogue.entries.values():
        for place, item in entry.items:
            is_measure = item.get("function", "").startswith("segloss.measures.")
            if "function" in item and is_measure != (place[0] == "measures"):
                yield entry.problem(
                    f"{item['function']} belongs under {'measures' if is_measure else 'losses'}", *place
                )


def exceptions_name_promises(catalogue: Catalogue) -> Iterator[Problem]:
    """Exceptions are from promises that the contract makes, and of functions of the entry."""
    if catalogue.promises is None:
        return
    for entry in catalogue.entries.values():
        functions = {item.get("function", "").rpartition(".")[2] for _, item in entry.items}
        for name in entry.fields.get("exceptions", {}):
            of, _, promise = name.rpartition(".")
            function = of.partition("(")[0]
            if function and function not in functions:
                advice = did_you_mean(function, functions)
                yield entry.problem(f"{function!r} is not a function of this entry{advice}", "exceptions", name)
            if promise not in catalogue.promises:
                advice = (
                    did_you_mean(promise, catalogue.promises)
                    or "; promises are the functions under @promise in segloss/testing"
                )
                yield entry.problem(f"{promise!r} is not a promise of the contract{advice}", "exceptions", name)


def nothing_is_left_to_fill_in(catalogue: Catalogue) -> Iterator[Problem]:
    """What `new` left to be written is written."""
    for entry in catalogue.entries.values():
        for name, value in entry.fields.items():
            if FILL_IN in str(value):
                yield entry.problem(f"{name} is still to be filled in", name)
