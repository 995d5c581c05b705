"""What is compiled for a processor, where it can be."""

import importlib
from functools import cache
from types import ModuleType


@cache
def compiled(name: str) -> ModuleType | None:
    """A module of the core that needs a compiler, or None where numba, triton or a compiler of theirs is not there."""
    try:
        module = importlib.import_module(f"segloss.core.{name}")
        module.try_out()
    except Exception:  # whatever they say of a processor or a compiler, plain operations do without
        return None
    return module
