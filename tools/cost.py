"""The committed benchmark -> the page of what losses cost, with its curves."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.drawing import compact, style
from tools.paper import front_matter
from tools.timed import Benchmark, exponent

Result = Mapping[str, Any]
SAME = 1.05
"""Ratios that differ by less say nothing: timings move by more from run to run."""
LINEAR = 2**16
"""Voxels above which a fixed cost no longer counts."""
WHY = (
    "Our losses read the logits in one compiled loop each way, or block by block where a loss asks for more than the "
    "loop knows. A call has a fixed time of somewhat less than a millisecond besides, for its checks and for the steps "
    "from the sums to the value, which shows where logits are few. What must see all of them at once, such as the "
    "choice of the hardest voxels, needs an array for that, which the gradient is written over where it has its size."
)
HEAP = (
    "Arrays of 1 MiB and more come from the system at each call and go back to it, much as they do by default in a "
    "script that calls little else. The system clears them first, which takes longer than cross-entropy computes. "
    "**At hand** is the time where what is freed stays with the process, as it does with other allocators or after "
    "much else was called: there cross-entropy, which needs three arrays of the size of the logits, gains more than a "
    "loss that needs one. A process is somewhere between the two. On Linux `THP_MEM_ALLOC_ENABLE=1`, set before Python "
    "starts, has PyTorch ask for pages of 2 MiB, as our losses do: with it cross-entropy took a quarter to two fifths "
    "less here."
)
NOTHING = Benchmark()
CURVES = {"voxels": "voxels, with 4 classes", "classes": "classes"}


def cost_pages(found: Benchmark, gpu: Benchmark = NOTHING) -> dict[str, str]:
    """The page, and a drawing for each curve that was measured."""
    drawings = {
        f"docs/cost-{name}.svg": drawing(found.series(name), name) for name in CURVES if len(found.series(name)) > 1
    }
    return {"docs/cost.md": cost_page(found, gpu), **drawings}


def cost_page(found: Benchmark, gpu: Benchmark = NOTHING) -> str:
    """The page."""
    lines = front_matter("Cost", "navigation", description="Time and memory of every loss, beside other libraries.")
    lines += ["# Cost", ""]
    if not found.results:
        return "\n".join([*lines, "Nothing has been measured yet: `make bench` does.", ""])
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines += [
        f"Forward and backward pass, measured on {found.date} with {found.threads} threads on {found.machine} "
        f"({versions}), in float32. **Time** is a multiple of `F.cross_entropy` on the same logits, called in the same "
        "turn; of one channel, of its binary form. **Memory** is the peak beyond the inputs in units of the logits; "
        "the gradient itself is 1. Timings move by a tenth or more from run to run, most for short calls. "
        "`make bench` measures on your machine.",
        "",
    ]
    if found.series("at hand"):
        lines += [HEAP, ""]
    lines += [*beside(found), *growth(found), *variants(found), *on_gpu(gpu), *every(found), *left_out(found)]
    return "\n".join(lines)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A table whose columns but the first are numbers."""
    lines = [f"| {' | '.join(head)} |", f"| --- |{' ---: |' * (len(head) - 1)}"]
    return [*lines, *(f"| {' | '.join(row)} |" for row in rows), ""]


def number(value: float | None) -> str:
    """Two digits after the point, fewer of large numbers."""
    return "–" if value is None else f"{value:.2f}" if value < 10 else f"{value:.0f}"


def numbers(costs: Iterable[float | None]) -> str:
    """Costs in one cell."""
    return " / ".join(map(number, costs))


def shape_name(it: Result) -> str:
    """The shape of the logits."""
    return " × ".join(map(str, it["shape"]))


def is_ours(it: Result) -> bool:
    """Whether it is a loss of this project."""
    return it["library"] == "segloss"


Costs = tuple[float | None, float | None, float | None]
"""Time, time with memory at hand, and memory."""


def costs_of(found: Benchmark) -> list[tuple[Result, Costs]]:
    """All losses on all shapes, and what they cost there."""

    def key(it: Result) -> tuple[str, str, str]:
        return it["beside"], it["name"], shape_name(it)

    at_hand = {key(it): it["time_ratio"] for it in found.series("at hand")}
    return [(it, (it["time_ratio"], at_hand.get(key(it)), it["memory_ratio"])) for it in found.series("shapes")]


