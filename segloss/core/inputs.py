"""The inputs of a loss: their layout, what they may hold, and what is said when they do not."""

from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Integer, Shaped
from torch import Tensor

from segloss.core.flat import flat
from segloss.core.sharing import is_sharing, shared

PIECE = 2**16  # values that are looked at in one go, on the CPU

Logits = Float[Tensor, "B C *S"]
Labels = Integer[Tensor, "B *S"] | Integer[Tensor, "B 1 *S"] | Shaped[Tensor, "B C *S"]
HardLabels = Integer[Tensor, "B *S"] | Integer[Tensor, "B 1 *S"] | Bool[Tensor, "B C *S"]
Mask = Shaped[Tensor, "B 1 *S"]
ClassWeight = Float[Tensor, " C"]
Value = Float[Tensor, "..."]
Activation = Literal["auto", "softmax", "sigmoid", "none"]
Reduction = Literal["mean", "sum", "none"]
Absent = Literal["smooth", "skip", "penalise"]
ResolvedActivation = Literal["softmax", "sigmoid", "none"]


@dataclass(frozen=True)
class Inputs:
    """Checked inputs with the spatial axes laid flat.

    `labels` are class indices (B, 1, N), or label values (B, C, N) where `dense`. `valid` is (B, 1, N), or None where
    every voxel counts.
    """

    logits: Shaped[Tensor, "B C N"]
    labels: Shaped[Tensor, "B K N"]
    valid: Bool[Tensor, "B 1 N"] | None
    activation: ResolvedActivation
    dense: bool
    shape: torch.Size

    @property
    def is_joint(self) -> bool:
        """Whether a voxel has one true class among several, and not a yes or no for each channel."""
        several = self.logits.shape[1] > 1
        return several and (self.activation == "softmax" or (self.activation == "none" and not self.dense))

    @property
    def outputs(self) -> int:
        """Number of yes or no, or of joint, decisions at a voxel."""
        return 1 if self.is_joint else self.logits.shape[1]

    def without_logits(self) -> "Inputs":
        """The same for what is kept for the way back, which would keep the logits as long as the value."""
        return replace(self, logits=self.logits.new_empty(0, self.logits.shape[1], 0))

    def spatial(self, x: Shaped[Tensor, "B K N"]) -> Shaped[Tensor, "B K *S"]:
        """`x` with its spatial axes unfolded."""
        return x.unflatten(2, self.shape[2:])


def prepare(
    logits: Logits,
    target: Labels,
    *,
    activation: Activation = "auto",
    ignore_index: int | None = None,
    mask: Mask | None = None,
    soft: bool = True,
) -> Inputs:
    """Check a loss's inputs and bring them into one layout; `soft=False` refuses labels between 0 and 1.

    Values are checked where that needs no synchronisation: on the CPU, outside a compiler.
    """
    check_logits(logits)
    act = resolve_activation(activation, logits.shape[1])
    if not soft and isinstance(target, Tensor) and target.is_floating_point():
        raise ValueError(
            "target must be class indices or a boolean (B, C, *S), since this loss has no soft labels; "
            f"got {target.dtype}"
        )
    if not soft and act == "softmax" and _is_dense(logits, target):
        raise ValueError(
            "target must be class indices where a softmax makes the classes exclude each other, "
            f"got {target.dtype} {tuple(target.shape)}"
        )
    if not is_sharing():
        return _prepared(logits, target, act, ignore_index, mask)
    key = ("inputs", id(logits), id(target), id(mask), ignore_index, act)  # for a compiler, no other tensors would do
    keep = logits, target, mask  # what is kept with the value does not hand its id on
    return shared(key, lambda: (keep, _prepared(logits, target, act, ignore_index, mask)))[1]


