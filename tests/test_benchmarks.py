"""The benchmark runs, and its figures become pages."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from torch import Tensor

from benchmarks import measure
from benchmarks.cost import main, merged
from benchmarks.measure import Peak, Time, memory, times
from benchmarks.subjects import Call, On, Subject, cross_entropy, groups
from tools.cost import cost_page, cost_pages
from tools.timed import RESULTS_OF_GPU, Benchmark, benchmark, exponent

ROOT = Path(__file__).resolve().parent.parent
HERE = {
    "series": "shapes",
    "name": "dice_loss()",
    "library": "segloss",
    "beside": "dice_loss()",
    "function": "segloss.region.dice_loss",
    "params": {},
    "shape": [2, 4, 96, 96],
    "classes": 4,
    "time_ratio": 0.5,
    "time_spread": 0.1,
    "milliseconds": 3.0,
    "memory_ratio": 1.2,
}
OTHER = {**HERE, "name": "peer Dice", "library": "peer", "function": "", "time_ratio": 2.0, "memory_ratio": 6.0}


def test_the_benchmark_runs_on_tiny_inputs(tmp_path: Path) -> None:
    file = tmp_path / "benchmarks" / "results.json"
    file.parent.mkdir()
    words = ("lovasz_softmax_loss", "topk_cross_entropy_loss")
    subprocess.run(
        [sys.executable, "-m", "benchmarks.cost", "--smoke", "--write", file, *words],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=600,
    )
    found = benchmark(tmp_path)
    assert {it["series"] for it in found.results} >= {
        "shapes",
        "one thread",
        "bfloat16",
        "compiled",
        "at hand",
        "voxels",
        "classes",
    }
    assert all(it["time_ratio"] > 0 and it["milliseconds"] > 0 for it in found.results)
    assert found.costs().keys() == set(words)
    pages = cost_pages(found)
    assert all(word in pages["docs/cost.md"] for word in words)
    assert {"docs/cost-voxels.svg", "docs/cost-classes.svg"} < set(pages)


def test_every_loss_of_the_catalogue_is_measured() -> None:
    from segloss import catalog

    functions = {it.function for entry in catalog.entries().values() for it in entry.losses}
    assert functions == {group[0].function for group in groups()} - {""}


@pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process is read from /proc")
@pytest.mark.parametrize(("loss", "expected"), [(Tensor.sum, 1), (lambda x: x.exp().sum(), 2)])
def test_memory_is_the_peak_in_units_of_the_logits(loss, expected) -> None:
    """The gradient; the exponential, which the way back needs, and the gradient."""

    def make(on: On):
        x, _ = cross_entropy(on)
        return x, lambda: loss(x)

    assert memory(Subject("known", make), On((1, 4, 128, 128, 128))).ratio == pytest.approx(expected, abs=0.2)


def test_what_a_loss_refuses_is_left_out_with_the_reason() -> None:
    def refused(on: On):
        raise ValueError("target has too many points; mark a few")

    assert memory(Subject("refused", refused), On((1, 2, 8, 8))) == Peak(None, "target has too many points")


def test_what_takes_too_long_or_ends_the_process_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(on: On):
        raise RuntimeError("not on this machine")

    on = On((1, 2, 8, 8))
    assert memory(Subject("broken", broken), on) == Peak(None, "RuntimeError: not on this machine")
    monkeypatch.setattr(measure, "LIMIT", 1)
    assert memory(Subject("slow", lambda on: time.sleep(30)), on) == Peak(None, "more than 1 s")
    killed = memory(Subject("killed", lambda on: os.kill(os.getpid(), signal.SIGKILL)), on)
    assert killed == Peak(None, "the process ended with status 9")


def test_times_are_medians_of_turns_and_the_slow_is_timed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    yardstick, twice, slow, compiles = (cross_entropy(On((1, 4, 4, 4))) for _ in range(4))
    seconds = {id(yardstick[0]): 0.1, id(twice[0]): 0.2, id(slow[0]): 3.0, id(compiles[0]): 0.3}
    called: list[int] = []

    def step(logits: Tensor, call: Call, *, kept: bool) -> float:
        first = id(logits) not in called
        called.append(id(logits))
        return 9.0 if first and logits is compiles[0] else seconds[id(logits)]

    monkeypatch.setattr(measure, "step", step)
    found = times({"twice": twice, "slow": slow, "compiles": compiles}, yardstick, 5)
    assert found["twice"] == Time(pytest.approx(2), pytest.approx(0), pytest.approx(200))
    assert found["slow"] == Time(pytest.approx(30), pytest.approx(0), pytest.approx(3000))
    assert found["compiles"] == Time(pytest.approx(3), pytest.approx(0), pytest.approx(300))
    assert called.count(id(slow[0])) == 2
    assert called.count(id(twice[0])) == 6


def test_new_figures_take_the_places_of_old_ones() -> None:
    again, late = {**HERE, "time_ratio": 0.4}, {"name": "dice_loss()", "shape": [1], "reason": "more than 5 s"}
    old = {"date": "2026-11-24", "results": [OTHER, HERE], "left_out": [late, {**late, "name": "other_loss()"}]}
    more = {**HERE, "series": "voxels"}
    elsewhere = {**OTHER, "beside": "dice_ce_loss()"}
    found = merged(old, {"date": "2026-11-25", "results": [elsewhere, again, more], "left_out": []})
    assert found["results"] == [OTHER, again, elsewhere, more]
    assert found["left_out"] == [{**late, "name": "other_loss()"}]
    assert found["date"] == "2026-11-25"
    stopped = {**late, "shape": tuple(HERE["shape"])}
    found = merged(old, {"results": [], "left_out": [stopped]})
    assert (found["results"], found["left_out"][-1]) == ([OTHER], stopped)


def test_figures_of_another_machine_are_refused_before_anything_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    file.write_text('{"machine": "another", "results": [], "left_out": []}')
    with pytest.raises(SystemExit, match=r"machine another.*measure all of them again"):
        main(["no_such_loss", "--write", str(file)])
    assert file.read_text().startswith('{"machine": "another"')


def test_the_power_of_growth() -> None:
    assert exponent([1, 2, 4, 8], [3, 6, 12, 24]) == pytest.approx(1)
    assert exponent([1, 2, 4, 8], [3, 12, 48, 192]) == pytest.approx(2)


def test_the_page_says_where_others_cost_less() -> None:
    assert "make bench" in cost_page(Benchmark())
    page = cost_page(Benchmark("here", "2026-11-25", {"torch": "2"}, 2, (HERE, OTHER)))
    assert "| `dice_loss` | 2 × 4 × 96 × 96 | 0.50 / – | 1.20 | peer Dice | 2.00 / – | 6.00 | 4.0 × | 5.0 × |" in page
    assert "None of them takes less." in page
    slower = cost_page(Benchmark("here", "2026-11-25", {}, 2, ({**HERE, "time_ratio": 3.0}, OTHER)))
    assert (
        "- peer Dice is faster than `dice_loss` on 2 × 4 × 96 × 96: 2.00 / – / 6.00 to our 3.00 / – / 1.20." in slower
    )
    of_half = [{**it, "series": "bfloat16", "time_ratio": ratio} for it, ratio in ((HERE, 1.4), (OTHER, 1.2))]
    beside = "- peer Dice beside `dice_loss`, bfloat16: 1.20 to our 1.40."
    assert beside in cost_page(Benchmark("here", "2026-11-25", {}, 2, tuple(of_half)))
    of_half[0]["time_ratio"] = 1.1
    assert "- peer" not in cost_page(Benchmark("here", "2026-11-25", {}, 2, tuple(of_half)))
    left_out = {"name": "slow_loss()", "shape": [1, 2, 3], "reason": "more than 10 s"}
    assert "- `slow_loss()` on 1 × 2 × 3: more than 10 s." in cost_page(
        Benchmark("here", "2026-11-25", {}, 2, (HERE,), (left_out,))
    )


def test_the_page_gives_times_with_memory_at_hand_beside_the_others() -> None:
    kept = tuple({**it, "series": "at hand", "time_ratio": ratio} for it, ratio in ((HERE, 0.9), (OTHER, 0.8)))
    page = cost_page(Benchmark("here", "2026-11-25", {}, 2, (HERE, OTHER, *kept)))
    assert "| 0.50 / 0.90 | 1.20 | peer Dice | 2.00 / 0.80 | 6.00 | 4.0 × | 5.0 × |" in page
    assert "- peer Dice is faster with memory at hand than `dice_loss`" in page
    assert "| `dice_loss()` | 0.50 / 0.90 / 1.20 |" in page
    assert "**At hand**" in page
    assert "**At hand**" not in cost_page(Benchmark("here", "2026-11-25", {}, 2, (HERE, OTHER)))


@pytest.mark.skipif(sys.platform != "linux", reason="pages that a process is given are counted by Linux")
def test_memory_is_kept_or_given_back() -> None:
    """What large arrays are taken from the system anew is seen in the pages that it gives, in a process of its own."""
    text = """