def beside(found: Benchmark) -> list[str]:
    """Our losses and those of others, and where theirs cost less."""
    costs = costs_of(found)
    ours = {(it["name"], shape_name(it)): each for it, each in costs if is_ours(it)}
    rows, behind = [], []
    for other, theirs in costs:
        name, shape = other["beside"].partition("(")[0], shape_name(other)
        mine = ours.get((other["beside"], shape))
        if is_ours(other) or mine is None:
            continue
        rows.append(
            [f"`{name}`", shape, numbers(mine[:2]), number(mine[2])]
            + [other["name"], numbers(theirs[:2]), number(theirs[2])]
            + [f"{b / a:.1f} ×" if a and b else "–" for a, b in ((mine[0], theirs[0]), (mine[2], theirs[2]))]
        )
        words = zip(("faster", "faster with memory at hand", "leaner"), mine, theirs, strict=True)
        if what := [word for word, a, b in words if a is not None and b is not None and a > SAME * b]:
            figures = f"{numbers(theirs)} to our {numbers(mine)}"
            behind.append(f"- {other['name']} is {' and '.join(what)} than `{name}` on {shape}: {figures}.")
    if not rows:
        return []
    kinds = ["Time / at hand", "Memory"]
    head = ["Loss", "Logits", *kinds, "Beside", *kinds, "Faster by", "Leaner by"]
    lines = ["## Beside other libraries", "", *table(head, rows)]
    lines += ["Where another library takes less time or memory:" if behind else "None of them takes less.", ""]
    return [*lines, *behind, "", WHY, ""] if behind else lines


def on_gpu(found: Benchmark) -> list[str]:
    """Our losses and those of others on a GPU."""
    if not found.results:
        return []
    versions = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    lines = ["## On a GPU", ""]
    lines += [
        f"Measured on {found.date} on {found.machine} ({versions}), in float32. **Time** is that of the call until the "
        "GPU has done all of it, most of which goes into starting kernels, **on the GPU** that of the kernels alone, "
        "both as a multiple of `F.cross_entropy`: where a network keeps the GPU busy, the second is what a loss costs. "
        "**Kernels** counts these and copies. "
        "**Bound** is the part of the time on the GPU that moving the data alone would take, logits and labels read "
        "twice and the gradient written once.",
        "",
    ]
    rows = [
        [
            f"`{it['name']}`" if is_ours(it) else it["name"],
            shape_name(it),
            *map(number, (it["time_ratio"], it["gpu_ratio"])),
            str(it["launches"]),
            number(it["memory_ratio"]),
            f"{it['of_floor']:.0%}",
        ]
        for it in found.series("shapes")
    ]
    return [*lines, *table(["Loss", "Logits", "Time", "On the GPU", "Kernels", "Memory", "Bound"], rows)]


def growth(found: Benchmark) -> list[str]:
    """How time grows with voxels and with classes."""
    rows: dict[str, dict[str, str]] = {}
    for series, name, results in lines_of(found):
        sizes = [size(it, series) for it in results]
        kept = [n for n, x in enumerate(sizes) if series != "voxels" or x > LINEAR]
        if len(kept) > 1:
            power = exponent([sizes[n] for n in kept], [results[n]["milliseconds"] for n in kept])
            rows.setdefault(name, {})[series] = f"{power:.2f}"
    if not rows:
        return []
    lines = ["## Growth", "", "Time by the number of voxels and of classes; dashed, cost in proportion to it.", ""]
    for series, words in CURVES.items():
        if len(found.series(series)) > 1:
            lines += [f"![Time of the losses by the number of {words}](cost-{series}.svg){{.curves}}", ""]
    lines += [f"The power of the number with which time grows; of voxels where there are more than {LINEAR}:", ""]
    return [
        *lines,
        *table(["Loss", *CURVES], [[f"`{n}`", *(row.get(s, "–") for s in CURVES)] for n, row in rows.items()]),
    ]


