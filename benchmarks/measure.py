"""Time and peak memory of a forward and backward pass."""

import contextlib
import ctypes
import importlib
import itertools
import json
import os
import signal
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from benchmarks.subjects import Call, Made, On, Subject, sample

PATIENCE = 1.0
"""What takes longer than this, in seconds, is timed once."""
LIMIT = 5
"""What takes longer than this, in seconds, is left out."""
GIVEN_BACK, AT_HAND = {-3: 2**20, -1: 2**20}, {-3: 2**31 - 1, -1: -1}
"""For `mallopt`: the bytes from which the system gives an array of its own (-3), and takes back what is free (-1)."""
KEPT, PIECE = 2**31, 2**16
"""Bytes that are at hand, asked for in pieces that fit between other arrays, where pages may have been given back."""


@dataclass(frozen=True)
class Time:
    """The median ratio to the yardstick, half the distance of the quartiles, and milliseconds."""

    ratio: float
    spread: float
    milliseconds: float


@dataclass(frozen=True)
class Peak:
    """Memory in units of the logits; None where a loss takes no such logits, or for a reason."""

    ratio: float | None
    reason: str = ""


def keep_memory(kept: bool) -> bool:
    """Have what is freed go back to the system or, from now on, stay at hand; say whether the C library can.

    The GNU library keeps more the more it has been asked for. Since the system clears what it gives, cross-entropy
    would take twice as long after some losses as after others.
    """
    try:
        set_to = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    for what, size in (AT_HAND if kept else GIVEN_BACK).items():
        set_to(what, size)
    if kept:
        _ = [torch.ones(PIECE, dtype=torch.uint8) for _ in range(KEPT // PIECE)]
    return True


def give_back() -> None:
    """Give the system what is free between other arrays, too, where the C library would find room for large ones."""
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


def step(logits: Tensor, call: Call, *, kept: bool = True) -> float:
    """Seconds of one pass; what is free is given back before, unless it is `kept`."""
    logits.grad = None
    if not kept:
        give_back()
    if logits.is_cuda:
        torch.cuda.synchronize()
    start = time.perf_counter()
    call().backward()
    if logits.is_cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start


def times(made: Mapping[str, Made], yardstick: Made, rounds: int, *, kept: bool = False) -> dict[str, Time]:
    """The time of each, in rounds in which the yardstick comes first and all others follow.

    A first call, in which much is compiled, is not counted. Memory that is free is `kept`, or given back before each.
    """
    step(*yardstick, kept=kept)
    first = {name: step(*it, kept=kept) for name, it in made.items()}
    again = {name: step(*made[name], kept=kept) for name, seconds in first.items() if seconds > PATIENCE}
    slow = {name: seconds for name, seconds in again.items() if seconds > PATIENCE}
    reference, seconds = [], {name: [slow[name]] if name in slow else [] for name in made}
    for _ in range(rounds):
        reference.append(step(*yardstick, kept=kept))
        for name in made.keys() - slow.keys():
            seconds[name].append(step(*made[name], kept=kept))
    usual = statistics.median(reference)
    found = {}
    for name, each in seconds.items():
        ratios = [each[0] / usual] if name in slow else [a / b for a, b in zip(each, reference, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        found[name] = Time(middle, (high - low) / 2, 1e3 * statistics.median(each))
    return found


@dataclass(frozen=True)
class OnGpu:
    """What a pass puts on a GPU: how many kernels and copies, and how long they take together."""

    launches: int
    milliseconds: float


def on_gpu(made: Made) -> OnGpu:
    """The kernels and copies of a pass, as the profiler sees them."""
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as found:
        step(*made)
    every = [it for it in found.events() or () if it.device_type == DeviceType.CUDA]
    return OnGpu(len(every), sum(it.time_range.elapsed_us() for it in every) / 1e3)


def floor(on: On) -> float:
    """Milliseconds in which a GPU copies as much as a loss must move.

    That is to read logits and labels twice, and to write the gradient once.
    """
    logits, target = sample(on)
    moved = 3 * _size(logits) + 2 * _size(target)
    source = torch.empty(moved // 2, dtype=torch.uint8, device=on.device)
    copy = torch.empty_like(source)
    copies = []
    for _ in range(7):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        copy.copy_(source)
        end.record()
        torch.cuda.synchronize()
        copies.append(start.elapsed_time(end))
    return statistics.median(copies)


def compile_first(subjects: Iterable[Subject], shapes: Iterable[tuple[int, ...]]) -> None:
    """Have a child compile what is compiled on first use, for the children that are measured to find on disk."""
    with contextlib.suppress(ImportError):
        importlib.import_module("segloss.core.native_lovasz")  # which takes a child as long as a loss
    child = os.fork()
    if child == 0:
        try:
            torch.set_num_threads(1)
            few = {(1, min(it[1], 4), *(24 for _ in it[2:])) for it in shapes}  # enough voxels that all is met
            for subject, shape in itertools.product(subjects, few):
                with contextlib.suppress(Exception):  # what it has against these logits is said where it is measured
                    made = subject.make(On(shape))
                    _ = made and step(*made)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def memory(subject: Subject, on: On) -> Peak:
    """The peak of a pass in units of the logits, gradient included.

    On the CPU it is the rise of the peak resident size of a child that uses one thread (Linux with the GNU library).
    On CUDA the allocator counts.
    """
    if on.device == "cuda":
        return _tried(_allocated, subject, on)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(LIMIT)
            os.write(write, json.dumps(asdict(_tried(_resident_rise, subject, on))).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        text = pipe.read()
    _, status = os.waitpid(child, 0)
    if text:
        return Peak(**json.loads(text))
    late = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGALRM
    return Peak(None, f"more than {LIMIT} s" if late else f"the process ended with status {status}")


def _tried(rise: Callable[[Subject, On], float | None], subject: Subject, on: On) -> Peak:
    try:
        return Peak(rise(subject, on))
    except Exception as error:  # whatever a loss, or that of another library, has against these logits
        said = str(error).partition(";")[0].partition("\n")[0]
        return Peak(None, said if isinstance(error, ValueError) else f"{type(error).__name__}: {said}")


def _resident_rise(subject: Subject, on: On) -> float | None:
    torch.set_num_threads(1)
    small = subject.make(On((1, on.shape[1], *(16 for _ in on.shape[2:])), on.dtype))
    if small:
        step(*small)
    made = subject.make(on)
    if made is None:
        return None
    ctypes.CDLL(None).malloc_trim(0)  # what making the inputs has freed goes back, so that it cannot be used unseen
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident("VmRSS")
    step(*made)
    return (_resident("VmHWM") - before) * 1024 / _size(made[0])


def _allocated(subject: Subject, on: On) -> float | None:
    made = subject.make(on)
    if made is None:
        return None
    step(*made)
    made[0].grad = None
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step(*made)
    return (torch.cuda.max_memory_allocated() - before) / _size(made[0])


def _size(x: Tensor) -> int:
    return x.numel() * x.element_size()


def _resident(field: str) -> int:
    """A field of the process status, in kB."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if field in line)