import resource, torch
from benchmarks.measure import keep_memory, step

def pages(kept):
    for _ in range(2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        step(x, lambda: x.square().sum(), kept=kept)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
x = torch.ones(2**22, requires_grad=True)
keep_memory(False)
small = [torch.ones(2**16) for _ in range(400)]
small = small[-1:]  # behind much that is free, which does not go back on its own
print(pages(False))
keep_memory(True)
print(pages(True))
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=ROOT, check=True, capture_output=True, text=True)
    given_back, kept = map(int, done.stdout.split())
    assert kept < 100 < 1000 < given_back


def test_the_page_tells_of_a_gpu() -> None:
    assert "On a GPU" not in cost_page(Benchmark("here", "2026-11-25", {}, 2, (HERE,)))
    of_gpu = {**HERE, "launches": 12, "gpu_ratio": 0.25, "gpu_milliseconds": 0.1, "of_floor": 0.44}
    found = Benchmark("H100", "2026-11-26", {"torch": "2"}, 2, (of_gpu,))
    page = cost_page(Benchmark("here", "2026-11-25", {}, 2, (HERE,)), found)
    assert "| `dice_loss()` | 2 × 4 × 96 × 96 | 0.50 | 0.25 | 12 | 1.20 | 44% |" in page
    assert "on H100 (torch 2)" in page


def test_figures_of_a_gpu_are_kept_apart(tmp_path: Path) -> None:
    (tmp_path / "benchmarks").mkdir()
    text = '{"machine": "H100", "date": "", "versions": {}, "threads": 2, "left_out": [], "results": [%s]}'
    (tmp_path / RESULTS_OF_GPU).write_text(text % json.dumps(HERE))
    assert benchmark(tmp_path).results == ()
    with pytest.raises(ValueError, match=r"results-cuda.json: a result lacks launches, gpu_ratio"):
        benchmark(tmp_path, RESULTS_OF_GPU)


def test_committed_figures_can_be_read() -> None:
    found = benchmark(ROOT)
    assert len(found.costs()) > 50
    assert found.date in cost_page(found)
