"""python -m tools check | build [--check] | new [KEY] … | record KEY | serve"""

import argparse
import io
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from tools.catalogue import Catalogue, load
from tools.checks import check
from tools.lookup import NotFoundError, by_arxiv, by_doi
from tools.problems import Problem, read_text
from tools.record import record
from tools.render import committed, differences
from tools.scaffold import RefusedError, new
from tools.writing import Content, write_all

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Runs a command and gives its exit status: 1 for problems found, 2 for a call that cannot be followed."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    given = parser().parse_args(arguments)
    try:
        match given.command:
            case "check":
                return run_check(root)
            case "build":
                return run_build(root, given.check)
            case "serve":
                return run_build(root, False) or subprocess.call(
                    [sys.executable, "-m", "mkdocs", "serve", "--livereload"], cwd=root
                )
            case "new":
                source, bibtex = found_record(given)
                files, left = new(root, given.key, source, bibtex, given.family, given.function)
                print("\n".join([*written(root, files), "", "left to do:", *(f"  {step}" for step in left)]))
            case "record":
                print(
                    "\n".join(
                        written(root, record(root, given.key)) or [f"{given.key}: the recorded values have not changed"]
                    )
                )
    except (RefusedError, NotFoundError, OSError) as error:
        print(f"tools {given.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """One line instead of the usage."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> Parser:
    """The commands and their arguments."""
    found = Parser(
        prog="python -m tools", description="Check the catalogue, generate what follows from it, start new entries."
    )
    commands = found.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("check", help="every problem of the catalogue, with file and line")
    build = commands.add_parser("build", help="write the generated files: README table, exports, module forms, pages")
    build.add_argument("--check", action="store_true", help="write nothing; show what is stale in the committed ones")
    commands.add_parser("serve", help="build, then show the site and follow changes of its pages")
    entry = commands.add_parser("new", help="start the entry of a paper")
    entry.add_argument("key", nargs="?", help="salehi2017tversky; follows from the record if left out")
    record = entry.add_mutually_exclusive_group(required=True)
    record.add_argument("--bib", metavar="FILE", help="file with the BibTeX record of the paper")
    record.add_argument("--doi", help="DOI of the paper, whose record doi.org is asked for")
    record.add_argument("--arxiv", metavar="ID", help="arXiv id of the paper, whose record arxiv.org is asked for")
    entry.add_argument("--family", help="folder of segloss/ the function belongs to, if the function is new")
    entry.add_argument("--function", required=True, help="name of the function, new or existing: tversky_loss")
    golden = commands.add_parser("record", help="write the values of tests/oracles/KEY.py to tests/golden/KEY/")
    golden.add_argument("key")
    return found


def found_record(given: argparse.Namespace) -> tuple[str, str]:
    """Where the record of a paper is from, and its BibTeX."""
    if given.doi:
        return f"the record of DOI {given.doi}", by_doi(given.doi)
    if given.arxiv:
        return f"the record of arXiv {given.arxiv}", by_arxiv(given.arxiv)
    file = Path(given.bib)
    text, problems = read_text(file.parent, file.name)
    for problem in problems:
        raise RefusedError(str(problem))
    return file.name, text


def run_check(root: Path) -> int:
    """`check`: every problem, or how much was looked at."""
    catalogue = load(root)
    problems = check(catalogue)
    if problems:
        return tell(problems)
    cases = sum(len(golden.cases) for golden in catalogue.golden.values())
    print(f"{len(catalogue.entries)} entries, {len(catalogue.functions)} functions, {cases} recorded cases: no problem")
    return 0


def run_build(root: Path, only_check: bool) -> int:
    """`build`: write, or show what would change."""
    catalogue = load(root)
    if catalogue.problems:
        return tell(sorted(catalogue.problems))
    files = committed(catalogue)
    if only_check:
        stale = list(differences(files, {path: read_text(root, path)[0] for path in files}))
        if stale:
            noun = "generated file is" if len(stale) == 1 else "generated files are"
            print("\n\n".join([*stale, f"{len(stale)} {noun} stale: run `python -m tools build`"]))
        return 1 if stale else 0
    print("\n".join(written(root, files) or ["the committed files are up to date"]))
    problems = check(load(root))
    if problems:
        print("no page is written as long as there are problems:")
        return tell(problems)
    pages = written(root, site(root, catalogue))
    print(f"{len(pages)} pages written" if pages else "the pages are up to date")
    return 0


def site(root: Path, catalogue: Catalogue) -> dict[str, Content]:
    """The pages of the site, which run every recorded case, and the removal of those whose paper is gone."""
    import torch

    from tools.pages import pages

    torch.set_num_threads(1)  # recorded cases are small: threads that wait for each other cost more than they bring
    found = pages(catalogue)
    present = [
        file.relative_to(root).as_posix()
        for name in ("papers", "families")
        for file in (root / "docs" / name).glob("*.md")
    ]
    return {**dict.fromkeys((path for path in present if path not in found), None), **found}


def written(root: Path, files: dict[str, str] | dict[str, Content]) -> list[str]:
    """Writes, and tells each path that changed."""
    return [f"{'removed' if files[path] is None else 'wrote'} {path}" for path in write_all(root, files)]


def tell(problems: Sequence[Problem]) -> int:
    """Print problems and give the status for them."""
    print("\n".join([*map(str, problems), f"{len(problems)} problem{'s' * (len(problems) != 1)}"]))
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
