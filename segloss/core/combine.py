"""Losses out of losses: a weighted sum, and a sum over the outputs of a deeply supervised network."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from segloss.core.sharing import sharing

Criterion = Callable[..., Tensor]
Weighted = tuple[float, Criterion]


class Compound(nn.Module):
    r"""A weighted sum of losses, $\sum_k w_k L_k$, whose terms are reported one by one.

    Terms that stand on the same sums share one pass over the logits. Each term is given those of the further inputs
    (`mask`, `distance`, ...) that it takes.

    Args:
        terms: Pairs of weight and loss, module or function; or a mapping from the name of a term to such a pair.
            Without a mapping the terms are named after their losses, `dice_loss` for `DiceLoss`.

    Attributes:
        values: The value of every term at the last call, unweighted and detached, by name.

    Raises:
        ValueError: If there is no term, or a weight is not a number.

    Examples:
        >>> criterion = segloss.Compound([(1.0, segloss.DiceLoss(smooth=1e-5)), (0.5, segloss.JaccardLoss())])
        >>> logits, target = torch.zeros(1, 2, 4), torch.tensor([[0, 1, 1, 0]])
        >>> criterion(logits, target)
        tensor(0.8333)
        >>> criterion.values
        {'dice_loss': tensor(0.5000), 'jaccard_loss': tensor(0.6667)}
    """

    def __init__(self, terms: Sequence[Weighted] | Mapping[str, Weighted]) -> None:
        """Name and keep the terms."""
        super().__init__()
        pairs = list(terms.values()) if isinstance(terms, Mapping) else list(terms)
        if not pairs:
            raise ValueError("terms must hold at least one pair of weight and loss")
        for pair in pairs:
            known = isinstance(pair, Sequence) and len(pair) == 2
            if not known or not isinstance(pair[0], int | float) or not callable(pair[1]):
                raise ValueError(f"terms must be pairs of a number and a loss, got {pair!r}")
        names = list(terms) if isinstance(terms, Mapping) else _distinct([_name(loss) for _, loss in pairs])
        self.weights = dict(zip(names, (float(weight) for weight, _ in pairs), strict=True))
        self.losses = nn.ModuleDict({n: _as_module(loss) for n, (_, loss) in zip(names, pairs, strict=True)})
        self.values: dict[str, Tensor] = {}

    def forward(self, logits: Tensor, target: Tensor, **inputs: Any) -> Tensor:
        """The weighted sum."""
        taken = {name: _taken(loss, inputs) for name, loss in self.losses.items()}
        unused = set(inputs).difference(*taken.values())
        if unused:
            raise TypeError(f"no term takes {', '.join(sorted(unused))}")
        with sharing():
            values = {name: loss(logits, target, **taken[name]) for name, loss in self.losses.items()}
        self.values = {name: value.detach() for name, value in values.items()}
        return torch.stack([self.weights[name] * value for name, value in values.items()]).sum(0)

    def extra_repr(self) -> str:
        """The weights."""
        return ", ".join(f"{name}: {weight:g}" for name, weight in self.weights.items())


class DeepSupervision(nn.Module):
    r"""A loss taken at every output of a deeply supervised network, $\sum_l w_l L(z_l, g_l)$.

    The target $g_l$ and further inputs of the shape of the image are resampled to each output by nearest neighbour.

    Args:
        criterion: The loss of one output.
        weights: Weight of each output, finest first; an output of weight 0 is left out. None stands for weights that
            halve from output to output and add up to 1.

    Attributes:
        values: The loss of every output at the last call, unweighted and detached.

    Examples:
        >>> criterion = segloss.DeepSupervision(segloss.DiceLoss())
        >>> outputs = [torch.zeros(1, 2, 8), torch.zeros(1, 2, 4)]
        >>> criterion(outputs, torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1]]))
        tensor(0.5000)
    """

    def __init__(self, criterion: Criterion, weights: Sequence[float] | None = None) -> None:
        """Keep the loss and its weights."""
        super().__init__()
        self.criterion = _as_module(criterion)
        self.weights = None if weights is None else tuple(float(w) for w in weights)
        self.values: list[Tensor] = []

    def forward(self, outputs: Tensor | Sequence[Tensor], target: Tensor, **inputs: Any) -> Tensor:
        """The weighted sum over the outputs: a sequence, finest first, or stacked as (B, L, C, \\*S); or one output."""
        levels = _levels(outputs, target)
        weights = self._weights_of(len(levels))
        space, values = target.shape[1:] if target.ndim < levels[0].ndim else target.shape[2:], []
        for weight, logits in zip(weights, levels, strict=True):
            if weight:
                size = logits.shape[2:]
                resized = {k: resample(v, size) if _is_map(v, space) else v for k, v in inputs.items()}
                values.append((weight, self.criterion(logits, resample(target, size), **resized)))
        if not values:
            raise ValueError("weights must not all be 0")
        self.values = [value.detach() for _, value in values]
        return torch.stack([weight * value for weight, value in values]).sum(0)

    def _weights_of(self, levels: int) -> Sequence[float]:
        if levels == 1:
            return (1.0,)
        if self.weights is None:
            return [2.0**-level / (2 - 2.0 ** (1 - levels)) for level in range(levels)]
        if len(self.weights) != levels:
            raise ValueError(f"weights must be {levels}, one an output, got {len(self.weights)}")
        return self.weights


def resample(x: Tensor, size: Sequence[int]) -> Tensor:
    """Labels, (B, \\*S) or (B, C, \\*S), at another resolution, by nearest neighbour."""
    if x.shape[-len(size) :] == tuple(size):
        return x
    lead = x.shape[: x.ndim - len(size)]
    flat = x.reshape(x.shape[0], -1, *x.shape[-len(size) :])
    kind = x.dtype if x.is_floating_point() else torch.float64
    return F.interpolate(flat.to(kind), tuple(size), mode="nearest-exact").to(x.dtype).reshape(*lead, *size)


def _is_map(x: Any, space: Sequence[int]) -> bool:
    """Whether an input has a value for every voxel."""
    return isinstance(x, Tensor) and x.ndim > len(space) and x.shape[-len(space) :] == tuple(space)


def _levels(outputs: Tensor | Sequence[Tensor], target: Tensor) -> list[Tensor]:
    """The outputs, finest first."""
    if not isinstance(outputs, Tensor):
        if not outputs:
            raise ValueError("outputs must hold at least one tensor")
        return list(outputs)
    spaces = (target.shape[1:], target.shape[2:])
    if outputs.ndim >= 4 and outputs.shape[2:] not in spaces and outputs.shape[3:] in spaces:
        return list(outputs.unbind(1))
    return [outputs]


class _Function(nn.Module):
    """A loss function as a module."""

    def __init__(self, function: Criterion) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.function(*args, **kwargs)


def _as_module(loss: Criterion) -> nn.Module:
    return loss if isinstance(loss, nn.Module) else _Function(loss)


def _taken(loss: nn.Module, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the inputs that a loss takes."""
    call = loss.function if isinstance(loss, _Function) else loss.forward
    parameters = inspect.signature(call).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return dict(inputs)
    return {name: value for name, value in inputs.items() if name in parameters}


def _name(loss: Criterion) -> str:
    name = getattr(loss, "__name__", None) or getattr(getattr(loss, "func", None), "__name__", type(loss).__name__)
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


def _distinct(names: list[str]) -> list[str]:
    """The names, those that occur again numbered."""
    return [f"{name}_{names[: i + 1].count(name)}" if names.count(name) > 1 else name for i, name in enumerate(names)]
