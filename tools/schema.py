"""What a field of the catalogue may hold: readers that report what is wrong and hand on what is right."""

import datetime
import math
import re
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tools.problems import did_you_mean

Report = Callable[[tuple[str | int, ...], str], None]
WRONG = object()


@dataclass(frozen=True)
class Spot:
    """A place in the document, to report from."""

    place: tuple[str | int, ...]
    to: Report

    def at(self, part: str | int) -> "Spot":
        """The place of a part."""
        return Spot((*self.place, part), self.to)

    def wrong(self, text: str) -> Any:
        """Reports; the value is handed on to no other rule."""
        names = [f".{part}" if isinstance(part, str) else f"[{part}]" for part in self.place[1:]]
        name = "".join(names).removeprefix(".")
        self.to(self.place, f"{name} {text}" if name else text)
        return WRONG


@dataclass(frozen=True)
class Reader:
    """Reads a value, and says in the words of JSON Schema what it lets pass."""

    read: Callable[[Any, Spot], Any]
    form: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, value: Any, spot: Spot) -> Any:
        """The value, or `WRONG` after a report."""
        return self.read(value, spot)


def reader(**form: Any) -> Callable[[Callable[[Any, Spot], Any]], Reader]:
    """Makes a function a reader of values of a form."""
    return lambda read: Reader(read, form)


def shown(value: Any) -> str:
    """A value in a message: what it is called in YAML, shortened."""
    if isinstance(value, dict):
        return "a mapping"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


@reader(type="string", pattern=r"\S")
def text(value: Any, spot: Spot) -> Any:
    """Text that is not blank."""
    if isinstance(value, str) and value.strip():
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return spot.wrong(f"must be text, not the number {value}; put it in quotes")
    return spot.wrong(f"must be text, not {shown(value)}")


@reader(type="boolean")
def boolean(value: Any, spot: Spot) -> Any:
    """true or false."""
    return value if isinstance(value, bool) else spot.wrong(f"must be true or false, not {shown(value)}")


def one_of(choices: Sequence[Any]) -> Reader:
    """One of a few values."""

    @reader(enum=list(choices))
    def read(value: Any, spot: Spot) -> Any:
        if value in choices and not isinstance(value, bool):
            return value
        listed = ", ".join(map(str, choices))
        return spot.wrong(f"must be one of {listed}, not {shown(value)}{did_you_mean(str(value), map(str, choices))}")

    return read


def matching(pattern: str, what: str) -> Reader:
    """Text of a form, described by what is expected."""
    form = re.compile(pattern)

    @reader(type="string", pattern=f"^({pattern})$", description=what)
    def read(value: Any, spot: Spot) -> Any:
        if (value := text(value, spot)) is WRONG or form.fullmatch(value):
            return value
        return spot.wrong(f"must be {what}, not {shown(value)}")

    return read


doi = matching(r"10\.\d{4,9}/\S+", "a DOI such as 10.1007/978-3-319-67389-9_44, without https://doi.org/")
arxiv = matching(r"\d{4}\.\d{4,5}|[a-z-]+(\.[A-Z]{2})?/\d{7}", 'an arXiv id such as "1706.05721", without version')
commit = matching(
    r"[0-9a-f]{40}|v?\d+(\.\d+)+([.-]?[A-Za-z0-9]+)*",
    'a commit of 40 hexadecimal digits or a release tag such as "1.6.1"',
)


@reader(
    description="a date such as 2017-06-18, 2017-06 or 2017",
    anyOf=[
        {"type": "string", "pattern": r"^[12]\d{3}(-\d{2}){0,2}$"},
        {"type": "integer", "minimum": 1000, "maximum": 2999},
    ],
)
def date(value: Any, spot: Spot) -> Any:
    """YYYY, YYYY-MM or YYYY-MM-DD of a day that exists, handed on as text."""
    given = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    try:
        if isinstance(given, str) and re.fullmatch(r"[12]\d{3}(-\d{2}){0,2}", given):
            datetime.date.fromisoformat((given + "-01-01")[:10])
            return given
    except ValueError:
        pass
    return spot.wrong(f"must be a date such as 2017-06-18, 2017-06 or 2017, not {shown(value)}")


@reader(type="string", pattern=r"^https://[^\s<>\"'`\\|()\[\]{}]+$")
def https(value: Any, spot: Spot) -> Any:
    """An address that can be linked to."""
    if (value := text(value, spot)) is WRONG:
        return WRONG
    if not is_https(value):
        return spot.wrong(f"must be an address that begins with https://, not {shown(value)}")
    return value


