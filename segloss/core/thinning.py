"""Centre lines of masks, by scikit-image, and by peeling masks off evenly."""

from collections.abc import Sequence
from functools import reduce
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Shaped
from torch import Tensor

from segloss.core.threads import in_threads


@torch.library.custom_op("segloss::hard_skeleton", mutates_args=())
def hard_skeleton(masks: Tensor) -> Tensor:
    """The centre lines of masks (B, C, *S) of two or three axes, thinned by scikit-image on the CPU, without gradient.

    One operator to a compiler, which cannot look into it.
    """
    try:
        from skimage.morphology import skeletonize
    except ImportError as error:
        raise ImportError('skeletons need scikit-image: pip install "segloss-catalog[skeleton]"') from error
    from scipy.ndimage import find_objects

    lines = torch.zeros(masks.shape, dtype=torch.bool)
    given, found = (maps.flatten(0, 1).numpy() for maps in (masks.cpu(), lines))

    def thin(part: int, _: int) -> None:
        for box in find_objects(given[part].view(np.uint8)):
            around = tuple(slice(max(along.start - 1, 0), along.stop + 1) for along in box)
            found[part][around] = skeletonize(given[part][around]) > 0

    in_threads(torch.get_num_threads(), len(given), thin)
    return lines.to(masks.device)


@hard_skeleton.register_fake
def _(masks: Tensor) -> Tensor:
    return torch.empty_like(masks)


def thinned(masks: Bool[Tensor, "B C *S"], iterations: int = 5) -> Bool[Tensor, "B C *S"]:
    """The centre lines of masks, peeled off evenly at constant Euler characteristic, by Menten et al. (ICCV 2023).

    A voxel goes if the Euler characteristic of the background does not change with it, unless it has at most one
    neighbour. Voxels are looked at in turns, in which no two of them are neighbours. In a plane pieces and holes stay
    as they are; in 3D a piece and a cavity can come or go at once.
    """
    d = masks.ndim - 2
    y, box = F.pad(masks, [1, 1] * d), torch.ones(1, 1, *[3] * d, device=masks.device)
    convolve = (F.conv1d, F.conv2d, F.conv3d)[d - 1]
    for _ in range(iterations):
        tips = (convolve(y.flatten(0, 1).unsqueeze(1).float(), box, padding=1) <= 2).view_as(y)
        for turn in product((0, 1), repeat=d):
            first = turn[::-1]
            at = (..., *(slice(n, None, 2) for n in first))
            y[at] &= tips[at] | (_euler_change(y, first) != 0)
    return y[(..., *[slice(1, -1)] * d)]


def _euler_change(y: Bool[Tensor, "B C *S"], first: Sequence[int]) -> Shaped[Tensor, "B C *T"]:
    """How the Euler characteristic of the background changes where a voxel joins it, for every other voxel.

    It is 1 for the voxel, minus the edges, plus the squares, minus the cubes that it completes.
    """
    background = F.pad(~y, [1, 1] * len(first), value=True)

    def beside(shift: Sequence[int]) -> Tensor:
        ends = zip(first, shift, y.shape[2:], strict=True)
        return background[(..., *(slice(1 + at + by, 1 + n + by, 2) for at, by, n in ends))]

    change = 1
    for corner in product((-1, 0, 1), repeat=len(first)):
        parts = [[c * p for c, p in zip(corner, part, strict=True)] for part in product((0, 1), repeat=len(first))]
        others = [beside(part) for part in parts if any(part)]
        if others:
            change = change + reduce(torch.logical_and, others).to(torch.int8) * (-1) ** sum(map(abs, corner))
    return torch.as_tensor(change)
