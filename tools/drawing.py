"""What drawings have in common: grey text that can be read on light and on dark, and few bytes."""

import re
from typing import Any

GREY = "#7f7f7f"


def style() -> dict[Any, Any]:
    """Settings of matplotlib; the same drawing has the same bytes."""
    grey = dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), GREY)
    fixed = {"svg.fonttype": "none", "svg.hashsalt": "segloss", "font.size": 9, "font.family": "sans-serif"}
    return {**fixed, **grey}


def compact(svg: str) -> str:
    """A drawing in fewer bytes: short numbers, one name of the font, no space between elements."""
    svg = re.sub(r"-?\d+\.\d{3,}", lambda number: f"{float(number[0]):.2f}", svg)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: sans-serif", svg)
    return re.sub(r">\s+<", "><", re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL))