def is_https(address: str) -> bool:
    """Whether an address can stand in a page: https, a host, and no character that would end it early."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme == "https" and "." in parts.netloc and not re.search(r"[\s<>\"'`\\|()\[\]{}]", address)


@reader(
    description="[least, greatest], null where there is no bound",
    type="array",
    items={"type": ["number", "null"]},
    minItems=2,
    maxItems=2,
)
def interval(value: Any, spot: Spot) -> Any:
    """[least, greatest], null where there is no bound."""
    if not isinstance(value, list) or len(value) != 2 or not all(end is None or is_number(end) for end in value):
        return spot.wrong(f"must be [least, greatest] with null for no bound, not {shown(value)}")
    low, high = value
    if low is not None and high is not None and low >= high:
        return spot.wrong(f"must rise from least to greatest, not {value}")
    return value


@reader(type=["number", "string", "boolean", "null", "array"])
def parameter(value: Any, spot: Spot) -> Any:
    """A value that a keyword can take: a number, a word, true, false, null, or a list of them."""
    if isinstance(value, list):
        return several(parameter)(value, spot)
    if isinstance(value, str) and _looks_like_a_number(value):
        return spot.wrong(f"is the text {value!r}; YAML needs a dot to read a number, as in 1.0e-5")
    if value is None or isinstance(value, str | bool) or is_number(value):
        return value
    return spot.wrong(f"must be a number, a word, true, false, null or a list of them, not {shown(value)}")


def is_number(value: Any) -> bool:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _looks_like_a_number(value: str) -> bool:
    return bool(re.fullmatch(r"[-+]?\d+(\.\d*)?([eE][-+]?\d+)?", value))


def several(item: Reader, least: int = 0) -> Reader:
    """A list, each item by a reader."""

    @reader(type="array", items=item.form, minItems=least)
    def read(value: Any, spot: Spot) -> Any:
        if not isinstance(value, list):
            return spot.wrong(f"must be a list, not {shown(value)}")
        if len(value) < least:
            return spot.wrong("must not be empty")
        found = [item(each, spot.at(at)) for at, each in enumerate(value)]
        return [each for each in found if each is not WRONG]

    return read


def distinct(item: Reader, least: int = 0) -> Reader:
    """A list without repeated items."""
    listed = several(item, least)

    @reader(**listed.form, uniqueItems=True)
    def read(value: Any, spot: Spot) -> Any:
        found = listed(value, spot)
        if found is not WRONG and len(found) > len(set(found)):
            return spot.wrong("names something twice")
        return found

    return read


def named(item: Reader) -> Reader:
    """A mapping from names to values, each by a reader."""

    @reader(type="object", additionalProperties=item.form)
    def read(value: Any, spot: Spot) -> Any:
        if not isinstance(value, dict):
            return spot.wrong(f"must be a mapping, not {shown(value)}")
        found = {name: item(each, spot.at(name)) for name, each in value.items()}
        return {name: each for name, each in found.items() if each is not WRONG}

    return read


def fields(readers: Mapping[str, Reader], required: Container[str]) -> Reader:
    """A mapping of known fields, without those that are wrong. A misspelt field does not count as missing as well."""

    @reader(
        type="object",
        properties={name: known.form for name, known in readers.items()},
        required=[name for name in readers if name in required],
        additionalProperties=False,
    )
    def read(value: Any, spot: Spot) -> Any:
        if not isinstance(value, dict):
            spot.wrong(f"must be a mapping with the fields {', '.join(readers)}, not {shown(value)}")
            return {}
        advice = {name: did_you_mean(name, readers.keys() - value.keys()) for name in value if name not in readers}
        for name, meant in advice.items():
            spot.to((*spot.place, name), f"unknown field {name!r}{meant or '; known are ' + ', '.join(readers)}")
        missing = [name for name in readers if name in required and name not in value]
        for name in missing:
            if not any(repr(name) in meant for meant in advice.values()):
                spot.to(spot.place, f"field {name!r} is missing")
        found = {name: readers[name](item, spot.at(name)) for name, item in value.items() if name in readers}
        return {name: item for name, item in found.items() if item is not WRONG}

    return read


def or_null(item: Reader) -> Reader:
    """A reader that lets null pass."""
    return Reader(
        lambda value, spot: None if value is None else item(value, spot), {"anyOf": [item.form, {"type": "null"}]}
    )
