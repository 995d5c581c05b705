"""The rules: catalogue -> problems, all of them at once."""

from collections.abc import Callable, Iterator

from tools.catalogue import Catalogue
from tools.checks import docstrings, entries, functions, records, values, wanted
from tools.problems import Problem

Rule = Callable[[Catalogue], Iterator[Problem]]

RULES: tuple[Rule, ...] = (
    entries.something_is_offered,
    entries.the_paper_can_be_reached,
    entries.repositories_have_a_commit,
    entries.newest_first,
    entries.functions_exist,
    entries.params_are_parameters,
    entries.measures_are_apart,
    entries.exceptions_name_promises,
    entries.nothing_is_left_to_fill_in,
    records.every_entry_has_a_record,
    records.every_record_has_an_entry,
    records.titles_agree,
    records.authors_agree,
    records.years_agree,
    records.identifiers_agree,
    records.links_are_https,
    functions.every_loss_is_claimed,
    functions.names_are_unique,
    functions.files_do_not_hide_functions,
    functions.calls_are_alike,
    functions.everything_is_annotated,
    functions.keywords_keep_their_order,
    docstrings.summaries,
    docstrings.formulas,
    docstrings.sections,
    docstrings.arguments_match_parameters,
    docstrings.defaults_stand_in_the_signature,
    docstrings.backslashes,
    docstrings.references,
    docstrings.examples,
    docstrings.helpers,
    docstrings.nothing_is_left_to_fill_in,
    values.every_entry_has_values,
    values.every_folder_has_cases,
    values.every_folder_has_an_entry,
    values.not_offered_is_needed,
    values.nothing_is_left_to_fill_in,
    wanted.wanted_papers_have_no_entry,
    wanted.wanted_papers_stand_once,
    wanted.wanted_keys_have_the_year,
    wanted.nothing_is_left_to_fill_in,
)


def check(catalogue: Catalogue) -> list[Problem]:
    """Every problem, by file and line. Where a file cannot be read at all, only that is told."""
    rules = RULES if catalogue.readable else ()
    found = [problem for rule in rules for problem in rule(catalogue)]
    return sorted({*catalogue.problems, *found})
