"""Installed packages -> the page of the licences that segloss and its extras bring along."""

import importlib.metadata
import re
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from tools.problems import read_text

EXTRAS = ("topology", "skeleton", "fast")
"""Extras that users install; those of development are not shipped with anything."""
KNOWN = {"BSD License": "BSD", "MIT License": "MIT", "Apache Software License": "Apache-2.0"}


def licences_page(root: Path) -> str:
    """Every package that is needed, or with an extra, its version here and its licence as it states it."""
    rows = [
        f"| [{name}]({address(found)}) | {found.version} | {licence(found)} | {extra or 'always'} |"
        for name, (found, extra) in sorted(needed(root).items())
    ]
    head = (
        "---\ntitle: Licences\nhide: [navigation]\n---\n\n# Licences of dependencies\n\n"
        "segloss is under Apache-2.0. It ships nothing of others; it needs these packages, which `pip` installs, and "
        "an extra adds those named after it. The versions are those that the tests ran with.\n\n"
        "| Package | Version | Licence | Needed |\n| --- | --- | --- | --- |\n"
    )
    return head + "\n".join(rows) + "\n"


def needed(root: Path) -> dict[str, tuple[Distribution, str]]:
    """Packages by name, each with the extra that brings it, empty where segloss itself does."""
    import tomllib

    project = tomllib.loads(read_text(root, "pyproject.toml")[0])["project"]
    wanted = [(text, "") for text in project["dependencies"]]
    wanted += [(text, extra) for extra in EXTRAS for text in project["optional-dependencies"].get(extra, [])]
    found: dict[str, tuple[Distribution, str]] = {}
    for text, extra in wanted:
        for package in closure(text):
            found.setdefault(re.sub(r"[-_.]+", "-", package.name).lower(), (package, extra))
    return found


def closure(requirement: str) -> Iterator[Distribution]:
    """A package and all that it needs here."""
    waiting, seen = [requirement], set()
    while waiting:
        wanted = Requirement(waiting.pop())
        if wanted.name.lower() in seen or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        seen.add(wanted.name.lower())
        try:
            package = distribution(wanted.name)
        except PackageNotFoundError:
            continue
        yield package
        waiting += package.requires or []


def licence(package: Distribution) -> str:
    """As the package states it: an expression, else its classifiers, else the first line of its text."""
    stated = package.metadata.json
    if expression := stated.get("license_expression"):
        return str(expression)
    given = stated.get("classifier", [])
    classified = [line.rpartition(" :: ")[2] for line in given if line.startswith("License")]
    if classified:
        return ", ".join(KNOWN.get(name, name) for name in classified)
    text = str(stated.get("license") or "not stated").strip().splitlines()[0]
    return text.replace("|", "/")[:60]


def address(package: Distribution) -> str:
    """The page of a package on the index."""
    return f"https://pypi.org/project/{package.name}/{importlib.metadata.version(package.name).partition('+')[0]}/"
