"""The pass as an operator of a compiled graph."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

import segloss
from segloss.core import CROSS_ENTROPY, SQUARES, OfError, Term, focused, of_errors, powered, together
from segloss.core import pass_operator as operator
from segloss.core.compiled import compiled
from segloss.core.extremes import KINDS
from segloss.core.morphology import _operator, _operator_slope
from segloss.core.one_pass import pass_over
from segloss.core.truth import How

JOINT, APART = How("softmax", False, True), How("sigmoid", True, False)
COST = 1 - torch.eye(3)
POWERS = of_errors((OfError.POWER, 1.5), (OfError.POWER, 3.0))
LOGS = of_errors((OfError.LOG_OF_REST, 0.0), (OfError.LOG, 0.3))
WANTED = {
    "sums": JOINT,
    "squares": replace(JOINT, squares=True),
    "weighted squares": replace(JOINT, squares=True, voxel=focused(2.0), weights=torch.rand(2, 1, 7)),
    "cost": replace(JOINT, cost=COST),
    "likelihood": replace(JOINT, sums=False, likelihood=True),
    "losses": replace(JOINT, sums=False, voxel=together(CROSS_ENTROPY, focused(0.5), focused(2.0))),
    "bounded": replace(JOINT, voxel=focused(2.0, 0.01), scale=3.0, lowered=torch.rand(3)),
    "bounded cross-entropy": replace(JOINT, sums=False, voxel=focused(0.0, 0.2)),
    "known": replace(JOINT, likelihood=True, known=torch.tensor([[True, True, False], [True, False, True]])),
    "probabilities": How("none", False, True, voxel=CROSS_ENTROPY),
    "soft": How("softmax", True, True),
    "powers": replace(JOINT, sums=False, voxel=together(powered(of_ce=0.3), powered(of_q=3.0), powered(1.5, 2.0))),
    "terms": replace(JOINT, terms=(POWERS, LOGS)),
    "terms of channels": replace(APART, terms=(POWERS, LOGS), squares=True),
    "channels": replace(APART, voxel=focused(1.5), squares=True),
    "likelihood of channels": replace(APART, likelihood=True),
}


def inputs(how, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 7, generator=generator)
    logits = (logits.softmax(1) if how.activation == "none" else logits).to(dtype).requires_grad_()
    labels = torch.randint(0, 3, (2, 1, 7), generator=generator)
    if how.known is not None:
        labels = torch.where(how.known.gather(1, labels[:, 0]).unsqueeze(1), labels, 0)
    if how.dense:
        labels = torch.rand(2, 3, 7, generator=generator)
        labels = labels if how.joint else labels > 0.5
    return logits, labels, torch.rand(2, 1, 7, generator=generator) > 0.2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("masked", [False, True])
def test_what_it_gives_is_what_a_pass_gives(wanted, dtype, masked):
    how = WANTED[wanted]
    logits, labels, valid = inputs(how, dtype)
    given = logits, labels, valid if masked else None, how
    ours, theirs = operator.operator(*given), pass_over(*given)
    assert [it is None for it in ours] == [it is None for it in theirs]
    asked = [(a, b) for a, b in zip(ours, theirs, strict=True) if a is not None]
    prices = [torch.randn(a.shape, generator=torch.Generator().manual_seed(1)).to(a.dtype) for a, _ in asked]
    slopes = [torch.autograd.grad(it, logits, prices)[0] for it in zip(*asked, strict=True)]
    near = {"rtol": 1e-6, "atol": 1e-6} if dtype != torch.bfloat16 else {}  # errors that are kept are as good
    for a, b in [*asked, slopes]:
        torch.testing.assert_close(a, b, **near)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("masked", [False, True])
def test_a_compiler_is_told_what_it_gives(wanted, dtype, masked):
    how = WANTED[wanted]
    logits, labels, valid = inputs(how, dtype)
    maps = logits, labels, valid if masked else None, how.weights, how.cost, how.lowered, how.known
    numbers = operator._told(how)
    torch.library.opcheck(operator._pass, (*maps, *numbers))
    sums, log_p, losses = operator._pass(*maps, *numbers)
    prices = sums if how.sums else None, log_p if how.likelihood else None, losses if how.voxel else None
    prices = [None if it is None else it.detach() for it in prices]
    torch.library.opcheck(operator._gradient, (*prices, logits.detach(), *maps[1:], *numbers))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_compiler_is_told_what_the_hardest_are(dtype):
    log_p = (-torch.rand(2, 1, 50, dtype=dtype).round(decimals=1)).requires_grad_()
    torch.library.opcheck(torch.ops.segloss.hardest.default, (log_p, torch.tensor(20)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(2, 3, 9), (1, 2, 6, 5), (1, 1, 4, 5, 6)])
@pytest.mark.parametrize("masked", [False, True])
def test_a_compiler_is_told_what_morphology_gives(kind, shape, masked):
    generator = torch.Generator().manual_seed(0)
    y = torch.rand(shape, generator=generator).transpose(0, -1).requires_grad_()
    valid = torch.rand(y.shape, generator=generator)[:, :1] > 0.2 if masked else None
    torch.library.opcheck(_operator, (y, valid, kind, 3))
    value = _operator(y, valid, kind, 3).detach() if KINDS[kind].looks_back else None
    torch.library.opcheck(
        _operator_slope, (y.detach(), valid, value, torch.rand(y.shape, generator=generator), kind, 3)
    )


def ops():
    """Operators, with what they may be given."""
    generator = torch.Generator().manual_seed(0)
    p = torch.rand(2, 3, 6, 5, generator=generator)
    g, valid = p > 0.5, torch.rand(2, 1, 6, 5, generator=generator) > 0.2
    logits, price = torch.randn(2, 3, 30, generator=generator), torch.rand(2, 3, 30, generator=generator)
    labels = torch.randint(0, 3, (2, 2, 30), generator=generator, dtype=torch.uint8)
    yield "inner_boundary", (g, None, True)
    yield "inner_boundary", (g.mT, valid.mT, False)
    yield "true_mask", (logits, labels[:, :1], valid.flatten(2), False)
    yield "true_mask", (logits, logits.softmax(1), None, True)
    for activation in ("softmax", "sigmoid", "none"):
        yield "predicted_mask", (logits, valid.flatten(2), activation)
    yield "predicted_label", (logits, torch.uint8)
    yield "window_scatter", (p.flatten(0, 1), g.flatten(0, 1).float(), 3)
    yield "slope_of_window_scatter", (torch.rand(3, 18, 18, dtype=torch.float64), p[0], g[0].float(), 3)
    yield "squared_depths", (labels.view(2, 2, 6, 5), [1.0, 0.5], 4)
    yield "window_mean", (p.transpose(2, 3), 3)
    yield "slope_of_window_mean", (p, p, 3)
    yield "length_of_contours", (p.mT, valid.mT, True)
    yield "length_of_contours", (g.to(torch.uint8), None, False)
    for true, of in ((g.flatten(2), price), (labels, price[:, :2]), (None, price)):
        for dtype in (torch.float32, torch.bfloat16):
            given = logits.to(dtype), None if true is labels else valid.flatten(2), "softmax", of, true, 0.5
            yield "priced_sums", given
            yield "slope_of_priced_sums", (torch.rand(2, 1 if true is None else 4, 3, dtype=torch.float64), *given)
    given = p, g, valid, [1.0, 2.0], True
    yield "eroded_errors", given
    yield "slope_of_eroded_errors", (torch.rand(2, 3, dtype=torch.float64), *given)
    given = p, valid, 0.1, False
    yield "gradient_length", given
    yield "slope_of_gradient_length", (torch.rand(2, 3, dtype=torch.float64), *given)
    given = p, g, [0.2, 0.6, 0.2], 0.1
    yield "structural_difference", given
    yield "slope_of_structural_difference", (p, *given)


@pytest.mark.parametrize("place", range(len([*ops()])))
def test_a_compiler_is_told_what_operators_give(place):
    name, given = [*ops()][place]
    for module in ("native_eroded", "native_gradient_length", "native_structure", "native_priced", "native_depths"):
        assert compiled(module) is not None
    tests = ("test_schema", "test_faketensor") if "slope" in name else torch.library._OPCHECK_DEFAULT_UTILS
    first = given[0].is_floating_point() and "slope" not in name
    given = (given[0].detach().clone().requires_grad_() if first else given[0], *given[1:])
    torch.library.opcheck(getattr(torch.ops.segloss, name).default, given, test_utils=tests)


def test_functions_are_not_told():
    hard, soft = torch.zeros(1, 1, 2, dtype=torch.long), torch.zeros(1, 3, 2)
    assert operator.is_told(replace(JOINT, terms=(POWERS,), voxel=together(CROSS_ENTROPY, focused(2.0))), hard)
    assert not operator.is_told(replace(JOINT, terms=(POWERS, Term(lambda p, g: p * g))), hard)
    assert not operator.is_told(replace(JOINT, voxel=replace(CROSS_ENTROPY, powers=())), hard)
    assert operator.is_told(replace(JOINT, dense=True), soft)
    assert not operator.is_told(replace(JOINT, dense=True, terms=(POWERS,)), soft)
    assert SQUARES.squares is not None  # by which a compiler does without its functions


LOSSES = [
    segloss.dice_loss,
    segloss.squared_dice_loss,
    segloss.focal_loss,
    segloss.dice_ce_loss,
    segloss.dice_focal_loss,
    segloss.topk_cross_entropy_loss,
    segloss.dice_topk_loss,
]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_compiled_loss_is_the_same_at_any_size(loss, classes, reduction):
    torch.compiler.reset()
    graphs = []

    def backend(graph, examples):
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=backend)
    generator = torch.Generator().manual_seed(0)
    for size in (8, 9, 12):
        x = torch.randn(2, classes, size, 7, generator=generator).requires_grad_()
        y = torch.randint(0, max(2, classes), (2, size, 7), generator=generator)
        found = []
        for f in (compiled, loss):
            value = f(x, y, ignore_index=255, reduction=reduction)
            found.append((value, torch.autograd.grad(value.sum(), x)[0]))
        for ours, theirs in zip(*found, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert len(graphs) == 1
    names = [str(node.target) for node in graphs[0].graph.nodes if node.op == "call_function"]
    assert sum("sums_of_pass" in name for name in names) == 1
    assert not any("softmax" in name or "sort" in name for name in names)
    torch.compiler.reset()


def test_the_compiler_is_not_loaded_with_segloss():
    """Which takes several times as long as segloss."""
    code = "import sys, segloss; sys.exit('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
