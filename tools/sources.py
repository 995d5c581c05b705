"""Python files -> functions with their signature and docstring, read without importing them."""

import ast
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.docstrings import Docstring, parse
from tools.problems import Problem, read_text

PLAIN = ("precompute",)
"""Modules beside the families whose functions are for users too."""


@dataclass(frozen=True)
class Parameter:
    """A parameter as it is written: annotation and default are source text."""

    name: str
    annotation: str | None
    default: str | None
    keyword_only: bool


@dataclass(frozen=True)
class Function:
    """A public function of a family folder."""

    name: str
    family: str
    module: str
    path: str
    line: int
    parameters: tuple[Parameter, ...]
    returns: str | None
    docstring: Docstring | None
    names: Mapping[str, tuple[str, str]] = field(repr=False)
    """Where the names of the file come from: name -> module, name there (empty for the module itself)."""

    @property
    def import_path(self) -> str:
        """The path users import it by."""
        return f"segloss.{self.family}.{self.name}"

    @property
    def is_loss(self) -> bool:
        """Whether it is called like a loss or a measure, and not a helper that prepares their input."""
        return self.name.endswith("_loss") or self.parameter_names[:1] == ["logits"]

    @property
    def parameter_names(self) -> list[str]:
        """Names of the parameters, in order."""
        return [parameter.name for parameter in self.parameters]

    @property
    def required(self) -> list[str]:
        """Names of the keywords without a default."""
        return [parameter.name for parameter in self.parameters if parameter.keyword_only and not parameter.default]

    def problem(self, text: str, line: int | None = None) -> Problem:
        """A problem of this function."""
        return Problem(self.path, line or self.line, f"{self.name}: {text}")


def read_functions(root: Path, families: tuple[str, ...]) -> tuple[dict[str, Function], list[Problem]]:
    """Public functions by import path; of two with one path the first counts."""
    functions: dict[str, Function] = {}
    problems: list[Problem] = []
    for family in (*families, *PLAIN):
        place = root / "segloss" / family
        for file in sorted(place.glob("*.py")) if family in families else [place.with_suffix(".py")]:
            if file.name == "__init__.py" or (family in PLAIN and not file.exists()):
                continue
            path = file.relative_to(root).as_posix()
            tree, text, found = read_tree(root, path)
            problems += found
            for function in _public(tree, text, path, family) if tree else ():
                first = functions.setdefault(function.import_path, function)
                if first is not function:
                    place = f"{first.path}:{first.line}"
                    problems.append(
                        function.problem(f"another function of the family has this name, in {place}; rename one")
                    )
    return functions, problems


def read_tree(root: Path, path: str) -> tuple[ast.Module | None, str, list[Problem]]:
    """Syntax tree and text of a Python file."""
    text, problems = read_text(root, path)
    if problems:
        return None, text, problems
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text), text, []
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return None, text, [Problem(path, getattr(error, "lineno", None) or 1, f"not valid Python: {error.args[0]}")]


def _public(tree: ast.Module, text: str, path: str, family: str) -> Iterator[Function]:
    module = path.removesuffix(".py").replace("/", ".")
    names, lines = dict(_names(tree, module)), re.split(rb"\r\n|\r|\n", text.encode())
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            parameters = tuple(_parameters(node.args, lines))
            yield Function(
                node.name,
                family,
                module,
                path,
                node.lineno,
                parameters,
                _source(node.returns, lines),
                _docstring(node, lines),
                names,
            )


def _parameters(arguments: ast.arguments, lines: list[bytes]) -> Iterator[Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [*[None] * (len(positional) - len(arguments.defaults)), *arguments.defaults]
    for argument, default in zip(positional, defaults, strict=True):
        yield Parameter(argument.arg, _source(argument.annotation, lines), _source(default, lines), False)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield Parameter(argument.arg, _source(argument.annotation, lines), _source(default, lines), True)


def _source(node: ast.expr | None, lines: list[bytes]) -> str | None:
    """Source of an expression on one line."""
    if node is None:
        return None
    if node.lineno == node.end_lineno:
        return lines[node.lineno - 1][node.col_offset : node.end_col_offset].decode()
    return ast.unparse(node).replace("'", '"')


def _docstring(node: ast.FunctionDef, lines: list[bytes]) -> Docstring | None:
    first = node.body[0]
    docstring = ast.get_docstring(node, clean=False)
    if docstring is None or not isinstance(first, ast.Expr):
        return None
    place = slice(first.lineno - 1, first.end_lineno)
    raw = lines[first.lineno - 1][first.col_offset :][:1] in (b"r", b"R")
    return parse(docstring, first.lineno, raw=raw or b"\\" not in b"".join(lines[place]))


def _names(tree: ast.Module, module: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                yield alias.asname or alias.name, (node.module, alias.name)
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0], (alias.name, "")
    yield from ((name, (module, name)) for name, _ in _assigned(tree))


def _assigned(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module gives a value at its top."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None)
        yield from ((target.id, value) for target in targets if isinstance(target, ast.Name) and value is not None)


def constant(root: Path, path: str, name: str) -> Any:
    """Value of a module's constant that is written out; None where there is none."""
    tree, _, _ = read_tree(root, path)
    value = dict(_assigned(tree)).get(name) if tree else None
    try:
        return ast.literal_eval(value) if value else None
    except ValueError:
        return None


def promises(root: Path) -> frozenset[str] | None:
    """Names of the functions decorated with @promise; None where there is no contract."""
    files = sorted(root.glob("segloss/testing/*.py"))
    found = [_promised(tree) for file in files if (tree := read_tree(root, file.relative_to(root).as_posix())[0])]
    return frozenset().union(*found) if found else None


def _promised(tree: ast.Module) -> set[str]:
    def name(decorator: ast.expr) -> str:
        called = decorator.func if isinstance(decorator, ast.Call) else decorator
        return called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""

    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and any(name(decorator) == "promise" for decorator in node.decorator_list)
    }
