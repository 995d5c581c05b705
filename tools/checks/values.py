"""Rules for recorded values."""

from collections.abc import Iterator

from tools.catalogue import Catalogue
from tools.checks.entries import FILL_IN
from tools.golden import GOLDEN
from tools.problems import Problem, did_you_mean


def every_entry_has_values(catalogue: Catalogue) -> Iterator[Problem]:
    """Every entry has recorded values."""
    for key, entry in catalogue.entries.items():
        if not any(spelling in catalogue.golden for spelling in catalogue.spellings(key)):
            misnamed = did_you_mean(key, catalogue.golden.keys() - catalogue.entries.keys())
            advice = misnamed or f"; write tests/oracles/{key}.py and run python -m tools record {key}"
            yield entry.problem(f"has no recorded values in {GOLDEN}/{key}/{advice}")


def every_folder_has_cases(catalogue: Catalogue) -> Iterator[Problem]:
    """A folder of recorded values holds some."""
    for key, golden in catalogue.golden.items():
        if golden.empty:
            yield golden.problem(f"no case yet; run python -m tools record {key}")


def nothing_is_left_to_fill_in(catalogue: Catalogue) -> Iterator[Problem]:
    """What `new` left to be transcribed is transcribed, or removed."""
    for path, text in catalogue.oracles.items():
        if FILL_IN in text:
            line = text[: text.index(FILL_IN)].count("\n") + 1
            yield Problem(path, line, "is still to be filled in; remove it if the numbers are those of the authors")


def every_folder_has_an_entry(catalogue: Catalogue) -> Iterator[Problem]:
    """Every folder of recorded values belongs to an entry."""
    known = {spelling for key in catalogue.entries for spelling in catalogue.spellings(key)}
    missing = [key for key in catalogue.entries if key not in catalogue.golden]
    for key, golden in catalogue.golden.items():
        if key not in known and not did_you_mean(key, missing):
            yield golden.problem(
                "values are recorded, but catalog.yaml has no entry of this key; add it or remove the folder"
            )


def not_offered_is_needed(catalogue: Catalogue) -> Iterator[Problem]:
    """What is declared not offered is recorded, and is not all that is recorded."""
    for key, entry in catalogue.entries.items():
        golden, globs = catalogue.golden.get(key), entry.fields.get("not_offered", {})
        if golden is None or not golden.cases:
            continue
        for glob in globs:
            if not any(case.matches(glob) for case in golden.cases):
                yield entry.problem(f"not_offered {glob!r} matches no recorded case; remove it", "not_offered", glob)
        if not golden.offered(globs):
            yield entry.problem("not_offered leaves no recorded case that our functions reproduce", "not_offered")
