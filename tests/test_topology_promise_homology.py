"""Losses on persistence diagrams do what they are for: they close gaps and fill holes that no loss of voxels sees."""

import numpy as np
import pytest
import torch

import segloss
from segloss.core import betti_numbers

HIDDEN = 255
STEPS, RATE = 250, 0.2
WEIGHT = (
    0.001  # so that the Dice loss keeps the voxels it sees, and a hole is filled rather than let out through its wall
)


def broken_vessel(shape):
    """A vessel along the first axis, and the voxels where the prediction has lost it."""
    truth = np.zeros(shape, dtype=bool)
    truth[(slice(2, -2), *(slice(n // 2 - 1, n // 2 + 1) for n in shape[1:]))] = True
    gap = np.zeros(shape, dtype=bool)
    gap[shape[0] // 2 - 2 : shape[0] // 2 + 2] = True
    return truth, truth & ~gap, gap


def pierced_disc(shape):
    """A disc or ball, and the voxels where the prediction has a hole in it."""
    axes = np.meshgrid(*(np.arange(n) - n / 2 + 0.5 for n in shape), indexing="ij")
    radius = np.sqrt(sum(a**2 for a in axes))
    truth, hole = radius < shape[0] / 2 - 2, radius < 2.5
    return truth, truth & ~hole, hole


SCENES = {
    "vessel in 2D": broken_vessel((20, 12)),
    "vessel in 3D": broken_vessel((14, 8, 8)),
    "disc": pierced_disc((16, 16)),
    "ball": pierced_disc((14, 14, 14)),
}
LOSSES = {
    "topological": ("T", segloss.topological_loss),
    "prior": ("V", lambda x, y: segloss.topological_prior_loss(x, y, prior={1: (1, 0, 0)[: x.ndim - 2]})),
    "squared prior": ("T", lambda x, y: segloss.topological_prior_loss(x, y, exponent=2, construction="T")),
}


def optimised(truth, predicted, hidden, topology=None):
    """The mask after the logits themselves have been optimised, with some voxels hidden from the Dice loss."""
    noise = np.random.default_rng(0).normal(0, 0.1, truth.shape)
    logits = torch.as_tensor(np.where(predicted, 2.0, -2.0) + noise)[None, None].requires_grad_()
    target = torch.as_tensor(truth).long()[None]
    seen = target.masked_fill(torch.as_tensor(hidden)[None], HIDDEN)
    optimizer = torch.optim.Adam([logits], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = segloss.dice_loss(logits, seen, ignore_index=HIDDEN)
        if topology is not None:
            loss = loss + WEIGHT * topology(logits, target)
        loss.backward()
        optimizer.step()
    return (logits.detach()[0, 0] > 0).numpy()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize(("construction", "topology"), LOSSES.values(), ids=LOSSES)
def test_a_topology_loss_mends_what_no_other_loss_sees(scene, topology, construction):
    truth, predicted, hidden = scene
    found = optimised(*scene, topology)
    before, after, wanted = (betti_numbers(mask, construction) for mask in (predicted, found, truth))
    assert before != wanted
    assert after == wanted
    assert (found == truth)[~hidden].all()


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_loss_of_voxels_alone_leaves_it(scene):
    truth, predicted, hidden = scene
    found = optimised(truth, predicted, hidden)
    assert (found == predicted)[hidden].all()
    assert betti_numbers(found) == betti_numbers(predicted)
