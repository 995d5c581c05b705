"""Memory for the steps of an operation on maps."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from jaxtyping import Shaped
from torch import Tensor

Map = Shaped[Tensor, "B C *S"]


class Work:
    """Memory for maps and their views, used again and again: fresh ones cost as much as the work in them."""

    def __init__(self, like: Tensor) -> None:
        """Nothing yet; arrays will be of the type and place of `like`."""
        self.like, self.used = like, 0
        self.arrays: list[tuple[Tensor, dict[tuple[int, ...], Map]]] = []
        self.cuts: dict[int, tuple[Map, dict[int, tuple[Map, Map, Map]]]] = {}

    def map(self, shape: Sequence[int]) -> Map:
        """An array that nobody uses."""
        shape, size = tuple(shape), math.prod(shape)
        if self.used == len(self.arrays):
            self.arrays.append((self.like.new_empty(size), {}))
        elif self.arrays[self.used][0].numel() < size:
            self.arrays[self.used] = self.like.new_empty(size), {}
        array, views = self.arrays[self.used]
        self.used += 1
        if shape not in views:
            view = views[shape] = array[:size].view(shape)
            self.cuts[id(view)] = view, {}
        return views[shape]

    def cut(self, y: Map, axis: int) -> tuple[Map, Map, Map]:
        """A map without its last slice along an axis, without its first, and its last."""
        cuts = self.cuts[id(y)][1] if id(y) in self.cuts else {}
        if axis not in cuts:
            n = y.shape[axis] - 1
            cuts[axis] = y.narrow(axis, 0, n), y.narrow(axis, 1, n), y.narrow(axis, n, 1)
        return cuts[axis]

    @contextmanager
    def frame(self) -> Iterator[None]:
        """What is handed out within is free afterwards."""
        used = self.used
        yield
        self.used = used
