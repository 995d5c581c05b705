"""python tools/links.py: every address of the catalogue and the pages, asked once; needs the standard library alone."""

import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = ("catalog.yaml", "references.bib", "README.md", "CONTRIBUTING.md", "docs/*.md")
ALIVE = {401, 403, 405, 418, 429}
"""Answers of a page that is there and does not want a program to read it."""


def addresses(root: Path) -> dict[str, str]:
    """Every address, with the first file that has it."""
    found: dict[str, str] = {}
    for file in (file for page in PAGES for file in sorted(root.glob(page))):
        text = file.read_text(encoding="utf-8")
        path = file.relative_to(root).as_posix()
        given = re.findall(r"https://[^\s<>\"'`|\])}]+(?:\([^\s)]*\)[^\s<>\"'`|\])}]*)*", text)
        if path == "catalog.yaml":
            given += [f"https://doi.org/{doi}" for doi in re.findall(r"^  doi: [\"']?([^\s\"']+)", text, re.MULTILINE)]
            given += [
                f"https://arxiv.org/abs/{name}"
                for name in re.findall(r"^  arxiv: [\"']?([^\s\"']+)", text, re.MULTILINE)
            ]
        for address in given:
            if "…" not in address:
                found.setdefault(address.rstrip(".,;:"), path)
    return found


def dead(address: str, seconds: float = 20) -> str | None:
    """Why an address cannot be followed; None where it can."""
    reason = None
    for pause in (0, 5):
        time.sleep(pause)
        request = urllib.request.Request(address, headers={"User-Agent": "Mozilla/5.0 (link check)"})
        try:
            with urllib.request.urlopen(request, timeout=seconds):
                return None
        except urllib.error.HTTPError as error:
            if error.code in ALIVE:
                return None
            reason = f"{error.code} {error.reason}"
        except (OSError, ValueError) as error:
            reason = str(error)
    return reason


def main() -> int:
    """Print what is dead; 1 if anything is."""
    lost = [f"{path}: {address}: {why}" for address, path in addresses(ROOT).items() if (why := dead(address))]
    print("\n".join(lost) or "every address can be followed")
    return bool(lost)


if __name__ == "__main__":
    sys.exit(main())
