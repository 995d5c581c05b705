"""Maps of every class, for losses and measures that look at the shape of a mask."""

from typing import cast

import torch
from jaxtyping import Bool, Float, Integer
from torch import Tensor

from segloss.core.blocks import At, kept, part, predicted, put
from segloss.core.compiled import FULL_OR_HALF, loops_for
from segloss.core.inputs import PIECE, Inputs, Labels, Logits, Mask, ResolvedActivation, prepare
from segloss.core.opaque import as_map, by_operator


def true_mask(x: Inputs) -> Bool[Tensor, "B C N"]:
    """Where each class is, False where ignored; this may be the target itself, and is not to be written to."""
    new = not x.dense or x.labels.is_floating_point()  # what an operator gives is
    return (_true_operator if by_operator(x.logits) and new else _true)(x.logits, x.labels, x.valid, x.dense)


def _true(logits: Tensor, labels: Tensor, valid: Tensor | None, dense: bool) -> Tensor:
    loops = loops_for(logits, "native_probability", *FULL_OR_HALF)
    if loops and not labels.is_floating_point():
        return loops.truths(labels, valid, logits)
    g = labels > 0 if dense else labels == _index(logits)
    return g if valid is None else g & valid


def predicted_mask(x: Inputs) -> Bool[Tensor, "B C N"]:
    """Where a class has a probability of more than a half, False where ignored."""
    run = _predicted_operator if by_operator(x.logits) else _predicted
    return run(x.logits.detach(), x.valid, x.activation)


def _predicted(logits: Tensor, valid: Tensor | None, activation: str) -> Tensor:
    loops = loops_for(logits, "native_probability", *FULL_OR_HALF)
    if loops and activation != "none":
        return loops.masks(logits, valid, activation == "softmax")
    if activation == "sigmoid":
        return logits > 0 if valid is None else (logits > 0) & valid
    kind = cast(ResolvedActivation, activation)
    if torch.compiler.is_compiling() or logits.device.type != "cpu":
        return predicted(logits, valid, kind) > 0.5
    found = torch.empty_like(logits, dtype=torch.bool, memory_format=torch.contiguous_format)
    voxels = max(1, PIECE // logits[..., 0].numel())
    for start in range(0, logits.shape[2], voxels):
        at = At(slice(None), slice(start, start + voxels))
        torch.gt(predicted(at.of(logits), part(valid, at), kind), 0.5, out=at.of(found))
    return found


def predicted_label(x: Inputs, dtype: torch.dtype) -> Integer[Tensor, "B N"]:
    """The class with a probability of more than a half under softmax, or the number of classes where there is none."""
    return (_label_operator if by_operator(x.logits) else _label)(x.logits.detach(), dtype)


def _label(logits: Tensor, dtype: torch.dtype) -> Tensor:
    if loops := loops_for(logits, "native_probability", *FULL_OR_HALF):
        return loops.choices(logits, dtype)
    p, label = predicted(logits, None, "softmax").max(1)
    return torch.where(p > 0.5, label, logits.shape[1]).to(dtype)


def _mask_like(logits: Tensor, *_: object) -> Tensor:
    return logits.new_empty(logits.shape, dtype=torch.bool)


def _label_like(logits: Tensor, dtype: torch.dtype) -> Tensor:
    return logits.new_empty(logits.shape[0], logits.shape[2], dtype=dtype)


_true_operator = as_map("true_mask", _true, _mask_like)
_predicted_operator = as_map("predicted_mask", _predicted, _mask_like)
_label_operator = as_map("predicted_label", _label, _label_like)


def soft_masks(x: Inputs) -> tuple[Float[Tensor, "B C N"], Float[Tensor, "B C N"]]:
    """Predicted and true membership, zero where ignored."""
    p = predicted(x.logits, x.valid, x.activation)
    g = x.labels if x.dense else x.labels == _index(x.logits)
    return p, kept(put(g, p.dtype, None), x.valid)


def hard_masks(
    logits: Logits, target: Labels, *, ignore_index: int | None = None, mask: Mask | None = None
) -> tuple[Bool[Tensor, "B C *S"], Bool[Tensor, "B C *S"]]:
    """Predicted and true voxels of every class, False where ignored; the prediction is the largest logit."""
    x = prepare(logits, target, ignore_index=ignore_index, mask=mask, soft=False)
    if x.dense and logits.shape[1] > 1:
        raise ValueError(f"target must be class indices, one label a voxel, got {target.dtype} {tuple(target.shape)}")
    scores, index = x.logits.detach(), _index(x.logits)
    predicted = scores > 0 if logits.shape[1] == 1 else scores.argmax(1, keepdim=True) == index
    predicted = predicted if x.valid is None else predicted & x.valid
    return x.spatial(predicted), x.spatial(true_mask(x))


def _index(logits: Tensor) -> Tensor:
    """The label of every channel; the only channel is that of label 1."""
    classes = logits.shape[1]
    return (
        torch.arange(classes, device=logits.device).view(1, -1, 1)
        if classes > 1
        else logits.new_ones((), dtype=torch.long)
    )
