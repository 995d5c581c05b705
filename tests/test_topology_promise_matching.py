"""What the topology losses are for: they mend the topology where an overlap loss does not look.

The voxels around a fault are hidden from Dice by `ignore_index`; the topology loss added to it sees all of them.
"""

import numpy as np
import pytest
import torch

import segloss
from segloss.core.components import connected_components

SIZE = 24
AXES = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")


def vessel():
    """A curved vessel of two pixels, and its gap."""
    y, x = AXES
    centre = 11.5 + 4 * torch.sin(x / 6)
    inside = (y - centre).abs() < 1.4
    return inside, inside & ((x - 12).abs() < 3), (x - 12).abs() < 4


def disc():
    """A disc, and a hole that it should not have."""
    y, x = AXES
    distance = (y - 11.3) ** 2 + (x - 12.4) ** 2
    return distance < 64, distance < 5, distance < 12


def bridge():
    """Two bars, and a bridge between them that should not be there."""
    y, x = AXES
    inside = ((y - 6).abs() < 2) | ((y - 17).abs() < 2)
    return inside, ~inside & (x == 12) & (y > 7) & (y < 16), ((x - 12).abs() < 4) & (y > 7) & (y < 16)


def faulty(truth, fault):
    """Logits that are right but for the fault, and not the same anywhere."""
    generator = torch.Generator().manual_seed(0)
    shape = truth ^ fault
    logits = torch.where(shape, 2.0, -2.0)
    logits[fault] *= 0.5
    return (logits + 0.3 * torch.randn(truth.shape, generator=generator))[None, None]


def trained(logits, truth, hidden, loss, weight, steps=150):
    """Logits after Dice with the hidden pixels ignored, and the loss on all of them."""
    logits = logits.clone().requires_grad_()
    target = truth.long()[None]
    seen = target.masked_fill(hidden[None], 255)
    optimiser = torch.optim.Adam([logits], 0.1)
    for _ in range(steps):
        optimiser.zero_grad()
        value = segloss.dice_loss(logits, seen, ignore_index=255)
        if loss is not None:
            value = value + weight * loss(logits, target)
        value.backward()
        optimiser.step()
    return logits.detach()


def betti(logits):
    """Components, through corners, and holes."""
    mask = (logits[0, 0] > 0).numpy()
    return connected_components(mask, "all")[1], connected_components(np.pad(~mask, 1, constant_values=True))[1] - 1


LOSSES = {
    "betti_matching": (lambda x, y: segloss.betti_matching_loss(x, y, relative=True), 0.5),
    "betti_matching_T": (lambda x, y: segloss.betti_matching_loss(x, y, construction="T", filtration="bothlevel"), 0.5),
    "topograph": (lambda x, y: segloss.topograph_loss(x, y, sphere=True), 0.5),
    "discrete_morse": (segloss.discrete_morse_loss, 3.0),
}


def mended(scene, name):
    """Components and holes as they should be, at the start, after Dice alone, and with the topology loss."""
    truth, fault, hidden = scene()
    start = faulty(truth, fault)
    ends = [start, trained(start, truth, hidden, None, 0), trained(start, truth, hidden, *LOSSES[name])]
    return [betti(logits) for logits in (torch.where(truth, 1.0, -1.0)[None, None], *ends)]


SCENES = [
    (scene, name) for scene in (vessel, disc, bridge) for name in LOSSES if (scene, name) != (disc, "discrete_morse")
]


@pytest.mark.parametrize(("scene", "name"), SCENES)
def test_the_fault_is_mended_where_dice_leaves_it(scene, name):
    wanted, fault, without, mend = mended(scene, name)
    assert fault != wanted
    assert without == fault, "Dice alone should leave the fault"
    assert mend == wanted


def test_ridges_go_round_a_hole_and_leave_it():
    """The Morse skeleton follows connections, so that a hole in a disc is no business of this loss."""
    wanted, fault, _, mend = mended(disc, "discrete_morse")
    assert mend == fault != wanted