def _prepared(
    logits: Logits, target: Labels, act: ResolvedActivation, ignore_index: int | None, mask: Mask | None
) -> Inputs:
    dense = _is_dense(logits, target)
    if dense and ignore_index is not None:
        raise ValueError(f"ignore_index={ignore_index} needs an integer target of class indices; use mask instead")
    if target.device != logits.device:
        raise ValueError(f"target is on {target.device}, but logits are on {logits.device}")

    labels = target.flatten(2) if dense else target.reshape(logits.shape[0], 1, -1)
    if not dense and labels.dtype == torch.bool:
        labels = labels.to(torch.uint8)
    valid = None if mask is None else _flat_mask(mask, logits)
    if ignore_index is not None:
        kept = labels != ignore_index
        valid = kept if valid is None else valid & kept

    x = flat(logits)
    if can_look_at(logits):
        _check_values(x, labels, valid, act, dense=dense)
    return Inputs(x, labels, valid, act, dense, logits.shape)


def resolve_activation(activation: str, channels: int) -> ResolvedActivation:
    """The activation that `auto` stands for, refused where it cannot be meant."""
    if activation == "auto":
        return "sigmoid" if channels == 1 else "softmax"
    if activation == "softmax" and channels == 1:
        raise ValueError('activation="softmax" of one channel is always 1; use "sigmoid", or two channels')
    for name in ("softmax", "sigmoid", "none"):
        if activation == name:
            return name
    raise ValueError(f'activation must be "auto", "softmax", "sigmoid" or "none", got {activation!r}')


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """The type voxels are computed in: float64 stays, all else is float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def short_labels(labels: Integer[Tensor, "..."], classes: int) -> Integer[Tensor, "..."]:
    """Labels in one byte where they fit, which take less space and compare faster; their range is to be checked."""
    return labels.to(torch.uint8) if classes < 256 else labels.long()


def sum_dtype(device: torch.device) -> torch.dtype:
    """The type sums are kept in: float64 where the device has it."""
    return torch.float32 if device.type == "mps" else torch.float64


def spatial_sum(y: Shaped[Tensor, "B C *S"]) -> Float[Tensor, "B C"]:
    """The sum over the spatial axes in the type of the sums; the voxels are added up in theirs, as a tree."""
    dtype = sum_dtype(y.device)
    return y.flatten(2).sum(2, dtype=dtype) if torch.compiler.is_compiling() else y.flatten(2).sum(2).to(dtype)


def check_reduction(reduction: str) -> None:
    """Refuse an unknown reduction."""
    one_of("reduction", reduction, ("mean", "sum", "none"))


def check_absent(absent: str) -> None:
    """Refuse an unknown policy for absent classes."""
    one_of("absent", absent, ("smooth", "skip", "penalise"))


def positive(**values: float) -> None:
    """Refuse a parameter that is not greater than zero."""
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be greater than 0, got {value}")


def not_negative(**values: float) -> None:
    """Refuse a parameter that is less than zero."""
    for name, value in values.items():
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")


def class_weight(weight: ClassWeight, logits: Logits) -> Float[Tensor, " C"]:
    """The weight of each class in the type of the sums."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a tensor, got {type(weight).__name__}")
    if weight.shape != logits.shape[1:2]:
        raise ValueError(f"weight must have shape ({logits.shape[1]},), one value a class, got {tuple(weight.shape)}")
    return weight.to(logits.device, sum_dtype(logits.device))


def class_range(logits: Logits, include_background: bool) -> range:
    """The channels that take part."""
    if not include_background and logits.shape[1] == 1:
        raise ValueError("include_background=False leaves no class where logits have one channel")
    return range(0 if include_background else 1, logits.shape[1])


