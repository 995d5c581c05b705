"""The pass over the logits by the kernels of a GPU."""

# pyright: reportCallIssue=false, reportArgumentType=false

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core import kernels
from segloss.core.blocks import Block, kept, weighted
from segloss.core.errors import prices_of_errors, sums_of_errors
from segloss.core.inputs import sum_dtype
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.truth import How, VoxelLoss

TILE, TILES, WARPS = 1024, 4, 2
"""Values of a tile, tiles of a program, and warps that share a tile."""
CLASSES, ROWS, VALUES = 1024, 2**16, 2**31
"""More classes, more rows, or more values of an image, the kernels do not take."""


def takes(logits: Block, labels: Tensor, how: How) -> bool:
    """Whether a pass is one of the kernels."""
    images, classes, voxels = logits.shape
    if logits.dtype == torch.float64 or how.terms:
        return False
    plain = how.cost is None and how.known is None
    if how.activation == "softmax":
        only_sums = plain and how.lowered is None and how.voxel is None and not how.likelihood
        return (only_sums or not how.dense) and classes <= CLASSES and classes * voxels < VALUES and images < ROWS
    known = how.voxel is None or _focus(how.voxel) is not None
    return how.activation == "sigmoid" and plain and known and images * classes < ROWS and voxels < VALUES


def try_out() -> None:
    """Run once, which fails where kernels cannot be compiled."""
    device = torch.device("cuda")
    logits, labels = torch.zeros(1, 2, 1, device=device), torch.zeros(1, 1, 1, dtype=torch.long, device=device)
    fused_gradient(
        logits, labels, None, How("softmax", False, True), None, torch.zeros(1, 3, 2, device=device), None, None
    )


def fused_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: LogP | None
) -> tuple[Tensor | None, LogP | None, ByTruth | None]:
    """The pass of `sums`; the log-probabilities are left in `room`, if given, for the gradient."""
    images, classes, voxels = logits.shape
    given, flags, grid = _given(logits, labels, valid, how)
    joint, focus = how.joint, _focus(how.voxel)
    mapped = how.voxel is not None and focus is None
    log_p = empty_map(logits, joint) if room is None and (how.likelihood or mapped) else room
    sums = losses = None
    if how.sums:
        sums = logits.new_empty(images, grid[0], sum(how.kinds), classes, dtype=torch.float32)
    if focus is not None:
        losses = logits.new_empty(images, grid[0], 1 if joint else 2, classes, dtype=torch.float32)
    run = kernels.softmax_pass if how.activation == "softmax" else kernels.sigmoid_pass
    with torch.cuda.device_of(logits):
        run[grid](
            *given, focus or 0.0, *(logits if it is None else it for it in (sums, losses, log_p)), voxels, classes,
            *logits.stride(), SUMS=how.sums, SQUARES=how.squares, LOG_P=log_p is not None, **_loss(focus), **flags,
        )  # fmt: skip
    dtype = sum_dtype(logits.device)
    if losses is not None:
        losses = losses.sum(1, dtype=dtype)
    elif how.voxel is not None and log_p is not None:
        losses = _by_truth(log_p, labels, valid, how, how.voxel, classes)
    if how.likelihood and log_p is room and log_p is not None:
        log_p = log_p.clone()
    if sums is not None:
        sums = sums_of_errors(sums.sum(1, dtype=dtype))
    return sums, log_p if how.likelihood else None, losses


