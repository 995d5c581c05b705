"""The pass over the logits on a GPU, of hard labels under softmax: one kernel each way, with no map of the classes.

A program takes a few tiles of all classes and some voxels of one image. What each has added up is added up afterwards,
in the same order every time.
"""

# pyright: reportMissingImports=false, reportPossiblyUnboundVariable=false, reportIndexIssue=false
# pyright: reportArgumentType=false

import torch
import triton
import triton.language as tl
from torch import Tensor

from segloss.core.blocks import Block, kept, weighted
from segloss.core.inputs import sum_dtype
from segloss.core.likelihood import ByTruth, LogP
from segloss.core.truth import How

TILE, TILES, WARPS = 1024, 4, 2
"""Values of a tile, tiles of a program, and warps that share a tile."""


@triton.jit
def _labels(labels, valid, image, voxel, voxels, MASKED: tl.constexpr):
    """The labels of some voxels, -1 where ignored."""
    within = voxel < voxels
    label = tl.load(labels + image * voxels + voxel, mask=within, other=-1).to(tl.int32)
    if MASKED:
        label = tl.where(tl.load(valid + image * voxels + voxel, mask=within, other=0) != 0, label, -1)
    return label


@triton.jit
def _tile(logits, image, voxel, classes, voxels, of_image, of_class, of_voxel, CLASSES: tl.constexpr):
    """The logits of all classes at some voxels, by class; of classes that are not there, -inf."""
    index = tl.arange(0, CLASSES)[:, None]
    at = logits + image * of_image + index * of_class + voxel[None, :] * of_voxel
    x = tl.load(at, mask=(index < classes) & (voxel < voxels)[None, :], other=0.0).to(tl.float32)
    return tl.where(index < classes, x, float("-inf"))


