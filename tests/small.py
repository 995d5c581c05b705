"""A small repository with nothing wrong, for tests to break."""

import json
import shutil
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parent.parent

CATALOGUE = """\
# Newest first.

doe2021recall:
  date: 2021-05
  title: "Recall as a measure"
  authors: [Jane Doe]
  venue: Journal of Examples 2021
  url: https://example.org/recall.pdf
  family: measures
  measures:
    - function: segloss.measures.recall
      params: {}
      task: [binary]
      dims: [2]
      range: [0, 1]

# The oldest one.
oe2019overlap:
  date: 2019-12-24
  title: The Lovász overlap loss
  authors: [Ørjan van der Oe, "María José Ruiz-Li"]
  venue: CVPR 2020
  doi: 10.1000/overlap(2)_1
  arxiv: "1912.11111"
  code:
    - url: https://github.com/oe/overlap
      path: overlap/loss.py
      commit: 0123456789abcdef0123456789abcdef01234567
      framework: pytorch
      official: true
      license: MIT
    - url: https://example.org/toolbox
      framework: matlab
      official: false
  family: region
  losses:
    - function: segloss.region.overlap_loss
      params: {alpha: 0.3}
      task: [binary, multiclass]
      dims: [1, 2, 3]
      range: [0, null]
      soft_labels: true
  usage: Alone.
  deviations: [The paper adds the classes.]
  not_offered: {"2d_other*": added up over classes}
  exceptions: {best_at_truth: its least value is elsewhere}
"""

BIBLIOGRAPHY = r"""@article{doe2021recall,
  author = {Doe, Jane},
  title = {{Recall} as a Measure},
  journal = {Journal of Examples},
  year = {2021},
  url = {https://example.org/recall.pdf},
}

@inproceedings{oe2019overlap,
  author = {van der Oe, {\O}rjan and Mar{\'\i}a Jos{\'e} {Ruiz-Li}},
  title = {The {Lov{\'a}sz} Overlap Loss},
  booktitle = {CVPR},
  year = 2020,
  doi = {10.1000/overlap(2)\_1},
  eprint = {1912.11111v2},
  archiveprefix = {arXiv},
}
"""

LOSS = r'''"""Overlap."""

from typing import Literal

import torch

from segloss.core import Labels, Logits, Mask, Reduction, Value

Kind = Literal["a", "b"]


def overlap_loss(
    logits: Logits,
    target: Labels,
    *,
    weight_map: torch.Tensor,
    alpha: float = 0.5,
    kind: Kind | None = None,
    ignore_index: int | None = None,
    mask: Mask | None = None,
    reduction: Reduction = "mean",
) -> Value:
    r"""One minus the overlap, with $\alpha$.

    $$L = 1 - \alpha \sum_i p_i g_i$$

    Args:
        weight_map: Weight map, which
            is long to tell.
        alpha: Price $\alpha$; `"default"` is a word here.
        kind: A kind.

    Returns:
        A scalar.

    Raises:
        ValueError: If `alpha` is negative.

    References:
        [oe2019overlap]

    Examples:
        >>> 1 + 1
        2
    """
    return logits.sum() * 0


def prepared(labels: Labels) -> Labels:
    """Helper that prepares an input.

    Args:
        labels: Labels.

    Returns:
        The input.

    References:
        [oe2019overlap]

    Examples:
        >>> 1 + 1
        2
    """
    return labels
'''

MEASURE = r'''"""Recall."""

from segloss.core import Labels, Logits, Value


def recall(logits: Logits, target: Labels) -> Value:
    r"""Share of the true voxels that are found.

    $$R = \frac{\mathrm{TP}}{\mathrm{TP} + \mathrm{FN}}$$

    Returns:
        A scalar.

    Raises:
        ValueError: If the shapes differ.

    References:
        [doe2021recall]

    Examples:
        >>> 1 + 1
        2
    """
    return logits.sum() * 0
'''

CONTRACT = """from segloss.testing.base import promise


@promise
def range_holds(loss, case):
    pass


@promise()
def best_at_truth(loss, case):
    pass
"""


def recorded(name: str, loss: str, **changes: object) -> dict[str, object]:
    """A case as in cases.json."""
    return {
        "case": name,
        "loss": loss,
        "activation": "softmax",
        "params": {},
        "reduction": "mean",
        "source": {"kind": "oracle", "repo": None, "commit": None, "file": "a file", "callable": "value"},
        "how": "by hand",
        "rtol": 1e-06,
        "differentiable": False,
        "extras": [],
        "notes": "",
        **changes,
    }


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def write_golden(root: Path, key: str, *cases: dict[str, object]) -> None:
    write(root, f"tests/golden/{key}/cases.json", json.dumps(cases, indent=1) + "\n")
    for case in cases:
        arrays = {name: np.zeros(2) for name in ("logits", "target", "value", "grad")}
        np.savez(root / "tests/golden" / key / f"{case['case']}.npz", allow_pickle=False, **arrays)


WANTED = """\
roe2022margin:
  title: A margin loss
  authors: [Jim Roe]
  year: 2022
  arxiv: "2201.00001"
  family: region
  note: A margin around the truth.

poe2021edge:
  title: An edge loss
  authors: [Ann Poe]
  year: 2021
  family: region
  note: Edges count twice.
"""


def small_repository(root: Path) -> Path:
    """Writes it and gives its root."""
    for path in ("segloss/catalog.py", "segloss/core/vocabulary.py"):
        write(root, path, (ROOT / path).read_text(encoding="utf-8"))
    write(root, "catalog.yaml", CATALOGUE)
    write(root, "references.bib", BIBLIOGRAPHY)
    write(root, "wanted.yaml", WANTED)
    write(root, "segloss/region/overlap.py", LOSS)
    write(root, "segloss/measures/share.py", MEASURE)
    write(root, "segloss/testing/base.py", CONTRACT)
    write(root, "README.md", "# Small\n\n<!-- catalogue:begin -->\nold\n<!-- catalogue:end -->\n\nThe end.\n")
    write(root, "pyproject.toml", '[project]\nname = "small"\nversion = "1.2.3"\n')
    write_golden(root, "doe2021recall", recorded("2d", "recall"))
    write_golden(root, "oe2019overlap", recorded("2d", "overlap"), recorded("2d_other_1", "overlap"))
    return root


def contents(root: Path) -> dict[str, bytes]:
    """Every file by its path, to compare before and after."""
    return {file.relative_to(root).as_posix(): file.read_bytes() for file in root.rglob("*") if file.is_file()}


def remove(root: Path, path: str) -> None:
    target = root / path
    if target.is_dir():
        shutil.rmtree(target)
    else:
        target.unlink()


ORACLE = '''"""Mean probability of class 0."""

import torch


def cases():
    generator = torch.Generator().manual_seed(0)
    for name, map in (("2d", None), ("2d_map", torch.ones(2, 3))):
        yield {
            "case": name,
            "loss": "new",
            "activation": "softmax",
            "params": {"gamma": 2.0},
            "logits": torch.randn(2, 3, 4, 5, generator=generator),
            "target": torch.randint(3, (2, 4, 5), generator=generator),
            "extras": {} if map is None else {"map": map},
            "reduction": "mean over voxels",
        }


def value(logits, target, *, activation, gamma, map=None):
    return gamma * getattr(logits, activation)(1)[:, 0].mean()
'''