def fused_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: LogP | None,
    of_sums: Float[Tensor, "B K C"] | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
    onto: Block | None = None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass, added to the one it comes `onto`."""
    voxels, classes = logits.shape[2], logits.shape[1]
    given, flags, grid = _given(logits, labels, valid, how)
    rise, focus = None if of_log_p is None else of_log_p.float(), _focus(how.voxel)
    if of_losses is not None and focus is None and how.voxel is not None:
        label = kept(labels.long(), valid).expand(-1, of_losses.shape[1], -1)
        fall = of_losses.float().gather(2, label)
        if how.slope is not None:
            log_p = room if room is not None else _log_p(logits, labels, valid, how)
            fall.mul_(how.slope(-log_p.expm1(), -log_p))
        fall = weighted(fall.sum(1, keepdim=True) if fall.shape[1] > 1 else fall, how.weights)
        rise = fall.neg_() if rise is None else rise - fall
        of_losses = None
    price = None if of_sums is None else prices_of_errors(of_sums, how)
    priced = (None if it is None else it.float().contiguous() for it in (price, of_losses, rise))
    gradient = torch.empty_like(logits)
    run = kernels.softmax_gradient if how.activation == "softmax" else kernels.sigmoid_gradient
    with torch.cuda.device_of(logits):
        run[grid](
            *given, focus or 0.0, *(logits if it is None else it for it in priced), gradient, voxels, classes,
            *logits.stride(), *gradient.stride(), SUMS=price is not None, SQUARES=how.squares and price is not None,
            RISES=rise is not None, **_loss(focus if of_losses is not None else None), **flags,
        )  # fmt: skip
    return gradient if onto is None else onto.add_(gradient)


def room_for(logits: Block, how: How) -> LogP | None:
    """Space for what the way back needs from the way there: no more than the kernels do not find again."""
    return empty_map(logits) if how.slope is not None and _focus(how.voxel) is None else None


def empty_map(logits: Block, joint: bool = True) -> LogP:
    """Space for the log-probability of the truth at every voxel."""
    images, classes, voxels = logits.shape
    return logits.new_empty(images, 1 if joint else classes, voxels, dtype=torch.float32)


def _given(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How
) -> tuple[list[Any], dict[str, Any], tuple[int, int]]:
    """The inputs of a kernel, what it is told of them, and how many programs there are."""
    given = {"WEIGHTED": how.weights, "LOWERED": how.lowered, "TOGETHER": how.known, "COST": how.cost}
    if how.activation == "sigmoid":
        given = {"WEIGHTED": how.weights, "LOWERED": how.lowered}
    labels = labels.contiguous()
    inputs = [logits, labels.view(torch.uint8) if labels.dtype == torch.bool else labels]
    for x in (valid, *given.values()):
        if x is not None:
            x = x.contiguous()
            x = x.view(torch.uint8) if x.dtype == torch.bool else x.float()
        inputs.append(labels if x is None else x)
    inputs.append(float(how.scale))
    flags = {name: x is not None for name, x in given.items()}
    flags |= {"DENSE": how.dense, "MASKED": valid is not None}
    if how.activation == "softmax":
        grid, tile = _tiles(logits)
        return inputs, {**flags, **tile}, (grid, logits.shape[0])
    flags |= {"VOXELS": TILE, "TILES": TILES, "num_warps": WARPS}
    return inputs, flags, (-(-logits.shape[2] // (TILE * TILES)), logits.shape[0] * logits.shape[1])


def _tiles(logits: Block) -> tuple[int, dict[str, int]]:
    """The number of programs of an image whose classes exclude each other, and the size of their tiles."""
    classes = 2 ** (logits.shape[1] - 1).bit_length()
    voxels = max(1, TILE // classes)
    tile = {"CLASSES": classes, "VOXELS": voxels, "TILES": TILES, "num_warps": WARPS}
    return -(-logits.shape[2] // (voxels * TILES)), tile


def _focus(voxel: VoxelLoss | None) -> float | None:
    """The exponent of a loss that is but a power of q times the cross-entropy."""
    if voxel is None or voxel.clamp or len(voxel.powers) != 1 or voxel.powers[0][1] != 1:
        return None
    return voxel.powers[0][0]


def _loss(focus: float | None) -> dict[str, Any]:
    """What a kernel is told of the loss of a voxel; powers below 1 end where `pointwise.power` lets them."""
    edge = torch.finfo(torch.float32).eps if focus is not None and focus < 1 else 0.0
    return {"LOSS": focus is not None, "FOCUS": bool(focus), "EDGE": edge}


def _by_truth(log_p: LogP, labels: Tensor, valid: Tensor | None, how: How, f: VoxelLoss, classes: int) -> ByTruth:
    """The sums of a loss that the kernels do not know, from its map."""
    loss = weighted(f.value(-log_p.expm1(), -log_p), how.weights).contiguous()
    images, number, voxels = loss.shape
    grid, tile = _tiles(log_p.expand(-1, classes, -1))
    parts = loss.new_empty(images, number, grid, classes)
    given, flags, _ = _given(log_p, labels, valid, How("softmax", False, True))
    with torch.cuda.device_of(loss):
        kernels.by_truth[grid, images * number](
            loss, given[1], given[2], parts, voxels, classes, number, MASKED=flags["MASKED"], **tile
        )
    return parts.sum(2, dtype=sum_dtype(log_p.device))


def _log_p(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> LogP:
    log_p = empty_map(logits)
    fused_pass(logits, labels, valid, replace(how, squares=False, cost=None, sums=False, voxel=None), log_p)
    return log_p
