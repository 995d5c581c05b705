"""The behaviour cards: every fact follows from the tests or from what the implementation does."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segloss import catalog
from segloss.testing import CONTRACT, Loss
from segloss.testing.members import members
from tests.faults import CORRECT_MEASURE
from tests.plain import plain_dice
from tests.ranks import RIGHT
from tools import measured as measuring
from tools.card import PROMISES, RANKS, Card, card, card_section, rows
from tools.catalogue import load
from tools.measured import FOLDER, SAME, Probe, all_measured, measured, relative
from tools.pages import pages
from tools.timed import RESULTS, benchmark

ROOT = Path(__file__).resolve().parents[2]
PLAIN = Loss(plain_dice, range=(0, 1))
POOLED = Loss(plain_dice, {"batch": True}, range=(0, 1))
DICE = Probe("segloss.region.dice_loss", {}, ["binary", "multiclass"], [2])


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return pages(load(ROOT))


def told(loss: Loss, exceptions: dict[str, str] | None = None, **more: Any) -> dict[str, str]:
    return dict(rows(made(loss, exceptions, **more)))


def made(loss: Loss, exceptions: dict[str, str] | None = None, **more: Any) -> Card:
    return card(loss, exceptions or {}, measured(loss), **more)


def shifted(logits: Tensor, target: Tensor) -> Tensor:
    """A loss that moves an image by what the first image of the batch is."""
    return (logits.sigmoid() * (1 - 2 * target.unsqueeze(1))).mean() * (1 + logits[0].tanh().mean())


def test_a_batch_that_matters_is_noticed() -> None:
    assert measured(PLAIN).alone
    assert told(PLAIN)["Batch"] == "each image counts by itself; with batch=True they count as one"
    for loss in (POOLED, Loss(shifted, tasks=("binary",))):
        assert not measured(loss).alone
        assert "depends on the other images" in told(loss)["Batch"]
        assert "each process has its own loss" in told(loss)["Several processes"]


def test_a_measure_that_pools_is_noticed() -> None:
    def pooled(logits: Tensor, target: Tensor) -> Tensor:
        decided, truth = logits > 0, target.unsqueeze(1) > 0
        return 2 * (decided & truth).sum() / (decided.sum() + truth.sum())

    assert measured(CORRECT_MEASURE).alone
    assert not measured(Loss(pooled, tasks=("binary",), measure=True)).alone


def test_processes_are_exact_only_with_a_group_that_the_tests_hold_to() -> None:
    assert told(RIGHT)["Several processes"] == "exact with group=, value and gradient"
    assert "not exact with group=" in told(RIGHT, {RANKS: "adds only what it has"})["Several processes"]
    assert told(PLAIN)["Several processes"].startswith("no group=; each image counts by itself")


@pytest.mark.parametrize("promise", [name for name in PROMISES if name != RANKS])
def test_a_promise_is_told_as_the_tests_have_it(promise: str) -> None:
    assert made(PLAIN).promises[promise] is True
    assert made(PLAIN, {promise: "it cannot"}).promises[promise] is False
    assert made(PLAIN, {f"plain_dice.{promise}": "it cannot"}).promises[promise] is False
    assert made(PLAIN, {f"another_loss.{promise}": "it cannot"}).promises[promise] is True
    assert made(CORRECT_MEASURE).promises[promise] is (True if CONTRACT[promise].of == "both" else None)


def test_a_promise_that_is_tried_nowhere_is_not_told() -> None:
    assert made(Loss(plain_dice, dims=(1, 3))).promises["half_precision_is_close"] is None


def test_an_exception_changes_the_words() -> None:
    every = dict.fromkeys(PROMISES, "it cannot")
    kept, broken = told(RIGHT), told(RIGHT, every)
    for title in ("Range", "Towards the truth", "Absent class", "Half precision", "Several processes", "torch.compile"):
        assert kept[title] != broken[title], title
    assert broken["Exceptions"].count(",") == len(PROMISES) - 1
    assert kept["Exceptions"] == "none"


def test_values_are_those_of_the_loss() -> None:
    found = measured(PLAIN)
    assert found.perfect == pytest.approx(0, abs=1e-12)
    case = PLAIN.on("multiclass", 2)
    nothing = torch.zeros_like(case.truth)
    nothing[:, 0] = 1
    overlap = 2 * (nothing * case.truth).flatten(2).sum(2) / (nothing + case.truth).flatten(2).sum(2)
    assert found.empty == pytest.approx((1 - overlap).mean().item())
    assert found.absent.right == pytest.approx(0.25)  # one class of four costs 1, however little of it is predicted
    for policy in ("skip", "penalise"):
        kind = measured(Loss(plain_dice, {"absent": policy})).absent
        assert kind.right == pytest.approx(0, abs=1e-12)
        assert 0 < kind.one_voxel < 0.02


def test_a_gradient_of_an_absent_class_is_told_by_its_direction() -> None:
    def no_gradient(logits: Tensor, target: Tensor) -> Tensor:
        return (logits[:, :-1].sigmoid() - 0.5).square().mean()

    def raising(logits: Tensor, target: Tensor) -> Tensor:
        return -logits.sigmoid().mean()

    tasks = ("multilabel",)
    assert told(Loss(no_gradient, tasks=tasks))["Absent class"].endswith("its scores have no gradient")
    assert told(Loss(raising, tasks=tasks))["Absent class"].endswith("the gradient raises its scores")
    penalised = Loss(plain_dice, {"absent": "penalise"}, tasks=tasks)
    assert told(penalised)["Absent class"].endswith("the gradient lowers its scores")


def test_sums_in_half_precision_are_noticed() -> None:
    def careless(logits: Tensor, target: Tensor) -> Tensor:
        total = logits.new_zeros(())
        for line in logits.sigmoid().flatten().split(16):
            total = total + line.sum()
        return total / logits.numel()

    assert max(measured(PLAIN).half.values()) < 0.01
    assert measured(Loss(careless, tasks=("binary",), dims=(2,))).half["bfloat16"] > 0.01


def test_numbers_are_computed_once_and_again_when_a_source_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in measuring.OWN:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    source = tmp_path / "dice.py"
    source.write_text("1", encoding="utf-8")
    first = all_measured(tmp_path, {"dice": DICE}, {"dice": [source]})
    (file,) = (tmp_path / FOLDER).iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(measuring, "keep", None)
        assert all_measured(tmp_path, {"dice": DICE}, {"dice": [source]}) == first
    source.write_text("2", encoding="utf-8")
    assert all_measured(tmp_path, {"dice": DICE}, {"dice": [source]}) == first
    assert [other.name for other in (tmp_path / FOLDER).iterdir()] != [file.name]


def test_times_are_those_of_the_committed_benchmark(tmp_path: Path) -> None:
    assert benchmark(tmp_path).of(DICE.function, {}) == ()
    assert told(PLAIN)["Time"] == told(PLAIN)["Memory"] == "not measured"
    result = {"series": "shapes", "name": "plain", "library": "segloss", "beside": "plain"}
    result |= {"function": DICE.function, "params": {}, "shape": [2, 4, 96, 96, 96], "classes": 4}
    result |= {"time_ratio": 1.834, "time_spread": 0.1, "milliseconds": 20.0, "memory_ratio": 1.2}
    file = tmp_path / RESULTS
    file.parent.mkdir()
    found = {"machine": "two cores", "versions": {"torch": "2.13"}, "date": "2026-11-24", "threads": 2}
    found |= {"results": [result, {**result, "series": "one thread", "time_ratio": 9}], "left_out": []}
    file.write_text(json.dumps(found), encoding="utf-8")
    timed = benchmark(tmp_path).of(DICE.function, {})
    assert told(PLAIN, timed=timed)["Time"] == "1.83 × cross entropy on 2 × 4 × 96 × 96 × 96 (two cores, 2026-11-24)"
    assert told(PLAIN, timed=timed)["Memory"].startswith("1.2 × the logits on 2 × 4 × 96 × 96 × 96")
    assert benchmark(tmp_path).of(DICE.function, {"smooth": 1.0}) == ()
    del result["shape"]
    file.write_text(json.dumps(found), encoding="utf-8")
    with pytest.raises(ValueError, match=f"{RESULTS}.*shape"):
        benchmark(tmp_path)


def test_texts_cannot_become_markup() -> None:
    lines = "\n".join(card_section(made(PLAIN, {"<b>": "&"}, inputs=["<script>"])))
    assert "<script>" not in lines
    assert "&lt;script&gt;" in lines
    assert "<b>" not in lines


@pytest.mark.parametrize("key", catalog.entries())
def test_every_paper_has_its_cards(key: str, generated: dict[str, str]) -> None:
    page, entry = generated[f"docs/papers/{key}.md"], catalog.get(key)
    (record,) = (it for it in json.loads(generated["docs/catalog.json"]) if it["key"] == key)
    items = [*record["losses"], *record.get("measures", [])]
    assert page.count('<dl class="card">') == page.count("](../compare.md?loss=") == len(items)
    for item, implementation in zip(items, entry.implementations, strict=True):
        low, high = implementation.range or (None, None)
        for value in (item["card"]["perfect"], item["card"]["empty"]):
            assert low is None or value >= low - 1e-9
            assert high is None or value <= high + 1e-9
        named = {name for name, kept in item["card"]["promises"].items() if kept is False}
        assert named <= {name.rpartition(".")[2] for name in entry.exceptions}


def test_what_counts_by_itself_does_so_in_another_sample(generated: dict[str, str]) -> None:
    """By the values of other images, where the card goes by gradients."""
    cards = {
        (item["function"], repr(item.get("params", {}))): item["card"]
        for record in json.loads(generated["docs/catalog.json"])
        for item in [*record["losses"], *record.get("measures", [])]
    }
    for member in members():
        loss = member.loss
        found = cards[
            f"segloss.{member.loss.function.__module__.split('.')[1]}.{loss.function.__name__}", repr(dict(loss.params))
        ]
        case = loss.on(found["sample"]["task"], loss.dims[-1], images=4)
        values = [[loss(case.images([first, second])) for second in (3, 2)] for first in (0, 1)]
        moved = relative(values[0][0] - values[0][1] - values[1][0] + values[1][1], values[0][0])
        assert (moved < 10 * SAME) == found["batch_independent"], member.name


def test_the_comparison_has_every_call_once(generated: dict[str, str]) -> None:
    data = json.loads(generated["docs/compare.json"])
    names = [loss["name"] for loss in data["losses"]]
    assert len(names) == len(set(names))
    shown = {(key, loss["function"]) for loss in data["losses"] for key, _ in loss["papers"]}
    assert shown == {(key, it.name) for key, entry in catalog.entries().items() for it in entry.implementations}
    for loss in data["losses"]:
        assert len(loss["card"]) == len(data["rows"])
        assert loss["formulas"], loss["name"]
        assert len(loss["panels"]) in (0, len(data["states"]))
