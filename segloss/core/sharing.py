"""What losses of the same inputs may share while they are added up: their checked inputs, and the pass over them."""

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

import torch

_CACHE: ContextVar[dict[Hashable, Any] | None] = ContextVar("cache", default=None)


def sharing() -> AbstractContextManager[None]:
    """Within this block the same inputs are checked once, and passed over once; not where a compiler looks on."""
    return nullcontext() if torch.compiler.is_compiling() else _sharing()


@contextmanager
def _sharing() -> Iterator[None]:
    token = _CACHE.set({})
    try:
        yield
    finally:
        _CACHE.reset(token)


def is_sharing() -> bool:
    """Whether anything is shared now."""
    return not torch.compiler.is_compiling() and _CACHE.get() is not None


def shared(key: Hashable, make: Callable[[], Any]) -> Any:
    """What `make` gives; made once for a key while sharing."""
    cache = _CACHE.get() if is_sharing() else None
    if cache is None:
        return make()
    if key not in cache:
        cache[key] = make()
    return cache[key]
