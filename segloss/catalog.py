"""The catalogue at run time: which losses there are, from which papers, and how to cite them."""

from __future__ import annotations

import difflib
import functools
import importlib
import importlib.metadata
import importlib.resources
import unicodedata
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FAMILIES = ("distribution", "region", "boundary", "shape", "topology", "structural", "compound", "measures")
TASKS = ("binary", "multiclass", "multilabel")
DIMS = (1, 2, 3)
NEEDS = ("distance", "image", "prior", "instances", "skeleton", "adjacency")
SUITS = ("imbalance", "thin", "touching", "partial", "noisy", "scarce")

GROUP = "segloss.catalogues"
"""Entry points of packages that bring a catalogue of their own."""


@dataclass(frozen=True)
class Code:
    """A public implementation: of the authors (`official`) or of others."""

    url: str
    framework: str
    official: bool
    path: str | None = None
    commit: str | None = None
    license: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class Implementation:
    """A function of segloss with the parameter values which make it the loss (or measure) of a paper."""

    function: str
    params: dict[str, Any]
    task: tuple[str, ...]
    dims: tuple[int, ...]
    range: tuple[float | None, float | None]
    soft_labels: bool = False
    needs: tuple[str, ...] = ()
    standalone: bool = True

    @property
    def name(self) -> str:
        """Name of the function without its path."""
        return self.function.rpartition(".")[2]

    def load(self) -> Callable[..., Any]:
        """The function with the paper's parameter values filled in."""
        module, _, name = self.function.rpartition(".")
        return functools.partial(getattr(importlib.import_module(module), name), **self.params)


@dataclass(frozen=True)
class Entry:
    """A paper and what segloss offers of it."""

    key: str
    date: str
    title: str
    authors: tuple[str, ...]
    venue: str
    family: str
    losses: tuple[Implementation, ...] = ()
    measures: tuple[Implementation, ...] = ()
    code: tuple[Code, ...] = ()
    doi: str | None = None
    arxiv: str | None = None
    url: str | None = None
    usage: str | None = None
    suits: dict[str, str] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()
    notes: str | None = None
    not_offered: dict[str, str] = field(default_factory=dict)
    exceptions: dict[str, str] = field(default_factory=dict)
    package: str = "segloss"
    """The package whose catalogue has the entry."""

    @property
    def year(self) -> int:
        """Year of the first public appearance."""
        return int(self.date[:4])

    @property
    def implementations(self) -> tuple[Implementation, ...]:
        """Losses and measures."""
        return self.losses + self.measures

    @property
    def official(self) -> bool:
        """Whether the authors' own code is public."""
        return any(code.official for code in self.code)

    @property
    def link(self) -> str:
        """Address of the paper."""
        if self.doi:
            return f"https://doi.org/{self.doi}"
        return f"https://arxiv.org/abs/{self.arxiv}" if self.arxiv else str(self.url)

    @property
    def bibtex(self) -> str:
        """The BibTeX record."""
        return _records(self.package)[self.key]


@functools.cache
def entries() -> dict[str, Entry]:
    """Every entry by its key, newest paper first: those of segloss, and of installed packages that bring a catalogue.

    A package names the module beside its `catalog.yaml` and `references.bib` under the entry point group
    `segloss.catalogues`. A catalogue that cannot be read, or a key that is taken, is left out with a warning.
    """
    found = _entries("segloss")
    for point in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: point.value):
        try:
            more = _entries(point.value)
        except Exception as error:  # whatever is wrong with it, the catalogue of segloss stays usable
            warnings.warn(f"the catalogue of {point.value} cannot be read and is left out: {error!r}", stacklevel=2)
            continue
        for key in more.keys() & found.keys():
            warnings.warn(
                f"{key} of {point.value} is left out: {found[key].package} has an entry of this key", stacklevel=2
            )
        found = {**more, **found}
    ours = all(entry.package == "segloss" for entry in found.values())
    return found if ours else dict(sorted(found.items(), key=lambda item: item[1].date, reverse=True))


def _entries(package: str) -> dict[str, Entry]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    document = yaml.load(_file(package, "catalog.yaml"), Loader=loader) or {}
    return {key: _entry(key, {**fields, "package": package}) for key, fields in document.items()}


def get(key: str) -> Entry:
    """The entry of a paper by its key.

    Raises:
        ValueError: If there is no such key.

    Examples:
        >>> from segloss import catalog
        >>> catalog.get("salehi2017tversky").venue
        'MLMI 2017'
    """
    return entries()[_known("key", key, entries())]


