"""The Python blocks of a page, to be run as a reader would who copies them."""

import re
import runpy
from pathlib import Path

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def snippets(page: Path) -> list[tuple[int, str]]:
    """Line and text of every block."""
    text = page.read_text(encoding="utf-8")
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in BLOCK.finditer(text)]


def run(page: Path, line: int, code: str, folder: Path) -> None:
    """Run a block by itself, from a file in `folder`; a traceback names the line of the page."""
    script = folder / f"{page.stem}.py"
    script.write_text("\n" * (line - 1) + code, encoding="utf-8")
    runpy.run_path(str(script))
