"""tests/reliability.json -> the page of what the tests try to break."""

import json
from collections.abc import Mapping

FIGURES = "tests/reliability.json"
TITLES = {
    "properties": (
        "Losses on any input",
        "Shapes from one voxel on, absent classes, four floating types, strides, voxels left out, logits up to ±1e4. "
        "Every value and gradient was finite, voxels left out had no gradient, and strides did not matter; what a loss "
        "cannot take, such as an image smaller than its window, it refused with a reason.",
    ),
    "faults": (
        "Tools under attack",
        "Broken texts and array files, builds killed by the system in the middle of writing, builds at the same time, "
        "names that point elsewhere. There was no traceback and no write outside the target, and nothing was lost: "
        "after every kill the check accepts the repository, and the next build ends as if nothing had been.",
    ),
}


def reliability_page(figures: str) -> str:
    """The figures of every section that the tests have written."""
    known: Mapping[str, Mapping[str, int]] = json.loads(figures or "{}")
    parts = [
        "---\ntitle: Reliability\nhide: [navigation]\n---\n\n# Reliability\n\nFigures that the last test run wrote."
    ]
    for name, (title, text) in TITLES.items():
        if name in known:
            rows = "\n".join(f"| {what} | {number} |" for what, number in known[name].items())
            parts.append(f"## {title}\n\n{text}\n\n| Tried | Number |\n| --- | ---: |\n{rows}")
    return "\n\n".join(parts) + "\n"
