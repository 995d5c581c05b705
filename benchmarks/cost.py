"""Time and peak memory of forward and backward, as ratios to `F.cross_entropy` on the same logits, beside the peers.

    python -m benchmarks.cost                     # every catalogued loss and the peers that are installed
    python -m benchmarks.cost dice kornia         # those whose name contains a word
    python -m benchmarks.cost --write             # and keep the figures in benchmarks/results.json
    python -m benchmarks.cost dice --write        # and put them in the place of those that are kept there
    python -m benchmarks.cost --device cuda       # on a GPU
    python -m benchmarks.cost --smoke             # on tiny inputs, to see that all of it runs

A loss, its peers and cross-entropy are called in turns; times are medians of the ratios within a turn. Memory is the
peak of one pass, gradient included, in units of the logits. On a GPU its kernels are counted and timed, too, and their
time is compared with that of moving the data alone; `--write` keeps these in benchmarks/results-cuda.json. The series:

    shapes      all losses with the parameters of their papers, on the shapes below
    one thread  those with a peer
    bfloat16    the same in bfloat16, against cross-entropy in bfloat16
    compiled    the same under torch.compile, against cross-entropy under torch.compile
    voxels      those of `COMMON` by the number of voxels, with 4 classes
    classes     those of `COMMON` by the number of classes
    at hand     all losses on the shapes once more, on the CPU, where memory that is freed stays at hand

In all but the last, large arrays are taken from the system and given back to it, which is what the C library comes to
by default for the largest, and in a process that calls little else for most.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date
from importlib import metadata
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from benchmarks.measure import OnGpu, Peak, compile_first, floor, keep_memory, memory, on_gpu, times
from benchmarks.subjects import COMMON, Group, Made, On, cross_entropy, groups
from tools.writing import write_all

RESULTS = {"cpu": Path(__file__).parent / "results.json", "cuda": Path(__file__).parent / "results-cuda.json"}
SHAPES = [
    (4, 19, 512, 512),
    (2, 19, 256, 256),
    (1, 118, 48, 48, 48),
    (2, 4, 96, 96, 96),
    (2, 2, 64, 64, 64),
    (2, 1, 64, 64, 64),
]
ONE = (2, 4, 64, 64, 64)
SIDES, CLASSES = [2**n for n in range(6, 13)], [2**n for n in range(1, 9)]
ROUNDS, THREADS = 7, 2
COMPILERS = {"cpu": ("numba",), "cuda": ("triton",)}


@dataclass(frozen=True)
class Point:
    """Losses that are measured together."""

    series: str
    group: Group
    on: On
    threads: int = THREADS
    compiled: bool = False


def points(found: list[Group], device: str, *, smoke: bool) -> Iterator[Point]:
    """All that is measured, and last what is with memory that is kept."""
    shapes, one, sides, classes = SHAPES, ONE, SIDES, CLASSES
    if smoke:
        shapes, one, sides, classes = [(1, 3, 12, 12), (1, 2, 8, 8, 8)], (1, 3, 12, 12), [8, 16], [2, 4]
    for group in found:
        for shape in shapes:
            yield Point("shapes", group, On(shape, device=device))
    side = sides[len(sides) // 2]
    plain = [group[0] for group in found if group[0].name in COMMON]
    for group in (group for group in found if len(group) > 1 or any(it in plain for it in group)):
        if device == "cpu":
            yield Point("one thread", group, On(one), threads=1)
        yield Point("bfloat16", group, On(one, torch.bfloat16, device))
        yield Point("compiled", group, On(one, device=device), compiled=True)
    for it in plain:
        for each in sides:
            yield Point("voxels", (it,), On((1, 4, each, each), device=device))
        for number in classes:
            yield Point("classes", (it,), On((1, number, side, side), device=device))
    for group in found if device == "cpu" else ():
        for shape in shapes:
            yield Point("at hand", group, On(shape))


def measured(point: Point, peaks: dict[tuple[str, On], Peak], rounds: int) -> Iterator[dict[str, Any]]:
    """The figures of every loss of a point."""
    torch.set_num_threads(point.threads)
    given = {it.name: it.make(point.on) for it in point.group}
    made = {name: it for name, it in given.items() if it is not None}
    yardstick = cross_entropy(point.on)
    if point.compiled:
        torch.compiler.reset()
        yardstick, made = compiled(yardstick), {name: compiled(it) for name, it in made.items()}
    gpu = point.on.device == "cuda"
    least = floor(point.on) if gpu and made else 0.0
    of_yardstick = on_gpu(yardstick).milliseconds if gpu and made else 0.0
    for name, time in times(made, yardstick, rounds, kept=point.series == "at hand").items():
        it = next(it for it in point.group if it.name == name)
        peak = peaks.get((name, point.on), Peak(None)).ratio
        yield {
            "series": point.series,
            "name": name,
            "library": it.library,
            "beside": point.group[0].name,
            "function": it.function,
            "params": it.params,
            "shape": point.on.shape,
            "classes": point.on.shape[1],
            "time_ratio": round(time.ratio, 3),
            "time_spread": round(time.spread, 3),
            "milliseconds": round(time.milliseconds, 3),
            "memory_ratio": None if peak is None else round(peak, 3),
            **(_of_gpu(on_gpu(made[name]), of_yardstick, least) if gpu else {}),
        }


def compiled(made: Made) -> Made:
    """The same under torch.compile."""
    return made[0], torch.compile(made[1])


def _of_gpu(found: OnGpu, of_yardstick: float, least: float) -> dict[str, Any]:
    """The figures of a GPU: kernels, their time as a ratio, and how much of it moving the data alone would take."""
    return {
        "launches": found.launches,
        "gpu_ratio": round(found.milliseconds / of_yardstick, 3),
        "gpu_milliseconds": round(found.milliseconds, 4),
        "of_floor": round(least / found.milliseconds, 3),
    }


def peaks_of(every: list[Point]) -> dict[tuple[str, On], Peak]:
    """The memory of all that is measured on the shapes."""
    wanted = {(it.name, point.on): it for point in every if point.series == "shapes" for it in point.group}
    if any(on.device == "cpu" for _, on in wanted):
        compile_first({it.name: it for it in wanted.values()}.values(), {on.shape for _, on in wanted})
    return {key: memory(it, key[1]) for key, it in tqdm(wanted.items(), desc="memory")}


def main(words: list[str]) -> None:
    """Print the figures, and keep them if asked to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="only losses whose name contains one of these")
    parser.add_argument("--write", nargs="?", type=Path, const=Path(), metavar="FILE", help="keep the figures")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where to measure")
    parser.add_argument("--smoke", action="store_true", help="tiny inputs and one round: figures mean nothing")
    args = parser.parse_args(words)
    if args.write == Path():
        args.write = RESULTS[args.device]
    found = [g for g in groups() if not args.words or any(word in it.name for word in args.words for it in g)]
    old = _old(args.write, args.device) if args.write and args.words else None
    every = list(points(found, args.device, smoke=args.smoke))
    peaks = peaks_of(every)
    left_out = [{"name": name, "shape": on.shape, "reason": it.reason} for (name, on), it in peaks.items() if it.reason]
    results = list(timed(every, peaks, 1 if args.smoke else ROUNDS))
    if args.write:
        new = {**_conditions(args.device), "results": results, "left_out": left_out}
        text = json.dumps(merged(old, new) if old else new, indent=1, ensure_ascii=False)
        write_all(args.write.parent, {args.write.name: text + "\n"})
        print(f"kept in {args.write}", file=sys.stderr)


