"""Figures of what was tried, for the page "Reliability": tests/reliability.json, a section for each file of tests."""

import json
from pathlib import Path

FILE = Path(__file__).with_name("reliability.json")


def tell(section: str, figures: dict[str, int]) -> None:
    """Keep the figures of a section; the file stays as it is where they have not changed."""
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}
    if known.get(section) != figures:
        text = json.dumps({**known, section: figures}, indent=1, sort_keys=True) + "\n"
        FILE.write_text(text, encoding="utf-8")
