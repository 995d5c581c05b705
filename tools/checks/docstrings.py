"""Rules for docstrings: a sentence, the formula, Args, Returns, Raises, References, Examples."""

import re
from collections.abc import Iterator

from tools.catalogue import Catalogue
from tools.checks.entries import FILL_IN
from tools.docstrings import Docstring
from tools.problems import Problem, did_you_mean, nearest
from tools.sources import Function

SECTIONS = ("Returns", "Raises", "References", "Examples")


def summaries(catalogue: Catalogue) -> Iterator[Problem]:
    """Every public function begins with a sentence."""
    for function in catalogue.functions.values():
        if function.docstring is None or not function.docstring.summary:
            yield function.problem("has no docstring; begin it with a sentence that says what it computes")
        elif not function.docstring.summary.endswith("."):
            yield function.problem("the docstring must begin with a sentence and a full stop", function.docstring.line)


def formulas(catalogue: Catalogue) -> Iterator[Problem]:
    """Every loss states its formula."""
    for function, docstring in _losses(catalogue):
        if docstring.body.count("$$") < 2:
            yield function.problem(
                "the docstring has no formula; write it as $$…$$ after the first sentence", docstring.line
            )


def sections(catalogue: Catalogue) -> Iterator[Problem]:
    """Every loss has the sections of the grammar, with something in them."""
    for function, docstring in _losses(catalogue):
        for name in SECTIONS:
            section = docstring.sections.get(name)
            if section is None:
                near = nearest(name, docstring.sections.keys() - set(SECTIONS))
                advice = f"; rename {near}:" if near else "; add it"
                yield function.problem(f"the docstring has no section {name}:{advice}", docstring.line)
            elif not section.text.strip():
                yield function.problem(f"the section {name}: is empty", section.line)


def arguments_match_parameters(catalogue: Catalogue) -> Iterator[Problem]:
    """Args describes every parameter of the loss's own, and nothing that is no parameter."""
    for function, docstring in _losses(catalogue):
        parameters = function.parameter_names
        own = [name for name in parameters[2:] if name not in catalogue.common]
        misspelt = set()
        for name, (line, text) in docstring.arguments.items():
            if name not in parameters:
                misspelt.add(nearest(name, parameters))
                yield function.problem(
                    f"Args describes {name!r}, which is no parameter{did_you_mean(name, parameters)}", line
                )
            elif not text.strip():
                yield function.problem(f"Args says nothing about {name!r}", line)
        for name in own:
            if name not in docstring.arguments and name not in misspelt:
                yield function.problem(f"parameter {name!r} is not described under Args", docstring.line)


def defaults_stand_in_the_signature(catalogue: Catalogue) -> Iterator[Problem]:
    """Args repeats no default, which would come apart from the signature."""
    for function, docstring in _losses(catalogue):
        for name, (line, text) in docstring.arguments.items():
            if re.search(r"\bdefaults?\b", re.sub(r'`[^`]*`|"[^"]*"', "", text), re.IGNORECASE):
                yield function.problem(f"Args tells a default of {name!r}; the signature does that, remove it", line)


def backslashes(catalogue: Catalogue) -> Iterator[Problem]:
    """TeX commands have one backslash, in a raw docstring."""
    for function in catalogue.functions.values():
        if (docstring := function.docstring) is None:
            continue
        if not docstring.raw:
            yield function.problem('the docstring has backslashes; begin it with r"""', docstring.line)
            continue
        for at, line in enumerate(docstring.text.splitlines()):
            if match := re.search(r"\\\\[A-Za-z]+", line):
                told = f"double backslash before a TeX command in a raw docstring: {match[0]}"
                yield function.problem(f"{told}; write one", docstring.line + at)


def references(catalogue: Catalogue) -> Iterator[Problem]:
    """Every paper that the function is a loss of is cited, and every key cited is known."""
    for function, docstring in _losses(catalogue):
        if "References" not in docstring.sections:
            continue
        line = docstring.sections["References"].line
        meant = {*docstring.cited, *(nearest(key, catalogue.records) for key in docstring.cited)}
        for key in docstring.cited:
            if key not in catalogue.records and key not in catalogue.entries:
                advice = did_you_mean(key, catalogue.records) or "; add the record"
                yield function.problem(f"[{key}] is not a key of references.bib{advice}", line)
        for entry in catalogue.claims(function.import_path):
            if meant.isdisjoint(catalogue.spellings(entry.key)):
                yield function.problem(f"References must name [{entry.key}], whose entry claims the function", line)


def examples(catalogue: Catalogue) -> Iterator[Problem]:
    """Every loss shows a call that the tests run."""
    for function, docstring in _losses(catalogue):
        section = docstring.sections.get("Examples")
        if section and section.text.strip() and ">>> " not in section.text:
            yield function.problem("Examples has none that runs; begin its lines with >>>", section.line)


def helpers(catalogue: Catalogue) -> Iterator[Problem]:
    """Every public function that is no loss tells how to call it and which paper it helps, whose page shows it."""
    for function in catalogue.functions.values():
        docstring = function.docstring
        if function.is_loss or docstring is None or not docstring.summary:
            continue
        missing = [name for name in ("Returns", "References", "Examples") if name not in docstring.sections]
        if missing:
            told = f"prepares an input and has no section {', '.join(missing)}"
            yield function.problem(f"{told}; add it, or begin the name with _ if it is not for users", docstring.line)
            continue
        for name in function.parameter_names:
            if name not in docstring.arguments and name not in catalogue.common:
                yield function.problem(f"parameter {name!r} is not described under Args", docstring.line)
        if not any(key in catalogue.entries or key in catalogue.records for key in docstring.cited):
            line = docstring.sections["References"].line
            yield function.problem("References must name the key of an entry, whose page shows the function", line)


def nothing_is_left_to_fill_in(catalogue: Catalogue) -> Iterator[Problem]:
    """What `new` left to be written is written."""
    for function in catalogue.functions.values():
        if function.docstring and FILL_IN in function.docstring.text:
            yield function.problem("the docstring is still to be filled in", function.docstring.line)


def _losses(catalogue: Catalogue) -> Iterator[tuple[Function, Docstring]]:
    for function in catalogue.functions.values():
        if function.is_loss and function.docstring and function.docstring.summary:
            yield function, function.docstring
