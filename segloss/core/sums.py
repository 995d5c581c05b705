"""Class sums, sums of losses by the truth, and the log-probability of the truth at every voxel, from one pass."""

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from segloss.core.blocks import cores_for, kept
from segloss.core.inputs import Inputs, can_look_at, sum_dtype
from segloss.core.likelihood import ByTruth, LogP, by_truth
from segloss.core.masks import true_mask
from segloss.core.one_pass import Found, pass_over, passes_over, plain_pass
from segloss.core.opaque import by_operator
from segloss.core.pass_operator import is_told, operator
from segloss.core.pointwise import pointwise
from segloss.core.sharing import is_sharing, shared
from segloss.core.squares import all_squares, squares_of
from segloss.core.truth import How, Terms, VoxelLoss

Sums = Float[Tensor, "B C"]


def count(x: Inputs) -> Float[Tensor, "B 1"]:
    """Number of voxels of each image that count."""
    dtype, device = sum_dtype(x.logits.device), x.logits.device
    if x.valid is not None and can_look_at(x.valid):  # to sum it up would take eight bytes a voxel
        return torch.stack([torch.count_nonzero(it) for it in x.valid]).to(dtype).unsqueeze(1)
    if x.valid is not None:
        return x.valid.sum(2).to(dtype)
    return torch.full((x.logits.shape[0], 1), x.logits.shape[2], dtype=dtype, device=device)


def class_sums(
    x: Inputs,
    terms: Terms = (),
    cost: Tensor | None = None,
    *,
    likelihood: bool = False,
    voxel: VoxelLoss | None = None,
    weights: Float[Tensor, "B 1 N"] | None = None,
    scale: float = 1.0,
    lowered: Float[Tensor, " C"] | None = None,
    known: Bool[Tensor, "B C"] | None = None,
) -> tuple[Float[Tensor, "B K C"], LogP | None, ByTruth | None]:
    """The sums of p, p g, g, of every term, and of the cost, in this order, for each image and class.

    With `likelihood` the log-probability of the truth comes from the same pass: see `log_likelihood`. With `voxel` so
    do the sums of its losses: see `voxel_sums`. Weights of the voxels are for the terms and these losses.

    The logits are multiplied by `scale`; then `lowered` is taken off the logit of the truth, by its class, or under
    sigmoid by the channel. Where classes are not `known`, the label of the background is theirs, too: they are true
    together, the likelihood is that of all of them, and their loss is the background's.
    """
    hard = not (x.dense and x.labels.is_floating_point())
    hard = hard and (not torch.compiler.is_compiling() or by_operator(x.logits))
    factors_of = (lambda f: f.squares) if torch.compiler.is_compiling() else squares_of
    factors = [factors_of(f) if hard else None for f in terms]
    wanted = {"cost": cost, "likelihood": likelihood, "voxel": voxel, "weights": weights}
    wanted |= {"scale": scale, "lowered": lowered, "known": known}
    others = tuple(f for f, it in zip(terms, factors, strict=True) if it is None)
    how = how_of(x, squares=len(others) < len(terms), terms=others, **wanted)
    sums, log_p, losses = _run(x, how)
    if not how.squares:
        return sums, log_p, losses
    common, squares, of_others, of_cost = sums.split(how.kinds, 1)
    found = torch.tensor([it for it in factors if it is not None], dtype=sums.dtype).to(sums.device, non_blocking=True)
    of_squares, rest = iter((found @ all_squares(common, squares)).unbind(1)), iter(of_others.unbind(1))
    of_terms = [next(rest if it is None else of_squares) for it in factors]
    return torch.cat([common, torch.stack(of_terms, 1), of_cost], 1), log_p, losses


def sums_by_scale(x: Inputs, scale: float, voxel: VoxelLoss) -> Found:
    """The class sums of the logits times `scale`, and the sums of a loss of the logits as they are."""
    hows = how_of(x, scale=scale), how_of(x, sums=False, voxel=voxel)
    apart = torch.compiler.is_compiling() or is_sharing()
    of_scaled, of_given = [_run(x, how) for how in hows] if apart else passes_over(x.logits, x.labels, x.valid, *hows)
    return of_scaled[0], None, of_given[2]


def log_likelihood(x: Inputs, **change: Any) -> LogP:
    """The log-probability of the truth at every voxel, 0 where ignored.

    Under softmax that of the true class, (B, 1, N); under sigmoid that of each channel's own yes or no, (B, C, N).
    `change` are `scale`, `lowered` and `known` of `class_sums`.
    """
    return _run(x, how_of(x, sums=False, likelihood=True, **change))[1]


def voxel_sums(x: Inputs, voxel: VoxelLoss, weights: Float[Tensor, "B 1 N"] | None = None, **change: Any) -> ByTruth:
    """The sums of a loss over the voxels of each truth, without a map of it; `change` as in `log_likelihood`.

    Under softmax the sums are those of every true class, (B, 1, C), of K losses (B, K, C); under sigmoid those of each
    channel's yes and no, (B, 2, C).
    """
    return _run(x, how_of(x, sums=False, voxel=voxel, weights=weights, **change))[2]


def how_of(x: Inputs, **wanted: Any) -> How:
    """What a pass over these inputs is asked for."""
    cores = 1 if torch.compiler.is_compiling() else cores_for(x.logits)
    return How(x.activation, x.dense, x.is_joint, cores=cores, **wanted)


def _run(x: Inputs, how: How) -> tuple[Any, Any, Any]:
    def run(how: How) -> Any:
        over = plain_pass if torch.compiler.is_compiling() else pass_over
        over = operator if by_operator(x.logits) and is_told(how, x.labels) else over
        sums, log_p, losses = over(x.logits, x.labels, x.valid, how)
        if losses is not None and how.known is not None:
            losses = losses * how.known.unsqueeze(1)
        return sums, log_p, losses

    is_changed = how.scale != 1 or how.lowered is not None or how.known is not None
    alone = is_changed or how.squares or how.terms or how.cost is not None or how.weights is not None
    alone = alone or (how.voxel is not None and how.voxel.losses > 1)
    if alone or not is_sharing():
        return run(how)
    hard = not x.dense or (x.activation != "softmax" and not x.labels.is_floating_point())
    common = replace(how, sums=True, likelihood=hard, voxel=None)
    sums, log_p, _ = shared(("pass", id(x)), lambda: (x, run(common)))[1]
    if how.voxel is None:
        return sums, log_p, None
    f, classes = how.voxel, x.logits.shape[1]
    loss = kept(pointwise(lambda log_p: f.value(-log_p.expm1(), -log_p), log_p), x.valid)
    g = kept(x.labels.long(), x.valid) if how.joint else true_mask(x).to(loss.dtype)
    return sums, log_p, by_truth(loss, g, how.joint, classes)
