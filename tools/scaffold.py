"""A new entry: BibTeX record, catalogue entry, stubs of the function and its transcription, place for the numbers."""

import json
import keyword
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.bibliography import Record, folded, read_bibliography
from tools.catalogue import BIBLIOGRAPHY, CATALOGUE, Catalogue, load
from tools.checks.entries import FILL_IN
from tools.entries import KEY, Entry
from tools.families import FAMILIES
from tools.golden import GOLDEN
from tools.problems import did_you_mean, read_text
from tools.strict_yaml import read_yaml

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")

EMPTY_WORDS = {"a", "an", "the", "on", "of", "for", "in", "to", "and", "with", "towards", "toward", "what", "is", "how"}


class RefusedError(ValueError):
    """Why nothing was written, for the one who asked."""


def new(
    root: Path, key: str | None, source: str, bibtex: str, family: str | None, function: str
) -> tuple[dict[str, str], list[str]]:
    """Files to write and what is then left to do; raises `RefusedError` where anything of it is there already.

    The key follows from the record, `bibtex` from `source`, and the family from a function that exists.
    """
    catalogue = load(root)
    for problem in catalogue.problems:
        if problem.path in (CATALOGUE, BIBLIOGRAPHY):
            raise RefusedError(f"the catalogue cannot be extended before it can be read: {problem}")
    given = only_record(source, bibtex)
    key = key or derived_key(given)
    family = family or family_of(catalogue, function)
    refuse_names(key, family, function)
    refuse_existing(root, catalogue, key, family, function)
    record = rekeyed(source, given, key)
    path = f"segloss.{family}.{function}"
    files = {
        CATALOGUE: with_entry(root, catalogue, record, draft(record, family, path)),
        BIBLIOGRAPHY: with_record(root, catalogue, record),
        oracle_path(key): oracle(function),
        f"{GOLDEN}/{key}/cases.json": "[]\n",
    }
    if path not in catalogue.functions:
        files[source_path(family, function)] = stub(key, function)
    return files, left(key, files, catalogue.functions[path].path if path in catalogue.functions else None)


def refuse_names(key: str, family: str, function: str) -> None:
    """Names that cannot be meant."""
    if not KEY.fullmatch(key):
        raise RefusedError(f"key {key!r}: write family name, year and a word of the title, such as salehi2017tversky")
    if family not in FAMILIES:
        raise RefusedError(f"family {family!r} is not one of {', '.join(FAMILIES)}{did_you_mean(family, FAMILIES)}")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", function) or keyword.iskeyword(function):
        raise RefusedError(f"function {function!r} is not a name in lower case with underscores, such as tversky_loss")
    if function.endswith("_loss") == (family == "measures"):
        raise RefusedError(f"function {function!r}: losses end in _loss, and measures do not")


def refuse_existing(root: Path, catalogue: Catalogue, key: str, family: str, function: str) -> None:
    """What is there already."""
    if key in catalogue.entries:
        raise RefusedError(f"{key} is in {CATALOGUE} already, line {catalogue.entries[key].line()}")
    if key in catalogue.records:
        raise RefusedError(f"{key} is in {BIBLIOGRAPHY} already, line {catalogue.records[key].line}")
    for other in catalogue.functions.values():
        if other.name == function and other.family != family:
            raise RefusedError(f"{function} stands in {other.path} already, of the family {other.family}")
    paths = [oracle_path(key), f"{GOLDEN}/{key}"]
    if f"segloss.{family}.{function}" not in catalogue.functions:
        paths.append(source_path(family, function))
    for path in paths:
        if (root / path).exists():
            raise RefusedError(f"{path} exists already and is not overwritten")


def family_of(catalogue: Catalogue, function: str) -> str:
    """The family of a function that exists."""
    for other in catalogue.functions.values():
        if other.name == function:
            return other.family
    raise RefusedError(f"{function} is new; name the family it belongs to with --family {'|'.join(FAMILIES)}")


