"""Parts of the voxels, which threads share: one after the other through all images."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from segloss.core.native_math import inline
from segloss.core.threads import in_threads

PART, EACH = 2**17, 4
"""Values of a part, and how many parts each thread has, at most: to call a loop, or to begin anew, takes a while."""


def parts_of(x: Tensor, threads: int) -> int:
    """How many parts threads share."""
    parts = max(1, -(-x.numel() // PART))
    return min(EACH * threads, parts if parts < threads else -(-parts // threads) * threads)


def share(x: Tensor, run: Callable[..., None], *given: Any) -> None:
    """Run a loop over the voxels of `x`, in all threads."""
    threads = torch.get_num_threads()
    in_threads(threads, parts_of(x, threads), run, *given)


def share_maps(number: int, run: Callable[..., None], *given: Any) -> None:
    """Run a loop over so many maps, each of which is the work of one thread."""
    threads = min(torch.get_num_threads(), number)
    in_threads(threads, threads, run, *given)


@inline
def span(part, parts, image, images, voxels):
    """Which voxels of an image are in a part."""
    before, every = image * voxels, images * voxels
    start = max(0, part * every // parts - before)
    return start, max(start, min(voxels, (part + 1) * every // parts - before))