@triton.jit
def _pass(
    logits, labels, valid, sums, log_p, voxels, classes, of_image, of_class, of_voxel,
    MASKED: tl.constexpr, SUMS: tl.constexpr, LOG_P: tl.constexpr, CLASSES: tl.constexpr, VOXELS: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    program, programs, image = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    of_p = tl.zeros([CLASSES], tl.float32)
    of_hit = tl.zeros([CLASSES], tl.float32)
    size = tl.zeros([CLASSES], tl.float32)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        label = _labels(labels, valid, image, voxel, voxels, MASKED)
        x = _tile(logits, image, voxel, classes, voxels, of_image, of_class, of_voxel, CLASSES)
        top = tl.max(x, 0)
        e = tl.exp(x - top[None, :])
        total = tl.sum(e, 0)
        true = index[:, None] == label[None, :]
        if LOG_P:
            found = tl.sum(tl.where(true, x, 0.0), 0) - top - tl.log(total)
            tl.store(log_p + image * voxels + voxel, tl.where(label >= 0, found, 0.0), mask=voxel < voxels)
        if SUMS:
            p = tl.where((label >= 0)[None, :], e / total[None, :], 0.0)
            of_p += tl.sum(p, 1)
            of_hit += tl.sum(tl.where(true, p, 0.0), 1)
            size += tl.sum(true.to(tl.float32), 1)
    if SUMS:
        out = sums + (image * programs + program) * 3 * classes + index
        tl.store(out, of_p, mask=index < classes)
        tl.store(out + classes, of_hit, mask=index < classes)
        tl.store(out + 2 * classes, size, mask=index < classes)


@triton.jit
def _by_truth(
    loss, labels, valid, sums, voxels, classes, losses,
    MASKED: tl.constexpr, CLASSES: tl.constexpr, VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    program, programs, row = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    total = tl.zeros([CLASSES], tl.float32)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        label = _labels(labels, valid, row // losses, voxel, voxels, MASKED)
        x = tl.load(loss + row * voxels + voxel, mask=voxel < voxels, other=0.0)
        total += tl.sum(tl.where(index[:, None] == label[None, :], x[None, :], 0.0), 1)
    tl.store(sums + (row * programs + program) * classes + index, total, mask=index < classes)


@triton.jit
def _gradient(
    logits, labels, valid, rise, price, gradient, voxels, classes, of_image, of_class, of_voxel, to_image, to_class,
    to_voxel, MASKED: tl.constexpr, RISES: tl.constexpr, PRICED: tl.constexpr, CLASSES: tl.constexpr,
    VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    program, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    if PRICED:
        of_p = tl.load(price + image * 2 * classes + index, mask=index < classes, other=0.0)[:, None]
        of_hit = tl.load(price + (image * 2 + 1) * classes + index, mask=index < classes, other=0.0)[:, None]
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        label = _labels(labels, valid, image, voxel, voxels, MASKED)
        x = _tile(logits, image, voxel, classes, voxels, of_image, of_class, of_voxel, CLASSES)
        top = tl.max(x, 0)
        e = tl.exp(x - top[None, :])
        total = tl.sum(e, 0)
        p = e / total[None, :]
        true = index[:, None] == label[None, :]
        r = tl.zeros([VOXELS], tl.float32)
        if RISES:
            r += tl.load(rise + image * voxels + voxel, mask=voxel < voxels, other=0.0)
        if PRICED:
            r += tl.sum(tl.where(true, of_hit * p, 0.0), 0)
            slope = of_p - (tl.sum(of_p * p, 0) + r)[None, :]
        else:
            slope = -r[None, :]
        found = tl.where((label >= 0)[None, :], p * slope + tl.where(true, r[None, :], 0.0), 0.0)
        there = (index[:, None] < classes) & (voxel < voxels)[None, :]
        out = gradient + image * to_image + index[:, None] * to_class + voxel[None, :] * to_voxel
        tl.store(out, found.to(gradient.dtype.element_ty), mask=there)


def try_out(device: torch.device) -> None:
    """Run once, which fails where kernels cannot be compiled."""
    logits, labels = torch.zeros(1, 2, 1, device=device), torch.zeros(1, 1, 1, dtype=torch.long, device=device)
    fused_gradient(
        logits, labels, None, How("softmax", False, True), None, torch.zeros(1, 3, 2, device=device), None, None
    )


def fused_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: LogP | None
) -> tuple[Tensor | None, LogP | None, ByTruth | None]:
    """The pass of `sums`; the log-probabilities are left in `room`, if given, for the gradient."""
    images, classes, voxels = logits.shape
    grid, tile = _tiles(logits)
    labels = labels.contiguous()
    masked, mask = _mask(labels, valid)
    sums = logits.new_empty(images, grid, 3, classes, dtype=torch.float32) if how.sums else None
    log_p = empty_map(logits) if room is None and (how.likelihood or how.voxel is not None) else room
    with torch.cuda.device_of(logits):
        _pass[grid, images](
            logits, labels, mask, sums, log_p, voxels, classes, *logits.stride(),
            MASKED=masked, SUMS=how.sums, LOG_P=log_p is not None, **tile,
        )  # fmt: skip
    dtype, losses = sum_dtype(logits.device), None
    if how.voxel is not None and log_p is not None:
        loss = weighted(how.voxel.value(-log_p.expm1(), -log_p), how.weights).contiguous()
        number = loss.shape[1]
        parts = loss.new_empty(images, number, grid, classes)
        with torch.cuda.device_of(logits):
            _by_truth[grid, images * number](loss, labels, mask, parts, voxels, classes, number, MASKED=masked, **tile)
        losses = parts.sum(2, dtype=dtype)
    if how.likelihood and log_p is room and log_p is not None:
        log_p = log_p.clone()
    return None if sums is None else sums.sum(1, dtype=dtype), log_p if how.likelihood else None, losses


def fused_gradient(
    logits: Block,
    labels: Tensor,
    valid: Tensor | None,
    how: How,
    room: LogP | None,
    of_sums: Tensor | None,
    of_log_p: LogP | None,
    of_losses: ByTruth | None,
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass."""
    images, classes, voxels = logits.shape
    grid, tile = _tiles(logits)
    labels = labels.contiguous()
    masked, mask = _mask(labels, valid)
    rise = None if of_log_p is None else of_log_p.float()
    if of_losses is not None:
        label = kept(labels.long(), valid).expand(-1, of_losses.shape[1], -1)
        fall = of_losses.float().gather(2, label)
        if how.slope is not None:
            log_p = room if room is not None else _log_p(logits, labels, valid)
            fall.mul_(how.slope(-log_p.expm1(), -log_p))
        fall = weighted(fall.sum(1, keepdim=True) if fall.shape[1] > 1 else fall, how.weights)
        rise = fall.neg_() if rise is None else rise - fall
    rise = None if rise is None else rise.contiguous()
    price = None if of_sums is None else of_sums[:, :2].float().contiguous()
    gradient = torch.empty_like(logits)
    with torch.cuda.device_of(logits):
        _gradient[grid, images](
            logits, labels, mask, rise, price, gradient, voxels, classes, *logits.stride(), *gradient.stride(),
            MASKED=masked, RISES=rise is not None, PRICED=price is not None, **tile,
        )  # fmt: skip
    return gradient


def _log_p(logits: Block, labels: Tensor, valid: Tensor | None) -> LogP:
    log_p = empty_map(logits)
    fused_pass(logits, labels, valid, How("softmax", False, True, sums=False), log_p)
    return log_p


def _tiles(logits: Block) -> tuple[int, dict[str, int]]:
    """The number of programs of an image, and the size of their tiles."""
    classes = 2 ** (logits.shape[1] - 1).bit_length()
    voxels = max(1, TILE // classes)
    tile = {"CLASSES": classes, "VOXELS": voxels, "TILES": TILES, "num_warps": WARPS}
    return -(-logits.shape[2] // (voxels * TILES)), tile


def _mask(labels: Tensor, valid: Tensor | None) -> tuple[bool, Tensor]:
    return (False, labels) if valid is None else (True, valid.contiguous().view(torch.uint8))


def empty_map(logits: Block) -> LogP:
    """Space for the log-probability of the truth at every voxel."""
    return logits.new_empty(logits.shape[0], 1, logits.shape[2], dtype=torch.float32)
