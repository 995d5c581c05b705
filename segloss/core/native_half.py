"""The pass over logits in half precision, by the same loops: piece after piece in float32."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import native_pass
from segloss.core.blocks import Block
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.memory import empty, empty_like
from segloss.core.truth import How

PIECE = 2**20
"""Values of a piece."""
Piece = tuple[Block, Tensor, Tensor | None, How]

try_out = native_pass.try_out


def takes(logits: Block, labels: Tensor, how: How) -> bool:
    """Whether a pass is one of the loops."""
    return logits.dtype in (torch.float16, torch.bfloat16) and native_pass.knows(logits, labels, how)


def room_for(logits: Block, how: How) -> None:
    """No space for a map, which the gradient finds again."""


def fused_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: None
) -> tuple[Tensor | None, LogP | None, ByTruth | None]:
    """The pass of `sums`."""
    sums, losses = [], []
    shape = len(logits), 1 if how.joint else logits.shape[1], logits.shape[2]
    log_p = empty(shape, torch.float32) if how.likelihood else None
    for at, piece in _pieces(logits, labels, valid, how):
        of_sums, of_log_p, of_losses = native_pass.fused_pass(*piece, room)
        sums.append(of_sums)
        losses.append(of_losses)
        if log_p is not None and of_log_p is not None:
            log_p[..., at] = of_log_p
    return _total(sums), log_p, _total(losses)


def fused_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: None,
    of_sums: Float[Tensor, "B K C"] | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass."""
    gradient = empty_like(logits)
    for at, piece in _pieces(logits, labels, valid, how):
        of_piece = None if of_log_p is None else of_log_p[..., at]
        gradient[..., at] = native_pass.fused_gradient(*piece, room, of_sums, of_piece, of_losses)
    return gradient


def _pieces(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> Iterator[tuple[slice, Piece]]:
    """Some voxels of every image, and what the loops are given of them."""
    step = max(1, PIECE // logits[..., 0].numel())
    for first in range(0, logits.shape[2], step):
        at = slice(first, first + step)
        weights = None if how.weights is None else how.weights[..., at]
        here = None if valid is None else valid[..., at]
        yield at, (logits[..., at].float(), labels[..., at], here, replace(how, weights=weights))


def _total(parts: list[Tensor | None]) -> Tensor | None:
    there = [it for it in parts if it is not None]
    return torch.stack(there).sum(0) if there else None