def timed(every: list[Point], peaks: dict[tuple[str, On], Peak], rounds: int) -> Iterator[dict[str, Any]]:
    """The figures of all points, which are printed as they are found."""
    with tqdm(desc="time", total=len(every)) as bar:
        for kept, some in groupby(every, lambda it: it.series == "at hand"):
            can = keep_memory(kept)
            for point in some:
                bar.update()
                group = tuple(it for it in point.group if not peaks.get((it.name, point.on), Peak(None)).reason)
                if not group or (kept and not can):
                    continue
                for it in measured(replace(point, group=group), peaks, rounds):
                    tqdm.write(line_of(it))
                    yield it


def line_of(it: dict[str, Any]) -> str:
    """A result as it is printed."""
    memory_text = "" if it["memory_ratio"] is None else f", memory {it['memory_ratio']:.2f}"
    time_text = f"{it['time_ratio']:.2f} ± {it['time_spread']:.2f}"
    return f"{it['series']}: {it['name']} on {it['shape']}: {time_text}{memory_text}"


def _old(file: Path, device: str) -> dict[str, Any] | None:
    """The figures that are kept already, refused if they are of another machine or other versions."""
    if not file.is_file():
        return None
    old, now = json.loads(file.read_text(encoding="utf-8")), _conditions(device)
    for name in ("machine", "versions", "threads"):
        if old[name] != now[name]:
            sys.exit(f"the figures in {file} are of {name} {old[name]}, not {now[name]}: measure all of them again")
    return old


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old figures with the new ones in their places."""

    def key(it: dict[str, Any]) -> str:
        return json.dumps([it["series"], it["beside"], it["name"], it["shape"]])

    measured = {key(it): it for it in new["results"]}
    stopped = {json.dumps([it["name"], it["shape"]]) for it in new["left_out"]}
    again = []
    for it in old["results"]:
        found = measured.pop(key(it), None)
        if found or json.dumps([it["name"], it["shape"]]) not in stopped:
            again.append(found or it)
    names = {it["name"] for it in new["results"] + new["left_out"]}
    left_out = [it for it in old["left_out"] if it["name"] not in names] + new["left_out"]
    return {**new, "results": [*again, *measured.values()], "left_out": left_out}


def _conditions(device: str) -> dict[str, Any]:
    """On what the figures are measured, and when."""
    where = torch.cuda.get_device_name() if device == "cuda" else f"{_processor()}, {os.cpu_count()} cores"
    return {
        "machine": where,
        "versions": {
            "torch": torch.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in COMPILERS[device] if find_spec(name)},
        },
        "date": date.today().isoformat(),
        "threads": THREADS,
    }


def _processor() -> str:
    """What the processor calls itself, and the vectors that it has."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text().splitlines() if file.is_file() else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return f"{fields.get('model name') or platform.machine()}, {torch.backends.cpu.get_cpu_capability()}"


if __name__ == "__main__":
    main(sys.argv[1:])
