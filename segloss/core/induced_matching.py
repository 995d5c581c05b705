"""Persistence intervals of two images, matched by where they are: through those of a third that holds both.

Low values come first. An inclusion of sublevel sets takes what is born in one image to what dies in the other; an
interval of each is matched to the other by it if they share that birth and that death.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from segloss.core.cubical import (
    OUTSIDE,
    Index,
    Merges,
    cells,
    corners,
    edge_ends,
    facet_sides,
    merge,
    reduce_columns,
    square_edges,
)

Cubes = Literal["V", "T"]
Image = Float[np.ndarray, "*S"]
Pairs = Int[np.ndarray, "N 2"]
Maps = Float[Tensor, "M *S"]


@dataclass(frozen=True)
class Matched:
    """Intervals of many pairs of maps: the number of the pair, then voxels as flat indices into all maps together.

    Attributes:
        both: Matched intervals: births and deaths in the first map, then in the second.
        first: Births and deaths of intervals of the first map that are not matched.
        second: The same of the second.
    """

    both: Int[Tensor, "5 N"]
    first: Int[Tensor, "3 L"]
    second: Int[Tensor, "3 R"]


def matched_intervals(first: Maps, second: Maps, construction: Cubes, *, union: bool) -> Matched:
    """The induced matching of each map with its counterpart; no gradient flows through it."""
    return Matched(*_matched_intervals(first.detach(), second.detach(), construction, union))


@torch.library.custom_op("segloss::matched_intervals", mutates_args=())
def _matched_intervals(first: Tensor, second: Tensor, construction: str, union: bool) -> tuple[Tensor, Tensor, Tensor]:
    """One operator to a compiler, which cannot look into it."""
    maps = zip(*(y.cpu().double().numpy() for y in (first, second)), strict=True)
    rows: list[list[Index]] = [[np.empty((size, 0), np.int64)] for size in (5, 3, 3)]
    for number, (one, two) in enumerate(maps):
        found = induced_matching(one, two, construction, union=union)  # pyright: ignore[reportArgumentType]
        left, right = found.pairs.T
        matched = np.concatenate([found.first[left], found.second[right]], 1)
        alone = np.delete(found.first, left, 0), np.delete(found.second, right, 0)
        for row, voxels in zip(rows, (matched, *alone), strict=True):
            row.append(np.insert(voxels.T + number * one.size, 0, number, axis=0))
    both, of_first, of_second = (torch.from_numpy(np.concatenate(row, 1)).to(first.device) for row in rows)
    return both, of_first, of_second


@_matched_intervals.register_fake
def _(first: Tensor, *others: Any) -> tuple[Tensor, Tensor, Tensor]:
    sizes = [torch.library.get_ctx().new_dynamic_size() for _ in range(3)]
    both, of_first, of_second = (
        first.new_empty((rows, size), dtype=torch.long) for rows, size in zip((5, 3, 3), sizes, strict=True)
    )
    return both, of_first, of_second


@dataclass(frozen=True)
class Matching:
    """Intervals of two images, birth and death voxel of each, and which of them are matched.

    Attributes:
        first: Intervals of the first image.
        second: Intervals of the second image.
        pairs: Positions of matched intervals in `first` and `second`.
    """

    first: Pairs
    second: Pairs
    pairs: Pairs


def induced_matching(first: Image, second: Image, construction: Cubes = "V", *, union: bool = True) -> Matching:
    """Match the intervals of all dimensions that do not last for ever, through the union or intersection of sets.

    `"V"` takes voxels as vertices, in one to three dimensions, `"T"` as the highest cells, in two. Equal values come in
    the order of their places; in the comparison in that of the first image, in the second in that of the comparison.
    """
    between = np.minimum(first, second) if union else np.maximum(first, second)
    place = np.arange(first.size)
    rank = place if first.ndim == 3 or construction == "T" else place[::-1]
    images = []
    for image in (first, between, second):
        order = np.lexsort((rank, image.ravel()))
        rank = _inverse(order)
        images.append(_as_vertices(image, order) if construction == "V" else _as_top_cells(image, order))
    one, both, two = images

    found = [_matched(one[0], both[0], two[0], at_once=union)]
    if first.ndim > 1:
        found.append(_matched(one[1], both[1], two[1], at_once=not union))
    if first.ndim == 3:
        found.append(_matched_cycles(one, both, two, first.shape, union))
    sizes = np.cumsum([(0, 0), *((len(m.first), len(m.second)) for m in found)], 0)[:-1]
    return Matching(
        np.concatenate([m.first for m in found]),
        np.concatenate([m.second for m in found]),
        np.concatenate([m.pairs + size for m, size in zip(found, sizes, strict=True)]),
    )


@dataclass(frozen=True)
class _Graph:
    """Nodes that come and edges that join them, each with its time and the voxel whose value it has.

    Attributes:
        value: What the image holds.
        ends: The two nodes of each edge.
        time: When each edge comes.
        voxel: The voxel of each edge.
        age: When each node comes.
        at: The voxel of each node.
        births: Whether nodes are births and edges deaths, or the other way round.
    """

    value: Float[np.ndarray, " N"]
    ends: Int[np.ndarray, "2 E"]
    time: Index
    voxel: Index
    age: Index
    at: Index
    births: bool

    def merge(self, *ages: Index) -> Merges:
        """The union-find along the edges, with further orders of age."""
        return merge(self.ends, self.time, [self.age, *ages])

    def lasting(self, edges: Index, nodes: Index) -> np.ndarray:
        """Whether there is time between an edge and a node."""
        return self.value[self.voxel[edges]] != self.value[self.at[nodes]]

    def intervals(self, edges: Index, nodes: Index) -> Pairs:
        """Birth and death voxels."""
        ends = [self.at[nodes], self.voxel[edges]]
        return np.stack(ends if self.births else ends[::-1], 1)


def _as_vertices(image: Image, order: Index) -> list[_Graph]:
    """The graph of components, and that of cavities: their highest cells, joined across facets, in reverse."""
    shape, ndim, value = image.shape, image.ndim, image.ravel()
    rank = _inverse(order)
    edges, edge_voxel = _keys(rank.reshape(shape), order, 1)
    graphs = [_Graph(value, edge_ends(shape), edges, edge_voxel, rank, np.arange(len(order)), True)]
    if ndim > 1:
        facets, facet_voxel = (edges, edge_voxel) if ndim == 2 else _keys(rank.reshape(shape), order, ndim - 1)
        highest, highest_voxel = _keys(rank.reshape(shape), order, ndim)
        age, at = np.append(-highest, OUTSIDE), np.append(highest_voxel, 0)
        graphs.append(_Graph(value, facet_sides(shape), -facets, facet_voxel, age, at, False))
    return graphs


def _as_top_cells(image: Image, order: Index) -> list[_Graph]:
    """The same for pixels as squares: what components are there, cavities are here, of the image upside down."""
    shape, value = tuple(size + 2 for size in image.shape), image.ravel()
    order = order[::-1]
    rank = np.pad(_inverse(order).reshape(image.shape), 1, constant_values=-1)
    sides, side_voxel = _keys(rank, order, 1)
    points, point_voxel = _keys(rank, order, 2)
    inner = sides >= 0
    pixel = np.pad(np.arange(len(order)).reshape(image.shape), 1, constant_values=len(order)).ravel()
    across, along = pixel[edge_ends(shape)][:, inner], facet_sides(shape)[:, inner]
    sides, side_voxel = sides[inner], side_voxel[inner]
    age, at = np.append(_inverse(order), OUTSIDE), np.append(np.arange(len(order)), 0)
    return [
        _Graph(value, along, -sides, side_voxel, -points, point_voxel, True),
        _Graph(value, across, sides, side_voxel, age, at, False),
    ]


def _keys(rank: Int[np.ndarray, "*S"], order: Index, dim: int) -> tuple[Index, Index]:
    """When the cells of a dimension come, and the voxel they come with: the last of their vertices."""
    places = [(axes, shift) for axes in cells(rank.ndim, dim) for shift in product((0, 1), repeat=dim)]
    turn = {place: number for number, place in enumerate(sorted(places, key=lambda place: _turn(rank.ndim, *place)))}
    width, keys = len(places), []
    for axes in cells(rank.ndim, dim):
        own = [turn[axes, shift] for shift in product((0, 1), repeat=dim)]
        own = np.array(own if rank.ndim == 3 else [width - 1 - number for number in own])
        keys.append((corners(rank, axes) * width + own[:, None]).max(0))
    keys = np.concatenate(keys)
    return keys, order[keys // width]


def _turn(ndim: int, axes: tuple[int, ...], shift: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """By what the cells of one voxel are sorted: their lowest corner, and then the axes they extend along."""
    lowest = [0] * ndim
    for axis, one in zip(axes, shift, strict=True):
        lowest[axis] = -one
    across = tuple(axis for axis in range(ndim) if axis not in axes)
    return tuple(lowest), axes if len(axes) == 1 else across


def _matched(one: _Graph, both: _Graph, two: _Graph, *, at_once: bool) -> Matching:
    """Match the intervals of a graph, where a node of one image meets an edge of another.

    That is an edge of the comparison, for both images `at_once`, or an edge of each.
    """
    if at_once:
        merges = [graph.merge() for graph in (one, two)]
        through = both.merge(one.age, two.age)
        lasts = both.lasting(through.edges, through.nodes[0])
        nodes = through.nodes[1:, lasts]
    else:
        merges = [graph.merge(both.age) for graph in (one, two)]
        through = both.merge()
        lasts = both.lasting(through.edges, through.nodes[0])
        nodes = np.stack([through.nodes[0, lasts]] * 2)
    intervals, found = [], []
    for graph, merged, wanted in zip((one, two), merges, nodes, strict=True):
        lasts = graph.lasting(merged.edges, merged.nodes[0])
        intervals.append(graph.intervals(merged.edges[lasts], merged.nodes[0, lasts]))
        found.append(_positions(merged.nodes[-1, lasts], wanted, len(graph.age)))
    return Matching(intervals[0], intervals[1], _both_there(*found))


def _matched_cycles(
    one: list[_Graph], both: list[_Graph], two: list[_Graph], shape: tuple[int, ...], union: bool
) -> Matching:
    """Match the cycles of a volume, of which edges are births and squares deaths."""
    faces, intervals, found = square_edges(shape), [], []

    def reduced(born: list[_Graph], dying: list[_Graph]) -> tuple[Index, Index]:
        """Edges by the order of one image, and the squares that fill them by that of another."""
        fills = np.delete(np.arange(len(faces)), dying[1].merge().pairs[0])
        return reduce_columns(faces, fills, -dying[1].time, born[0].time)

    def lasting(image: list[_Graph]) -> tuple[Index, Index]:
        """Edges and squares with time between them."""
        (components, cavities), (edges, squares) = image, reduced(image, image)
        lasts = components.value[components.voxel[edges]] != components.value[cavities.voxel[squares]]
        return edges[lasts], squares[lasts]

    wanted = lasting(both)
    for image in (one, two):
        edges, squares = lasting(image)
        intervals.append(np.stack([image[0].voxel[edges], image[1].voxel[squares]], 1))
        born, dying = reduced(image, both) if union else reduced(both, image)
        if union:
            own, through, goals, number = _positions(edges, born, len(image[0].time)), dying, wanted[1], len(faces)
        else:
            own, through, goals, number = _positions(squares, dying, len(faces)), born, wanted[0], len(both[0].time)
        via = np.full(number, -1)
        via[through] = own
        found.append(via[goals])
    return Matching(intervals[0], intervals[1], _both_there(*found))


def _positions(nodes: Index, wanted: Index, number: int) -> Index:
    """Where each of `wanted` stands among `nodes`, -1 if nowhere."""
    position = np.full(number, -1)
    position[nodes] = np.arange(len(nodes))
    return position[wanted]


def _both_there(first: Index, second: Index) -> Pairs:
    pairs = np.stack([first, second], 1)
    return pairs[(pairs >= 0).all(1)]


def _inverse(order: Index) -> Index:
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    return place