def only_record(source: str, bibtex: str) -> Record:
    """The only record of a text."""
    records, problems = read_bibliography(source, bibtex)
    for problem in problems:
        raise RefusedError(str(problem))
    if len(records) != 1:
        raise RefusedError(f"{source}: holds {len(records)} records; it must hold the one of the paper")
    (record,) = records.values()
    missing = [name for name in ("author", "title", "year") if not record.fields.get(name)]
    if missing:
        raise RefusedError(f"{source}:{record.line}: the record has no {', '.join(missing)}")
    return record


def derived_key(record: Record) -> str:
    """Family name of the first author, year, and the first word of the title that says something."""
    words = [folded(word) for word in re.split(r"[\s:–—-]+", record.fields["title"])]
    said = next((word for word in words if word and word not in EMPTY_WORDS), "")
    return f"{ascii_letters(record.families[0])}{record.fields['year'][:4]}{ascii_letters(said)}"


def ascii_letters(text: str) -> str:
    """Letters and digits of a key."""
    return re.sub(r"[^a-z0-9]", "", folded(text))


def rekeyed(source: str, record: Record, key: str) -> Record:
    """A record under a new key."""
    text = re.sub(r"\A(@\s*\w+\s*[{(]\s*)[^\s,]*", lambda found: found[1] + key, record.text)
    (renamed,) = read_bibliography(source, text)[0].values()
    return renamed


def draft(record: Record, family: str, function: str) -> str:
    """The entry, with all that follows from the record."""
    fields = record.fields
    year, in_print = fields["year"], fields.get("booktitle") or fields.get("journal") or "arXiv"
    links = {"doi": fields.get("doi"), "arxiv": record.arxiv, "url": None}
    if not any(links.values()):
        links["url"] = fields.get("url", f"{FILL_IN}: https://…")
    lines = [
        f"{record.key}:",
        f"  date: {first_appearance(record)}",
        f"  title: {quoted(fields['title'])}",
        f"  authors: [{', '.join(map(quoted, record.names))}]",
        f"  venue: {quoted(in_print if year in in_print else f'{in_print} {year}')}",
        *(f"  {name}: {quoted(value)}" for name, value in links.items() if value),
        "  code: []",
        f"  family: {family}",
        f"  {'measures' if family == 'measures' else 'losses'}:",
        f"    - function: {function}",
        "      params: {}",
        "      task: [binary, multiclass, multilabel]",
        "      dims: [1, 2, 3]",
        "      range: [0, null]",
        f"  usage: {quoted(f'{FILL_IN}: alone, or added to which loss with which weight')}",
    ]
    return "\n".join(lines) + "\n"


def first_appearance(record: Record) -> str:
    """The month of the preprint, else what the record says of its month and year."""
    if record.arxiv and (found := re.match(r"(\d\d)(\d\d)\.", record.arxiv)):
        return f"20{found[1]}-{found[2]}"
    month = record.fields.get("month", "").lower()
    number = (
        MONTHS.index(month[:3]) + 1
        if month[:3] in MONTHS
        else int(month)
        if re.fullmatch(r"0?[1-9]|1[0-2]", month)
        else None
    )
    return record.fields["year"] + (f"-{number:02}" if number else "")


def quoted(text: str) -> str:
    """Text as YAML that reads back the same."""
    return json.dumps(text, ensure_ascii=False)


def with_entry(root: Path, catalogue: Catalogue, record: Record, entry: str) -> str:
    """The text of the catalogue with an entry where its date belongs."""
    text = read_text(root, CATALOGUE)[0]
    lines = text.splitlines(keepends=True)
    below = next(older(catalogue.entries.values(), first_appearance(record)), None)
    if below is None:
        found = f"{text.rstrip()}\n\n{entry}".lstrip()
    else:
        at = below.line() - 1
        while at > 0 and lines[at - 1].startswith("#"):
            at -= 1
        found = "".join([*lines[:at], f"{entry}\n", *lines[at:]])
    document = read_yaml(CATALOGUE, found)
    if (
        document.problems
        or not isinstance(document.value, dict)
        or list(document.value.keys() - catalogue.entries) != [record.key]
    ):
        raise RefusedError(f"{CATALOGUE}: an entry cannot be put in; its keys must stand at the beginning of a line")
    return found