def lines_of(found: Benchmark) -> Iterable[tuple[str, str, list[Result]]]:
    """Every curve: its series, the loss, and its points in order."""
    for series in CURVES:
        by_name: dict[str, list[Result]] = {}
        for it in found.series(series):
            by_name.setdefault(it["name"], []).append(it)
        for name, results in by_name.items():
            yield series, name, sorted(results, key=lambda it: size(it, series))


def size(it: Result, series: str) -> int:
    """The number that a curve goes by."""
    voxels = it["shape"][0]
    for side in it["shape"][2:]:
        voxels *= side
    return voxels if series == "voxels" else it["classes"]


VARIANTS = {
    "one thread": "One thread",
    "bfloat16": "bfloat16",
    "compiled": "torch.compile",
}


def variants(found: Benchmark) -> list[str]:
    """Other ways of running, each against cross-entropy run that way."""
    rows: dict[str, dict[str, str]] = {}
    for series in VARIANTS:
        for it in found.series(series):
            name = it["name"].partition("(")[0]
            rows.setdefault(f"`{name}`" if is_ours(it) else name, {}).setdefault(series, number(it["time_ratio"]))
    if not rows:
        return []
    shape = shape_name(next(it for series in VARIANTS for it in found.series(series)))
    lines = ["## One thread, bfloat16, torch.compile", ""]
    lines += [f"Time on {shape}, as a multiple of cross-entropy that runs the same way.", ""]
    cells = [[name, *(row.get(series, "–") for series in VARIANTS)] for name, row in rows.items()]
    lines += table(["Loss", *VARIANTS.values()], cells)
    results = [(series, it) for series in VARIANTS for it in found.series(series)]
    ours = {(it["name"], series): it["time_ratio"] for series, it in results if is_ours(it)}
    behind = [
        f"- {it['name']} beside `{it['beside'].partition('(')[0]}`, {VARIANTS[series]}: "
        f"{number(it['time_ratio'])} to our {number(ours[it['beside'], series])}."
        for series, it in results
        if not is_ours(it) and ours.get((it["beside"], series), 0) > SAME * it["time_ratio"]
    ]
    return [*lines, *(["Where another library takes less time:", "", *behind, ""] if behind else [])]


def every(found: Benchmark) -> list[str]:
    """All losses on all shapes."""
    shapes = list(dict.fromkeys(shape_name(it) for it in found.series("shapes")))
    rows: dict[str, dict[str, str]] = {}
    for it, costs in costs_of(found):
        if is_ours(it):
            rows.setdefault(it["name"], {})[shape_name(it)] = numbers(costs)
    cells = [[f"`{name}`", *(row.get(shape, "–") for shape in shapes)] for name, row in sorted(rows.items())]
    lines = ["## Every loss", ""]
    lines += ["Time / at hand / memory, with the parameters of a paper, by the shape of the logits.", ""]
    return lines + table(["Loss", *shapes], cells)


def left_out(found: Benchmark) -> list[str]:
    """What took too long."""
    rows: dict[tuple[str, str], list[str]] = {}
    for it in found.left_out:
        rows.setdefault((it["name"], it["reason"]), []).append(shape_name(it))
    if not rows:
        return []
    lines = ["## Left out", ""]
    return [*lines, *(f"- `{name}` on {', '.join(shapes)}: {why}." for (name, why), shapes in rows.items()), ""]


def drawing(results: Sequence[Result], series: str) -> str:
    """Milliseconds of every loss by a number, on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(style()):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        axes = figure.subplots()
        found = Benchmark(results=tuple(results))
        for (_, name, points), dash in zip(lines_of(found), ("-", "--", "-.", ":") * len(results), strict=False):
            x, y = [size(it, series) for it in points], [it["milliseconds"] for it in points]
            axes.plot(x, y, dash, label=name, linewidth=1.4, marker="o", markersize=2.5)
        x = sorted({size(it, series) for it in results})
        top = max(it["milliseconds"] for it in results)
        axes.plot(x, [top * n / x[-1] for n in x], "--", color="#7f7f7f", linewidth=0.8)
        axes.set(xscale="log", yscale="log", xlabel=CURVES[series], ylabel="milliseconds")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="outside right upper", frameon=False, fontsize=8)
        out = io.BytesIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return compact(out.getvalue().decode())
