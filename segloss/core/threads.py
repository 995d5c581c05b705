"""The threads that share a loop of the CPU."""

import ctypes
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any


def in_threads(threads: int, parts: int, run: Callable[..., Any], *given: Any) -> None:
    """`run(part, parts, *given)` for each part, by whichever thread is free.

    The threads are those of torch: one that has nothing to do waits at full speed for a while, and would slow one of
    ours that shares its core.
    """
    if min(threads, parts) <= 1:
        for part in range(parts):
            run(part, parts, *given)
        return
    todo, failed = deque(range(parts)), list[BaseException]()

    def work(_: Any = None) -> None:
        try:
            while True:
                try:
                    part = todo.popleft()
                except IndexError:
                    return
                run(part, parts, *given)
        except BaseException as error:
            failed.append(error)

    threads = min(threads, parts)
    start = _starts_team(os.getpid())
    if start is not None:
        start(_WORK(work), None, threads, 0)
    else:
        others = [_pool(os.getpid(), threads).submit(work) for _ in range(threads - 1)]
        work()
        wait(others)
    if failed:
        raise failed[0]


_WORK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_PROCESS = os.getpid()


@cache
def _starts_team(process: int) -> Callable[..., None] | None:
    """What OpenMP starts its threads with, if torch has it; a child has none of its parent's threads."""
    if process != _PROCESS:
        return None
    try:
        start = ctypes.CDLL(None).GOMP_parallel
    except (AttributeError, OSError, TypeError):
        return None
    start.argtypes, start.restype = (_WORK, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint), None
    return start


@cache
def _pool(process: int, threads: int) -> ThreadPoolExecutor:
    """Threads of a process, where those of torch cannot be had."""
    return ThreadPoolExecutor(threads, "segloss")
