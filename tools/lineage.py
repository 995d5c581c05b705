"""Which loss generalises which: lineage.yaml -> the edges, their drawing and the page of them."""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tools.paper import Entry, front_matter, items, keywords, paper_name, short_name, words

FILE = "lineage.yaml"
CROSS_ENTROPY = "cross_entropy"
"""The one node that is PyTorch's and no paper's."""
FIELDS = ("general", "special", "with", "inputs", "special_with", "both", "task", "when", "more")


@dataclass(frozen=True)
class Edge:
    """With its parameters the general loss is the special one."""

    general: str
    special: str
    params: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, Any] = field(default_factory=dict)
    special_params: Mapping[str, Any] = field(default_factory=dict)
    both: Mapping[str, Any] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    when: str = ""
    more: tuple[tuple[Mapping[str, Any], Mapping[str, Any]], ...] = ()

    @property
    def name(self) -> str:
        """The edge in a word, for messages."""
        return f"{self.general}-{self.special}"

    @property
    def pairs(self) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
        """Every pair of parameters to test, of the general and of the special loss."""
        return [(self.params, self.special_params), *self.more]

    @property
    def condition(self) -> str:
        """What must hold for the one to be the other."""
        return self.when or ", ".join(
            f"{name} = {plain(value)}" for name, value in {**self.params, **self.inputs}.items()
        )

    @property
    def equation(self) -> tuple[str, str]:
        """Both calls as they are equal."""
        left = keywords({**self.both, **self.params, **self.inputs})
        shared = {} if self.special == CROSS_ENTROPY else self.both
        return f"{self.general}({left})", f"{self.special}({keywords({**shared, **self.special_params})})"


def plain(value: object) -> str:
    """A value in a condition: 1.0 is 1, False is off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


def read_edges(root: Path) -> list[Edge]:
    """The edges of the file, in its order."""
    return [edge(fields) for fields in yaml.safe_load((root / FILE).read_text(encoding="utf-8"))]


def edge(fields: Mapping[str, Any]) -> Edge:
    """One edge of the file; a field nobody reads is an error."""
    unknown = set(fields) - set(FIELDS)
    if unknown:
        raise ValueError(f"{FILE}: unknown field {', '.join(sorted(unknown))}; known are {', '.join(FIELDS)}")
    return Edge(
        fields["general"],
        fields["special"],
        fields.get("with", {}),
        fields.get("inputs", {}),
        fields.get("special_with", {}),
        fields.get("both", {}),
        tuple(fields.get("task", ())),
        fields.get("when", ""),
        tuple((pair.get("with", {}), pair.get("special_with", {})) for pair in fields.get("more", ())),
    )


def depths(edges: Iterable[Edge]) -> dict[str, int]:
    """The longest way from each loss to one that generalises nothing; a circle is an error."""
    below: dict[str, list[str]] = {}
    for each in edges:
        below.setdefault(each.general, []).append(each.special)
    found: dict[str, int] = {}

    def depth(name: str, above: tuple[str, ...] = ()) -> int:
        if name in above:
            raise ValueError(f"{FILE}: a circle through {name}")
        if name not in found:
            found[name] = max((1 + depth(other, (*above, name)) for other in below.get(name, ())), default=0)
        return found[name]

    for each in edges:
        depth(each.general)
    return found


@dataclass
class Box:
    """A loss in the drawing: its corner, and a row for each edge that leaves it."""

    name: str
    rows: Sequence[Edge]
    x: float = 0.0
    y: float = 0.0

    @property
    def height(self) -> float:
        """Title and rows."""
        return TITLE + ROW * len(self.rows) + (6 if self.rows else 2)

    @property
    def middle(self) -> float:
        """Where edges arrive."""
        return self.y + TITLE / 2


WIDTH, BETWEEN, ABOVE, TITLE, ROW = 226.0, 50.0, 12.0, 26.0, 16.0
ROUNDS = 24


def boxes(edges: Sequence[Edge]) -> list[list[Box]]:
    """Columns from the most special losses to the most general, each in an order that keeps edges short."""
    found = depths(edges)
    made = {name: Box(name, [each for each in edges if each.general == name]) for name in found}
    columns = [[made[name] for name in found if found[name] == depth] for depth in range(max(found.values()) + 1)]
    near: dict[str, list[Box]] = {name: [] for name in found}
    for each in edges:
        near[each.general].append(made[each.special])
        near[each.special].append(made[each.general])
    height = max(sum(box.height + ABOVE for box in column) for column in columns)
    for at, column in enumerate(columns):
        for box in column:
            box.x = 1 + at * (WIDTH + BETWEEN)
        stacked(column, dict.fromkeys((box.name for box in column), 0.0), height)
    for _ in range(ROUNDS):
        for column in columns:
            stacked(column, {box.name: mean([other.middle for other in near[box.name]]) for box in column}, height)
    return columns


def stacked(column: list[Box], wanted: Mapping[str, float], height: float) -> None:
    """Sorts a column by the wanted heights and puts every box there, or as near as the others let it."""
    column.sort(key=lambda box: wanted[box.name])
    y = 1.0
    for box in column:
        box.y = y = max(y, wanted[box.name] - TITLE / 2)
        y += box.height + ABOVE
    low = height
    for box in reversed(column):
        box.y = min(box.y, low - box.height - ABOVE)
        low = box.y


def mean(values: Sequence[float]) -> float:
    """The mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0


