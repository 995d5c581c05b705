"""The catalogue on the command line: segloss list, segloss show, segloss cite."""

import argparse
import dataclasses
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NoReturn

from segloss import catalog
from segloss.catalog import Entry, Implementation


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and give its exit status: 2, after one line on the error stream, where it cannot be followed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    given = _parser().parse_args(arguments)
    try:
        print(given.run(given))
        sys.stdout.flush()
    except ValueError as error:
        print(f"segloss {given.command}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="segloss", description="The catalogue of loss functions for image segmentation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    listing = commands.add_parser("list", help="papers and their functions, newest first")
    listing.add_argument("--family", help=", ".join(catalog.FAMILIES))
    listing.add_argument("--task", help=", ".join(catalog.TASKS))
    listing.add_argument("--dims", type=int, help="number of spatial axes: 1, 2 or 3")
    listing.add_argument("--needs", help=f"input beyond logits and target: {', '.join(catalog.NEEDS)}, or nothing")
    listing.add_argument("--json", action="store_true", help="whole entries as JSON")
    listing.set_defaults(run=_list)

    showing = commands.add_parser("show", help="all that the catalogue says of a paper or a function")
    showing.add_argument("name", metavar="KEY_OR_FUNCTION")
    showing.set_defaults(run=lambda given: "\n\n".join(map(_described, catalog.papers(given.name))))

    citing = commands.add_parser("cite", help="BibTeX records of papers or of the papers of functions")
    citing.add_argument("names", metavar="NAME", nargs="+", help="key, function or class")
    citing.set_defaults(run=lambda given: "\n\n".join(dict.fromkeys(map(catalog.cite, given.names))))
    return parser


def _list(given: argparse.Namespace) -> str:
    found = catalog.find(family=given.family, task=given.task, dims=given.dims, needs=given.needs)
    if given.json:
        return json.dumps([dataclasses.asdict(entry) for entry in found], indent=1, ensure_ascii=False)
    rows = [(entry.date, entry.key, entry.family, ", ".join(_functions(entry))) for entry in found]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return (
        "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows) or "no paper meets every condition"
    )


def _functions(entry: Entry) -> list[str]:
    return list(dict.fromkeys(implementation.name for implementation in entry.implementations))


def _described(entry: Entry) -> str:
    lines = [
        entry.key,
        f"  {entry.title}",
        f"  {', '.join(entry.authors)}",
        f"  {entry.venue}, {entry.date}",
        f"  {entry.link}",
    ]
    for implementation in entry.implementations:
        lines += ["", f"  {_call(implementation)}", f"    {'; '.join(_facts(implementation))}"]
    for title, text in (("usage", entry.usage), ("notes", entry.notes)):
        lines += ["", f"  {title}: {' '.join(text.split())}"] if text else []
    lines += ["", "  deviations:", *(f"    - {sentence}" for sentence in entry.deviations)] if entry.deviations else []
    lines += ["", "  code:", *(f"    - {line}" for line in _code(entry))] if entry.code else []
    return "\n".join(lines)


def _call(implementation: Implementation) -> str:
    """The function with the paper's values, as it would be written."""
    values = [f"{name}={value!r}" for name, value in implementation.params.items()]
    ours = implementation.function.startswith("segloss.")
    name = f"segloss.{implementation.name}" if ours else implementation.function
    return f"{name}({', '.join(['logits', 'target', *values])})"


def _facts(implementation: Implementation) -> Iterator[str]:
    low, high = implementation.range
    yield ", ".join(implementation.task)
    yield ", ".join(f"{dims}D" for dims in implementation.dims)
    yield f"from {'-inf' if low is None else low} to {'inf' if high is None else high}"
    if implementation.soft_labels:
        yield "soft labels"
    if implementation.needs:
        yield f"needs {', '.join(implementation.needs)}"
    if not implementation.standalone:
        yield "not alone"


def _code(entry: Entry) -> Iterator[str]:
    for code in entry.code:
        at = f" at {code.commit}" if code.commit else ""
        path = f", {code.path}" if code.path else ""
        whose = "authors" if code.official else "others"
        yield f"{code.url}{at}{path} ({whose}, {code.framework}, {code.license or 'no licence'})"


if __name__ == "__main__":
    raise SystemExit(main())