def find(
    *,
    family: str | None = None,
    task: str | None = None,
    dims: int | None = None,
    needs: str | None = None,
    soft_labels: bool | None = None,
    year: int | None = None,
    function: str | Callable[..., Any] | None = None,
    official: bool | None = None,
    text: str | None = None,
) -> list[Entry]:
    """Entries which meet every condition given, newest first.

    Conditions on losses (task, dims, needs, soft labels, function) are met by one and the same loss of the entry.

    Args:
        family: One of `FAMILIES`.
        task: One of `TASKS`.
        dims: Number of spatial axes: 1, 2 or 3.
        needs: An input beyond logits and target, one of `NEEDS`; `"nothing"` for losses without any.
        soft_labels: Whether floating targets are accepted.
        year: Year of the first public appearance.
        function: A function of segloss or its name, with or without its path.
        official: Whether the authors' own code is public.
        text: Words that stand in the title, the authors, the venue, the key or the name of a function;
            accents and capitals do not matter.

    Raises:
        ValueError: If a value is not one of the known ones.

    Examples:
        >>> from segloss import catalog
        >>> [entry.key for entry in catalog.find(function="lovasz_hinge_loss")]
        ['berman2018lovasz']
    """
    if family is not None:
        _known("family", family, FAMILIES)
    if task is not None:
        _known("task", task, TASKS)
    if dims is not None:
        _known("dims", dims, DIMS)
    if needs is not None:
        _known("needs", needs, (*NEEDS, "nothing"))
    if year is not None and (isinstance(year, bool) or not isinstance(year, int)):
        raise ValueError(f"year must be a whole number such as 2017, not {year!r}")
    name = None if function is None else _function_name(function)
    words = _fold(text or "").split()

    def fits(loss: Implementation) -> bool:
        return (
            (task is None or task in loss.task)
            and (dims is None or dims in loss.dims)
            and (needs is None or needs in (loss.needs or ("nothing",)))
            and (soft_labels is None or loss.soft_labels == soft_labels)
            and (name is None or name == loss.name)
        )

    return [
        entry
        for entry in entries().values()
        if any(map(fits, entry.implementations))
        and (family is None or entry.family == family)
        and (year is None or entry.year == year)
        and (official is None or entry.official == official)
        and all(word in _searched(entry) for word in words)
    ]


def papers(name_or_key: str | Callable[..., Any] | object) -> list[Entry]:
    """Entries of a key, or of all papers behind a loss, newest first.

    Args:
        name_or_key: The key of an entry; the name of a function or of its module form; or the function, the class
            or an instance of the class itself.

    Raises:
        ValueError: If there is no such key, function or class.
    """
    if isinstance(name_or_key, str) and name_or_key in entries():
        return [get(name_or_key)]
    return find(function=_function_name(name_or_key, also=entries()))


def cite(name_or_key: str | Callable[..., Any] | object) -> str:
    """BibTeX of the paper, or of every paper, behind a loss, the oldest first.

    Args:
        name_or_key: As in `papers`.

    Raises:
        ValueError: If there is no such key, function or class.

    Examples:
        >>> import segloss
        >>> print(segloss.cite(segloss.tversky_loss)[:33])
        @inproceedings{salehi2017tversky,
    """
    return "\n\n".join(entry.bibtex for entry in reversed(papers(name_or_key)))


def _function_name(function: object, also: Iterable[str] = ()) -> str:
    """Name of a function, given as itself, as a name or path, or in its module form."""
    if isinstance(function, functools.partial):
        function = function.func
    given = function if isinstance(function, str) else getattr(function, "__name__", type(function).__name__)
    names = {loss.name for entry in entries().values() for loss in entry.implementations}
    if given in names:
        return given
    bare = given.rpartition(".")[2]
    forms = {name.replace("_", ""): name for name in names}
    found = forms.get(bare.replace("_", "").lower())
    return found or _known("name" if also else "function", bare, (*sorted(names), *also))


def _known(what: str, value: Any, known: Iterable[Any]) -> Any:
    """The value, if it is one of those known."""
    known = list(known)
    if value in known and not isinstance(value, bool):
        return value
    shown = {str(it): it for it in known}
    near = difflib.get_close_matches(str(value), shown, n=1)
    listed = f"one of {', '.join(shown)}" if len(known) <= 12 else "in the catalogue"
    advice = f"; did you mean {shown[near[0]]!r}?" if near else ""
    raise ValueError(f"{what} {value!r} is not {listed}{advice}")


def _searched(entry: Entry) -> str:
    names = [loss.name for loss in entry.implementations]
    return _fold(" ".join([entry.key, entry.title, *entry.authors, entry.venue, *names]))


def _fold(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter)).casefold()


def _entry(key: str, fields: dict[str, Any]) -> Entry:
    lists = {name: tuple(fields.get(name) or ()) for name in ("authors", "deviations")}
    return Entry(
        **{
            **fields,
            **lists,
            "key": key,
            "date": str(fields["date"]),
            "losses": tuple(map(_implementation, fields.get("losses") or ())),
            "measures": tuple(map(_implementation, fields.get("measures") or ())),
            "code": tuple(Code(**code) for code in fields.get("code") or ()),
        }
    )


def _implementation(fields: dict[str, Any]) -> Implementation:
    lists = {name: tuple(fields.get(name) or ()) for name in ("task", "dims", "range", "needs")}
    return Implementation(**{**fields, **lists, "params": fields.get("params") or {}})


@functools.cache
def _records(package: str) -> dict[str, str]:
    from bibtexparser.entrypoint import parse_string

    return {entry.key: str(entry.raw).strip() for entry in parse_string(_file(package, "references.bib")).entries}


def _file(package: str, name: str) -> str:
    """Text of a data file of a package; ours stands at the root of the repository in a checkout."""
    if package != "segloss":
        return importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")
    place = Path(__file__).parent
    places = (place / "data" / name, place.parent / name)
    return next(place for place in places if place.is_file()).read_text(encoding="utf-8")