def with_record(root: Path, catalogue: Catalogue, record: Record) -> str:
    """The text of the bibliography with a record where its entry stands in the catalogue."""
    text = read_text(root, BIBLIOGRAPHY)[0]
    entries = older(catalogue.entries.values(), first_appearance(record))
    below = next((catalogue.records[entry.key] for entry in entries if entry.key in catalogue.records), None)
    if below is None:
        return f"{text.rstrip()}\n\n{record.text}\n".lstrip()
    lines = text.splitlines(keepends=True)
    return "".join([*lines[: below.line - 1], f"{record.text}\n\n", *lines[below.line - 1 :]])


def older(entries: Iterable[Entry], date: str) -> Iterator[Entry]:
    """Every entry that is older than a date."""
    for entry in entries:
        other = entry.fields["date"]
        known = min(len(date), len(other))
        if other[:known] < date[:known]:
            yield entry


def source_path(family: str, function: str) -> str:
    """The file of a function; never of the same name, which it would hide."""
    stem = function.removesuffix("_loss")
    return f"segloss/{family}/{stem if stem != function else f'{function}_measure'}.py"


def oracle_path(key: str) -> str:
    """Where the transcription of a paper stands."""
    return f"tests/oracles/{key}.py"


def stub(key: str, function: str) -> str:
    """The text of a function to be written."""
    return f'''"""{FILL_IN}: a noun phrase that names the formula."""

from segloss.core import Activation, Labels, Logits, Mask, Reduction, Value


def {function}(
    logits: Logits,
    target: Labels,
    *,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""{FILL_IN}: a sentence that says what is computed.

    $${FILL_IN}$$

    Returns:
        {FILL_IN}: the shape under each reduction, and the range.

    Raises:
        ValueError: If an input has the wrong shape, type or values.

    References:
        [{key}]

    Examples:
        >>> logits = torch.tensor([[[9.0, 9.0, -9.0, -9.0]]])
        >>> target = torch.tensor([[1, 0, 1, 0]])
        >>> {function}(logits, target)
        {FILL_IN}
    """
    raise RuntimeError("{FILL_IN}: the formula")
'''


def oracle(function: str) -> str:
    """The text of a transcription to be written."""
    return f'''"""{FILL_IN}: the formula and its number in the paper, transcribed as directly as possible."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor


def cases() -> Iterator[dict[str, Any]]:
    """Inputs to record. `value` gets the logits, the target, and everything else by its name."""
    generator = torch.Generator().manual_seed(0)
    yield {{
        "case": "2d_multiclass",
        "loss": "{function.removesuffix("_loss")}",
        "activation": "softmax",
        "params": {{}},
        "logits": torch.randn(2, 3, 24, 20, generator=generator, dtype=torch.float64),
        "target": torch.randint(3, (2, 24, 20), generator=generator),
        "extras": {{}},
        "reduction": "{FILL_IN}: a mean or sum over what",
    }}


def value(logits: Tensor, target: Tensor, *, activation: str) -> Tensor:
    """The loss of one case, in float64."""
    raise RuntimeError("{FILL_IN}: the formula")
'''


def left(key: str, files: dict[str, str], existing: str | None) -> list[str]:
    """What the contributor does next."""
    source = next((path for path in files if path.startswith("segloss/")), None)
    cite = f"{existing}  name [{key}] under References: of the function"
    return [
        f"{CATALOGUE}  venue in short, links to code, params, task, dims, range, usage",
        f"{source}  sentence, formula, code, example" if source else cite,
        f"{oracle_path(key)}  the formula in loops and the cases; not if {GOLDEN}/{key}/ holds the authors' numbers",
        f"python -m tools record {key}",
        "tests/parity/adapters/  an adapter, if the paper's words are new",
        f"python -m tools build && python -m tools check && pytest tests/parity tests/test_contract.py -k {key}",
    ]
