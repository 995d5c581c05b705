"""The module form of a loss."""

from typing import Any

from torch import Tensor, nn


class Loss(nn.Module):
    """Keeps the keywords of a loss function; tensors among them are buffers and move with the module."""

    def __init__(self, **keywords: Any) -> None:
        """Keep `keywords` for every call."""
        super().__init__()
        self._names = tuple(keywords)
        for name, value in keywords.items():
            if isinstance(value, Tensor):
                self.register_buffer(name, value, persistent=False)
            else:
                setattr(self, name, value)

    @property
    def keywords(self) -> dict[str, Any]:
        """The keywords the function is called with."""
        return {name: getattr(self, name) for name in self._names}

    def extra_repr(self) -> str:
        """The keywords that differ from the defaults of the signature."""
        defaults = type(self).__init__.__kwdefaults__ or {}
        changed = {k: v for k, v in self.keywords.items() if isinstance(v, Tensor) or v != defaults.get(k)}
        return ", ".join(f"{k}={v.tolist() if isinstance(v, Tensor) else v!r}" for k, v in changed.items())