def one_of(name: str, value: object, allowed: tuple[str, ...]) -> None:
    """Refuse a name that is not among those allowed."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")


def check_logits(logits: object) -> None:
    """Refuse what is not a floating (B, C, *S) with one to three spatial axes."""
    if not isinstance(logits, Tensor):
        raise TypeError(f"logits must be a tensor, got {type(logits).__name__}")
    if not logits.is_floating_point():
        raise ValueError(f"logits must be floating, got {logits.dtype}")
    if not 3 <= logits.ndim <= 5:
        raise ValueError(f"logits must be (B, C, *S) with one to three spatial axes, got shape {tuple(logits.shape)}")
    if 0 in logits.shape:
        raise ValueError(f"logits must not be empty, got shape {tuple(logits.shape)}")


def _is_dense(logits: Tensor, target: object) -> bool:
    """Whether the target holds a value for every class, (B, C, *S), rather than class indices."""
    if not isinstance(target, Tensor):
        raise TypeError(f"target must be a tensor, got {type(target).__name__}")
    b, _, *s = logits.shape
    as_values, as_indices = target.shape == logits.shape, tuple(target.shape) in ((b, *s), (b, 1, *s))
    if target.is_complex():
        raise ValueError(f"target must be integer, boolean or floating, got {target.dtype}")
    if target.is_floating_point() or (target.dtype == torch.bool and as_values):
        if as_values:
            return True
        raise ValueError(
            f"a floating target must have the shape of logits, {tuple(logits.shape)}, got {tuple(target.shape)}; "
            "class indices must be integers"
        )
    if as_indices:
        return False
    if as_values:
        raise ValueError(
            f"an integer target holds class indices, {(b, *s)} or {(b, 1, *s)}, got {tuple(target.shape)}; "
            "for one-hot or overlapping labels pass it as boolean or floating"
        )
    raise ValueError(
        f"target must be integer {(b, *s)} or {(b, 1, *s)}, or floating or boolean {tuple(logits.shape)}, "
        f"got {target.dtype} {tuple(target.shape)}"
    )


def _flat_mask(mask: object, logits: Tensor) -> Bool[Tensor, "B 1 N"]:
    if not isinstance(mask, Tensor):
        raise TypeError(f"mask must be a tensor, got {type(mask).__name__}")
    b, _, *s = logits.shape
    if tuple(mask.shape) not in ((b, 1, *s), (b, *s)):
        raise ValueError(f"mask must have shape {(b, 1, *s)}, got {tuple(mask.shape)}")
    if mask.device != logits.device:
        raise ValueError(f"mask is on {mask.device}, but logits are on {logits.device}")
    kept = mask.reshape(b, 1, -1)
    if kept.dtype == torch.bool:
        return kept
    if can_look_at(mask) and not bool(((kept == 0) | (kept == 1)).all()):
        raise ValueError("mask must be boolean or hold only 0 and 1; weights of voxels are not masks")
    return kept != 0


def can_look_at(x: Tensor) -> bool:
    """Whether values can be checked without synchronising with a device or breaking a compiled graph."""
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


def _check_values(logits: Tensor, labels: Tensor, valid: Tensor | None, activation: str, *, dense: bool) -> None:
    if not dense:
        top = max(logits.shape[1] - 1, 1)
        if found := _outside(labels, top, valid):
            raise ValueError(
                f"target holds labels from {found[0]} to {found[1]}, but there are classes 0 to {top}; "
                "name a label to leave out with ignore_index"
            )
    elif labels.dtype != torch.bool and (found := _outside(labels, 1, valid)):
        raise ValueError(f"a floating target must hold values from 0 to 1, got {found[0]} to {found[1]}")
    if activation == "none" and (found := _outside(logits, 1, valid)):
        raise ValueError(f'activation="none" takes probabilities from 0 to 1, but logits hold {found[0]} to {found[1]}')


def _outside(x: Shaped[Tensor, "B K N"], top: int, valid: Tensor | None) -> tuple[float, float] | None:
    """The extremes of `x` over the valid voxels where they leave 0 to `top`; the mask is looked at only then."""

    def fits(seen: Tensor) -> bool:
        low, high = seen.detach().aminmax()
        return low.item() >= 0 and high.item() <= top

    if fits(x):
        return None
    if valid is not None:
        pieces = zip(x.split(PIECE, 2), valid.split(PIECE, 2), strict=True)
        if all(fits(values.where(here, 0)) for values, here in pieces):
            return None
    seen = x if valid is None else x.masked_select(valid)
    return seen.min().item(), seen.max().item()
