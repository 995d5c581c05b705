"""Functions with a gradient of their own."""

import inspect
from typing import Any

import torch


class Function(torch.autograd.Function):
    """That of torch, which reads what a call takes once and not at every call."""

    def __init_subclass__(cls, **given: Any) -> None:
        """Keep what `forward` takes with it."""
        super().__init_subclass__(**given)
        vars(cls.forward)["__signature__"] = inspect.signature(cls.forward)
