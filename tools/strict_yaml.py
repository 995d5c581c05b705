"""YAML as the catalogue uses it: mappings, lists, text, numbers and booleans, every value with its line."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from tools.problems import Problem

Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
Place = tuple[str | int, ...]
DEEPEST = 12

_CONSTRUCTOR = yaml.constructor.SafeConstructor()
_SCALARS = {
    "tag:yaml.org,2002:null": _CONSTRUCTOR.construct_yaml_null,
    "tag:yaml.org,2002:bool": _CONSTRUCTOR.construct_yaml_bool,
    "tag:yaml.org,2002:int": _CONSTRUCTOR.construct_yaml_int,
    "tag:yaml.org,2002:float": _CONSTRUCTOR.construct_yaml_float,
}


@dataclass(frozen=True)
class Document:
    """A value made of dict, list, str, int, float, bool and None; `lines` tells where each part of it stands."""

    value: Any = None
    lines: Mapping[Place, int] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    readable: bool = False


def read_yaml(path: str, text: str) -> Document:
    """The document, `readable` unless its form is broken as a whole.

    Dates stay text; of a repeated key the first counts.
    """
    try:
        refused = tuple(_refused(path, text))
        if refused:
            return Document(problems=refused)
        node = yaml.compose(text, Loader=Loader)
    except yaml.YAMLError as error:
        return Document(problems=(_broken(path, text, error),))
    lines: dict[Place, int] = {(): 1}
    problems: list[Problem] = []
    value = _plain(node, (), path, lines, problems) if node else None
    return Document(value, lines, tuple(problems), readable=True)


def _refused(path: str, text: str) -> Iterator[Problem]:
    """What is valid YAML but could hide something from the reader or from the rules."""
    depth = documents = 0
    for event in yaml.parse(text, Loader=Loader):
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            yield Problem(path, line, f"alias *{event.anchor} is refused; write the value out")
        elif isinstance(event, yaml.NodeEvent) and event.anchor:
            yield Problem(path, line, f"anchor &{event.anchor} is refused; remove it and write values out")
        if tag := getattr(event, "tag", None):
            yield Problem(path, line, f"tag {tag!r} is refused; remove it")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.DocumentStartEvent):
            documents += 1
        if depth > DEEPEST:
            yield Problem(path, line, f"nested more than {DEEPEST} levels deep; an entry needs no more than five")
            return
        if documents > 1:
            yield Problem(path, line, "a second document begins here; keep everything in one, without ---")
            return


def _broken(path: str, text: str, error: yaml.YAMLError) -> Problem:
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        return Problem(path, mark.line + 1 if mark else 1, f"not valid YAML: {what}")
    position = getattr(error, "position", 0)
    line = text.encode("utf-8")[:position].count(b"\n") + 1
    return Problem(path, line, "not valid YAML: a control character that YAML does not allow; remove it")


def _plain(node: yaml.Node, place: Place, path: str, lines: dict[Place, int], problems: list[Problem]) -> Any:
    if isinstance(node, yaml.SequenceNode):
        for at, item in enumerate(node.value):
            lines[(*place, at)] = item.start_mark.line + 1
        return [_plain(item, (*place, at), path, lines, problems) for at, item in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        return dict(_pairs(node, place, path, lines, problems))
    try:
        return _SCALARS[node.tag](node) if node.tag in _SCALARS else node.value
    except ValueError:
        problems.append(Problem(path, node.start_mark.line + 1, f"{_name(place)}not a number that can be read"))
        return None


def _pairs(
    node: yaml.MappingNode, place: Place, path: str, lines: dict[Place, int], problems: list[Problem]
) -> Iterator[tuple[str, Any]]:
    seen: dict[str, int] = {}
    for key, value in node.value:
        line = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode) or key.tag in _SCALARS:
            shown = repr(key.value) if isinstance(key, yaml.ScalarNode) else "a collection"
            problems.append(Problem(path, line, f"{_name(place)}{shown} stands as a key; keys are words"))
        elif key.value in seen:
            first = seen[key.value]
            problems.append(
                Problem(
                    path,
                    line,
                    f"{_name(place)}{key.value!r} stands here a second time, first in line {first}; keep one",
                )
            )
        else:
            seen[key.value] = line
            lines[(*place, key.value)] = line
            yield key.value, _plain(value, (*place, key.value), path, lines, problems)


def _name(place: Place) -> str:
    """The key of the entry, to begin a message with."""
    return f"{place[0]}: " if place else ""
