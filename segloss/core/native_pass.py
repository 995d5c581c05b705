"""The pass over the logits by the loops that numba compiles for the CPU."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from segloss.core.blocks import Block, kept, part, parts, weighted
from segloss.core.compiled import FULL_OR_HALF
from segloss.core.errors import prices_of_errors, sums_of_errors
from segloss.core.likelihood import ByTruth, LogP, by_truth, of_truth
from segloss.core.memory import empty, empty_like
from segloss.core.native_classes import class_gradient, class_pass
from segloss.core.native_half import array_of
from segloss.core.native_math import f32, loop
from segloss.core.native_pair import pair_gradient, pair_pass
from segloss.core.native_parts import parts_of
from segloss.core.native_together import together_gradient, together_pass
from segloss.core.pair import prices_of, sums_of
from segloss.core.threads import in_threads
from segloss.core.truth import How, VoxelLoss, bounds, truth

_NO_MAP = [np.empty((0,) * axes, f32) for axes in range(5)]


def takes(logits: Block, labels: Tensor, how: How) -> bool:
    """Whether a pass is one of the loops."""
    if logits.dtype not in FULL_OR_HALF or logits.numel() == 0 or not all(term.errors for term in how.terms):
        return False
    if how.known is not None:
        return not (_is_mapped(how) or how.squares or how.cost is not None or how.lowered is not None or how.scale != 1)
    if how.activation == "softmax":
        return how.exclusive
    return how.activation == "sigmoid" and not labels.is_floating_point()


def try_out() -> None:
    """Run what is short, which fails where loops cannot be compiled."""
    in_threads(1, 1, _nothing)


@loop
def _nothing(part, parts):
    return part + parts


def room_for(logits: Block, how: How) -> LogP | None:
    """Space for what the gradient is found from: errors, or the map of a loss that the loops do not know."""
    if _keeps_errors(logits, how):
        return empty_like(logits)
    return empty_map(logits, how.joint) if how.slope is not None and _is_mapped(how) else None


def empty_map(logits: Block, joint: bool) -> LogP:
    """Space for the log-probability of the truth at every voxel."""
    return empty((len(logits), 1 if joint else logits.shape[1], logits.shape[2]), torch.float32)


def fused_pass(
    logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: LogP | None
) -> tuple[Tensor | None, LogP | None, ByTruth | None]:
    """The pass of `sums`; the errors or the log-probabilities are left in `room`, if given, for the gradient."""
    errors, room = (room, None) if _keeps_errors(logits, how) else (None, room)
    log_p = empty_map(logits, how.joint) if room is None and (how.likelihood or _is_mapped(how)) else room
    images, classes, _ = logits.shape
    pair, shares, powers = _is_pair(logits, how), parts_of(logits, how.cores), _powers(how)
    of_squares = 0 if not how.squares else 1 if how.weights is None else 3
    shape = (2 + of_squares + len(how.terms), 1 if how.joint else classes, 2) if pair else (sum(how.kinds), classes)
    sums = np.zeros((images if how.sums else 0, shares, *shape))
    losses = np.zeros((images if powers else 0, shares, len(powers), *shape[1:]))
    run = together_pass if how.known is not None else pair_pass if pair else class_pass
    maps = [_map(log_p), _map(errors)] if run is pair_pass else [_map(log_p)]
    in_threads(how.cores, shares, run, *_given(logits, labels, valid, how), sums, losses, *maps)
    found = None
    if powers:
        found = torch.from_numpy(losses.sum(1))
        if pair:
            found = found[:, :, 0] if how.joint else found[:, 0].flip(2).transpose(1, 2)
    elif how.voxel is not None and log_p is not None:
        found = _by_truth(logits, labels, valid, how, how.voxel, log_p)
    if how.likelihood and log_p is room and log_p is not None:
        log_p = log_p.clone()
    of_sums = None
    if how.sums:
        added = sums.sum(1)
        of_sums = sums_of(torch.from_numpy(added), how) if pair else torch.from_numpy(sums_of_errors(added))
    return of_sums, log_p if how.likelihood else None, found


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
    step: Sequence[Tensor] = (),
) -> Block:
    """The gradient with respect to the logits of the priced outputs of a pass, over `of_log_p` if that is the room.

    It is added to the one that it comes `onto`, where there is one. A `step` of two choices is that of `pair_gradient`.
    """
    rise = None if of_log_p is None else of_log_p.float()
    if of_losses is not None and _is_mapped(how):
        found = _rise(logits, labels, valid, how, room, of_losses)
        rise, of_losses = found if rise is None else found.add_(rise), None
    if _is_pair(logits, how):
        of_q, of_squares, of_terms, of_losses = prices_of(of_sums, of_losses, how, torch.float32)
        slopes = torch.stack([*of_squares, torch.zeros_like(of_squares[0])][:2]) if of_squares else None
        terms = torch.stack(of_terms) if of_terms else None
        of_losses = None if of_losses is None else of_losses.unsqueeze(2 if how.joint else 1)
        prices = [_map(of_q), _map(slopes, 4), _map(terms, 4), _map(of_losses, 4)]
    else:
        price = None if of_sums is None else prices_of_errors(of_sums, how)
        prices = [_map(price), _map(of_losses)]
    over = room is not None and room is of_log_p
    gradient = room if room is not None and (over or _keeps_errors(logits, how)) else onto
    gradient = empty_like(logits) if gradient is None else gradient
    run = together_gradient if how.known is not None else pair_gradient if _is_pair(logits, how) else class_gradient
    alone = [np.array(step, f32), gradient is room and not over] if run is pair_gradient else []
    given = *_given(logits, labels, valid, how), *prices, _map(rise), *alone, gradient is onto
    in_threads(how.cores, parts_of(logits, how.cores), run, *given, array_of(gradient))
    return gradient


def _is_pair(logits: Block, how: How) -> bool:
    return how.known is None and (not how.joint or logits.shape[1] == 2)


def _keeps_errors(logits: Block, how: How) -> bool:
    """Whether the gradient of choices between two is found from their errors, which take space from the pass on.

    Not where little would be found again, or where losses, being several or of weights or likelihoods, have other maps.
    Errors do not tell large logits apart, whose cross-entropy has slopes that powers of it and bounds depend on.
    """
    if logits.dtype != torch.float32 or how.likelihood or how.weights is not None:
        return False
    if not (how.voxel or how.terms or how.squares):
        return False
    powers = _powers(how)
    known = how.voxel is None or (how.voxel.clamp == 0 and len(powers) == 1 and powers[0][1] in (0, 1))
    return known and _is_pair(logits, how)


def _powers(how: How) -> tuple[tuple[float, float], ...]:
    return () if how.voxel is None else how.voxel.powers


def _is_mapped(how: How) -> bool:
    """Whether the loss of a voxel is one that the loops do not know."""
    return how.voxel is not None and not how.voxel.powers


def _map(x: Tensor | None, axes: int = 3) -> np.ndarray:
    """As loops read it; what is not there is empty."""
    return _NO_MAP[axes] if x is None else x.detach().float().contiguous().numpy()


def _yes_or_no(x: Tensor | None) -> np.ndarray:
    """What is true or not, as loops read it."""
    return np.empty((0, 0), np.uint8) if x is None else x.contiguous().view(torch.uint8).numpy()


def _given(logits: Block, labels: Tensor, valid: Tensor | None, how: How) -> tuple[Any, ...]:
    """The inputs of a loop."""
    images, classes, voxels = logits.shape
    labels = labels.view(torch.uint8) if labels.dtype == torch.bool else labels
    labels = labels if labels.dtype == torch.uint8 else labels.long()  # a loop is compiled for each type
    of_images = [None if it is None else it.expand(images, 1, voxels)[:, 0] for it in (valid, how.weights)]
    inputs = [array_of(logits)]
    if _is_pair(logits, how):  # voxel after voxel, or channel after channel: either way the axes are in their order
        by_voxel = labels.stride(1) < labels.stride(2)
        inputs += [(labels.transpose(1, 2) if by_voxel else labels).numpy(), by_voxel]
    else:
        inputs += [labels.contiguous().numpy()]
    inputs += [_yes_or_no(of_images[0]), _map(of_images[1], 2)]
    powers = np.array(_powers(how), f32).reshape(-1, 2)
    errors = [tuple(zip(*it.errors, strict=True)) for it in how.terms if it.errors]
    terms = np.array(errors, f32) if errors else None  # without them there is far less to compile
    clamp = 0.0 if how.voxel is None else how.voxel.clamp
    limits = np.array([*bounds(clamp), clamp], f32)
    if how.known is not None:
        return *inputs, _yes_or_no(how.known), powers, limits, terms
    factors = f32(how.scale), powers, limits, how.squares, terms
    if _is_pair(logits, how):
        lowered = torch.zeros(classes) if how.lowered is None else how.lowered.detach()
        lowered = lowered.view(1, 2) if how.joint else lowered.view(-1, 1).expand(-1, 2)
        return *inputs, _map(lowered, 2), how.joint, *factors
    return *inputs, _map(how.lowered, 1), _map(None if how.cost is None else how.cost.T, 2), *factors


def _by_truth(logits: Block, labels: Tensor, valid: Tensor | None, how: How, f: VoxelLoss, log_p: LogP) -> ByTruth:
    """The sums of a loss from the map of the log-probabilities, part after part."""
    found = torch.zeros(log_p.shape[0], f.losses if how.joint else 2, logits.shape[1], dtype=torch.float64)
    for at in parts(logits, cores=how.cores):
        here, likely = part(valid, at), at.of(log_p)
        loss = weighted(kept(f.value(-likely.expm1(), -likely), here), part(how.weights, at))
        g = truth(likely.expand(-1, logits.shape[1], -1), at.of(labels), here, how)
        at.add(found, by_truth(loss, g, how.joint, logits.shape[1]))
    return found


def _rise(logits: Block, labels: Tensor, valid: Tensor | None, how: How, room: LogP | None, of_losses: ByTruth) -> LogP:
    """The slope of the priced losses with respect to the log-probabilities, which are in `room` if given."""
    if room is None:
        alone = replace(how, squares=False, cost=None, sums=False, voxel=None, likelihood=True)
        room = cast(LogP, fused_pass(logits, labels, valid, alone, None)[1])
    for at in parts(logits, cores=how.cores):
        here, likely = part(valid, at), at.of(room)
        g = truth(likely.expand(-1, logits.shape[1], -1), at.of(labels), here, how)
        fall = of_truth(at.each(of_losses).float(), g, how.joint)
        if how.slope is not None:
            fall = fall.mul_(how.slope(-likely.expm1(), -likely))
        fall = weighted(fall.sum(1, keepdim=True) if how.joint and fall.shape[1] > 1 else fall, part(how.weights, at))
        likely.copy_(kept(fall, here).neg_())
    return room