def drawing(edges: Sequence[Edge], home: Mapping[str, str], family: Mapping[str, str]) -> str:
    """The tree as an SVG without a blank line, to stand in a page; `home` has the address of each loss."""
    columns = boxes(edges)
    placed = {box.name: box for column in columns for box in column}
    width = len(columns) * (WIDTH + BETWEEN) - BETWEEN + 2
    height = max(box.y + box.height for box in placed.values()) + 1
    lines = [
        f'<svg viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" role="group" '
        'aria-label="Which loss generalises which; the table below says the same in words">'
    ]
    for box in placed.values():
        for at, each in enumerate(box.rows):
            y, end = box.y + TITLE + ROW * (at + 0.5), placed[each.special]
            bend, there = BETWEEN * 0.6, end.x + WIDTH
            lines.append(
                f'<path d="M{box.x:.0f} {y:.0f}C{box.x - bend:.0f} {y:.0f} {there + bend:.0f} {end.middle:.0f} '
                f'{there:.0f} {end.middle:.0f}"><title>{html.escape(sentence(each))}</title></path>'
            )
    for box in placed.values():
        title = html.escape(words(box.name))
        lines.append(f'<g class="family-{family.get(box.name, "none")}">')
        lines.append(f'<rect x="{box.x:.0f}" y="{box.y:.0f}" width="{WIDTH:.0f}" height="{box.height:.0f}" rx="3"/>')
        lines.append(f'<rect class="stripe" x="{box.x:.0f}" y="{box.y:.0f}" width="4" height="{box.height:.0f}"/>')
        text = f'<text class="name" x="{box.x + 11:.0f}" y="{box.y + 18:.0f}">{title}</text>'
        lines.append(f'<a href="{home[box.name]}">{text}</a>' if box.name in home else text)
        for at, each in enumerate(box.rows):
            y = box.y + TITLE + ROW * (at + 0.5) + 4
            lines.append(f'<text x="{box.x + 11:.0f}" y="{y:.0f}">{html.escape(each.condition)}</text>')
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"])


def sentence(each: Edge) -> str:
    """An edge in words."""
    return f"{words(each.general)} is {words(each.special)} where {each.condition}"


def lineage_page(edges: Sequence[Edge], entries: Mapping[str, Entry]) -> str:
    """The drawing, and the same as a table."""
    first: dict[str, str] = {}
    family: dict[str, str] = {}
    for key, entry in reversed(list(entries.items())):
        for item in items(entry):
            name = short_name(item["function"])
            first.setdefault(name, key)
            family[name] = item["function"].split(".")[1]
    missing = {name for each in edges for name in (each.general, each.special)} - {CROSS_ENTROPY, *first}
    if missing:
        raise ValueError(f"{FILE}: no loss of the catalogue is called {', '.join(sorted(missing))}")
    home = {name: f"../papers/{key}/" for name, key in first.items()}
    known = [name for name in dict.fromkeys(family.values()) if any(family.get(each.general) == name for each in edges)]
    lines = front_matter("Family tree", "navigation", "toc")
    lines += ["# Which loss generalises which", ""]
    lines += [
        "A loss stands to the right of those that it contains. Below its name are conditions, and the line from each "
        "leads to the loss that it then is, in value and in gradient. Every line is tested, on the inputs that all "
        "losses are tested on. Where smoothing constants matter, the calls in the table have them.",
        "",
    ]
    lines += ['<p class="lineage-families">' + " ".join(f'<span class="family-{n}">{n}</span>' for n in known) + "</p>"]
    lines += ["", '<div class="lineage" tabindex="0" role="region" aria-label="Family tree">']
    lines += [drawing(edges, home, family), "</div>", "", "## The same as a table", ""]
    lines += ["| General loss | is | where | in code |", "| --- | --- | --- | --- |"]
    for each in edges:
        left, right = each.equation
        ends = [linked(name, first, entries) for name in (each.general, each.special)]
        condition = html.escape(each.condition)
        lines.append(f"| {ends[0]} | {ends[1]} | {condition} | `{left}`<br>`= {right}` |")
    return "\n".join([*lines, ""])


def linked(name: str, first: Mapping[str, str], entries: Mapping[str, Entry]) -> str:
    """A loss by its words, linked to its oldest paper."""
    if name not in first:
        return "cross-entropy of PyTorch"
    return f"[{words(name)}](papers/{first[name]}.md)<br><small>{paper_name(entries[first[name]])}</small>"
