"""Every edge of lineage.yaml: with its parameters the general loss is the special one, in value and in gradient."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import segloss
from segloss import catalog
from segloss.testing.samples import Case, extra, sample
from tests.small import ROOT
from tools import lineage
from tools.lineage import CROSS_ENTROPY, Edge, read_edges
from tools.sources import read_functions

EDGES = read_edges(ROOT)
FUNCTIONS = {function.name: function for function in read_functions(ROOT, catalog.FAMILIES)[0].values()}


def claimed(name: str, field: str) -> set[Any]:
    """The tasks or dimensions which a loss is in the catalogue with."""
    if name == CROSS_ENTROPY:
        return {"binary", "multiclass", "multilabel", 1, 2, 3}
    losses = [it for entry in catalog.entries().values() for it in entry.losses if it.name == name]
    return {value for loss in losses for value in getattr(loss, field)}


def tasks(edge: Edge) -> list[str]:
    return list(edge.tasks) or sorted(claimed(edge.general, "task") & claimed(edge.special, "task"))


CASES = [
    pytest.param(edge, task, dims, id=f"{edge.name}-{task}-{dims}D")
    for edge in EDGES
    for task in tasks(edge)
    for dims in sorted(claimed(edge.general, "dims") & claimed(edge.special, "dims"))
]


def case_of(task: str, dims: int) -> Case:
    """The sample of the contract; of two classes it is that of one channel, with the logits on both sides of 0."""
    if task != "two_classes":
        return sample(task, dims)
    one = sample("binary", dims)
    return Case("multiclass", torch.cat([-one.logits / 2, one.logits / 2], 1), one.target)


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """PyTorch's, of the activation that belongs to the input."""
    if target.ndim == logits.ndim:
        return F.binary_cross_entropy_with_logits(logits, target.to(logits.dtype))
    if logits.shape[1] == 1:
        return F.binary_cross_entropy_with_logits(logits[:, 0], target.to(logits.dtype))
    return F.cross_entropy(logits, target)


def value(name: str, logits: Tensor, case: Case, params: dict[str, Any], inputs: dict[str, Any]) -> Tensor:
    if name == CROSS_ENTROPY:
        return cross_entropy(logits, case.target)
    names = FUNCTIONS[name].parameter_names
    given = {key: filled(key, case, inputs[key]) for key in inputs if key in names}
    sampled = {key: extra(key, case) for key in FUNCTIONS[name].required if key not in given}
    activation = {"activation": "sigmoid"} if case.target.ndim == logits.ndim and "activation" in names else {}
    return getattr(segloss, name)(logits, case.target, **{**activation, **sampled, **given, **params})


def filled(name: str, case: Case, content: Any) -> Tensor:
    """The input of the edge: the target itself, or one number everywhere."""
    if content == "target":
        return case.target.clone()
    if name == "contour_distance":
        return torch.full_like(case.logits, content)
    return torch.full_like(extra(name, case), content)


def gap(edge: Edge, task: str, dims: int) -> float:
    """The largest difference between both sides, of the value and of the gradient."""
    case, worst = case_of(task, dims), 0.0
    for params, special_params in edge.pairs:
        found = []
        for name, own in ((edge.general, params), (edge.special, special_params)):
            logits = case.logits.clone().requires_grad_()
            shared = {} if name == CROSS_ENTROPY else dict(edge.both)
            result = value(name, logits, case, {**shared, **own}, dict(edge.inputs))
            found.append((result, torch.autograd.grad(result, logits)[0]))
        (one, slope), (other, expected) = found
        scale = max(expected.abs().max().item(), 1e-12)
        worst = max(worst, (one - other).abs().item() / max(other.abs().item(), 1e-3))
        worst = max(worst, (slope - expected).abs().max().item() / scale)
    return worst


@pytest.mark.parametrize(("edge", "task", "dims"), CASES)
def test_an_edge_is_an_identity(edge: Edge, task: str, dims: int) -> None:
    assert gap(edge, task, dims) < 1e-6


@pytest.mark.parametrize("edge", [edge for edge in EDGES if edge.params], ids=lambda edge: edge.name)
def test_an_edge_depends_on_each_of_its_parameters(edge: Edge) -> None:
    """Another value breaks it, so that the test above could have failed and no condition is idle."""
    task, dims = tasks(edge)[0], 2
    for name, right in edge.params.items():
        for wrong in others(name, right):
            broken = replace(edge, params={**edge.params, name: wrong}, more=())
            assert gap(broken, task, dims) > 1e-6, name


def others(name: str, right: Any) -> list[Any]:
    if isinstance(right, bool):
        return [not right]
    if isinstance(right, str):
        return [{"voxel": "class", "softmax": "sigmoid"}[right]]
    return [0.4 if right == 1 and name in ("k", "threshold", "alpha") else 0.7 * right + 0.4]


def test_every_loss_of_the_tree_is_in_the_catalogue() -> None:
    names = {loss.name for entry in catalog.entries().values() for loss in entry.losses}
    assert {name for edge in EDGES for name in (edge.general, edge.special)} - {CROSS_ENTROPY} <= names
    assert len({edge.name for edge in EDGES}) == len(EDGES) >= 30
    assert all(tasks(edge) for edge in EDGES)


def test_the_tree_has_no_circle() -> None:
    assert max(lineage.depths(EDGES).values()) >= 3
    back = Edge("dice_loss", "tversky_loss")
    with pytest.raises(ValueError, match="circle"):
        lineage.depths([*EDGES, back])


def test_an_unknown_field_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown field wiht"):
        lineage.edge({"general": "a", "special": "b", "wiht": {}})


def test_an_unknown_loss_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="no loss of the catalogue is called other_loss"):
        lineage.lineage_page([Edge("other_loss", CROSS_ENTROPY)], {})


def test_boxes_do_not_overlap() -> None:
    columns = lineage.boxes(EDGES)
    assert len({box.name for column in columns for box in column}) == len(lineage.depths(EDGES))
    for column in columns:
        for above, below in itertools.pairwise(column):
            assert above.x == below.x
            assert above.y + above.height < below.y


def test_the_drawing_says_every_condition() -> None:
    svg = lineage.drawing(EDGES, {"dice_loss": "../papers/x/"}, {})
    assert svg.count("<path") == len(EDGES)
    assert "\n\n" not in svg
    for edge in EDGES:
        assert f">{edge.condition}</text>" in svg
    assert '<a href="../papers/x/"><text class="name"' in svg
