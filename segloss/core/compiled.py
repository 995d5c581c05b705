"""What is compiled for a processor, where it can be."""

import importlib
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

from segloss.core.inputs import can_look_at


@cache
def compiled(name: str) -> ModuleType | None:
    """A module of the core that needs a compiler, or None where numba, triton or a compiler of theirs is not there."""
    try:
        module = importlib.import_module(f"segloss.core.{name}")
        module.try_out()
    except Exception:  # whatever they say of a processor or a compiler, plain operations do without
        return None
    return module


FULL_OR_HALF = torch.float32, torch.bfloat16, torch.float16
"""Types of logits; those of half precision are read as float32."""


def loops_for(x: Tensor, name: str, *types: torch.dtype) -> ModuleType | None:
    """A module of loops over numbers of some types, else of float32, on the CPU, where it can take a tensor."""
    if not can_look_at(x) or x.dtype not in (types or (torch.float32,)) or not 0 < x.numel() < 2**31:
        return None
    wrapped = torch._C._functorch.is_functorch_wrapped_tensor(x)  # pyright: ignore[reportAttributeAccessIssue]
    return None if wrapped else compiled(name)
