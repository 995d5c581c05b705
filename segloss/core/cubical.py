"""Persistent homology of a grid, cell by cell: which cell makes a component or a cycle, and which ends it.

Voxels are the vertices of a cubical complex, edges join neighbours, and so on; a cell is there once its last vertex is.
An order of the cells of each dimension says when. Components come from a union-find over the edges; cavities, the
cycles of the highest dimension, from one over the highest cells in reverse; what is between, from matrix columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, product
from math import prod

import numpy as np
from jaxtyping import Int, Shaped

Index = Int[np.ndarray, "..."]
Axes = tuple[int, ...]

OUTSIDE = np.iinfo(np.int64).min  # older than every cell


def cells(ndim: int, dim: int) -> list[Axes]:
    """The axes along which cells of a dimension extend, in the order in which cells are listed."""
    return list(combinations(range(ndim), dim))


def corners(x: Shaped[np.ndarray, "*S"], axes: Axes) -> Shaped[np.ndarray, "K N"]:
    """What `x` holds at the vertices of all cells that extend along `axes`; the last axis changes fastest."""
    views = []
    for shift in product((0, 1), repeat=len(axes)):
        at = [slice(None)] * x.ndim
        for axis, one in zip(axes, shift, strict=True):
            at[axis] = slice(one, x.shape[axis] - 1 + one)
        views.append(x[tuple(at)].ravel())
    return np.stack(views)


def cell_values(x: Shaped[np.ndarray, "*S"], dim: int) -> Shaped[np.ndarray, " N"]:
    """The largest value of `x` at the vertices of each cell of a dimension."""
    return np.concatenate([corners(x, axes).max(0) for axes in cells(x.ndim, dim)])


@lru_cache(maxsize=16)
def edge_ends(shape: tuple[int, ...]) -> Int[np.ndarray, "2 N"]:
    """The two vertices of every edge."""
    vertices = np.arange(prod(shape)).reshape(shape)
    return np.concatenate([corners(vertices, axes) for axes in cells(len(shape), 1)], 1)


@lru_cache(maxsize=16)
def facet_sides(shape: tuple[int, ...]) -> Int[np.ndarray, "2 N"]:
    """The two highest cells beside every cell of one dimension less; the last number stands for the outside."""
    inner = tuple(size - 1 for size in shape)
    numbers = np.pad(np.arange(prod(inner)).reshape(inner), 1, constant_values=prod(inner))
    sides = []
    for (normal,) in reversed(cells(len(shape), 1)):
        at = [slice(1, -1)] * len(shape)
        at[normal] = slice(None)
        sides.append(corners(numbers[tuple(at)], (normal,)))
    return np.concatenate(sides, 1)


@lru_cache(maxsize=16)
def square_edges(shape: tuple[int, ...]) -> Int[np.ndarray, "N 4"]:
    """The four edges of every square."""
    ndim, start, numbers = len(shape), 0, []
    for (axis,) in cells(ndim, 1):
        of_axis = tuple(size - (one == axis) for one, size in enumerate(shape))
        numbers.append(np.arange(start, start + prod(of_axis)).reshape(of_axis))
        start += prod(of_axis)
    found = []
    for first, second in cells(ndim, 2):
        found.append(np.concatenate([corners(numbers[first], (second,)), corners(numbers[second], (first,))]))
    return np.concatenate(found, 1).T


@dataclass(frozen=True)
class Merges:
    """What a union-find found.

    Attributes:
        edges: Edges that join two components which each have a time of their own.
        nodes: The node each of these edges ends, the younger of the two eldest, by each order of age: (orders, N).
        leaves: Nodes that are joined to an elder one the moment they are there.
        stems: The edge that joins each leaf.
    """

    edges: Index
    nodes: Index
    leaves: Index
    stems: Index

    @property
    def pairs(self) -> tuple[Index, Index]:
        """All edges that join two components, and the node each ends, by the first order of age."""
        return np.concatenate([self.stems, self.edges]), np.concatenate([self.leaves, self.nodes[0]])


def merge(ends: Int[np.ndarray, "2 N"], time: Index, ages: Sequence[Index]) -> Merges:
    """Join nodes along edges in the order of `time`; of two components the one lives on whose eldest node is elder.

    Times are whole numbers, no two of them the same. There may be several orders of age, and so several nodes that end
    at an edge; a node of low age is elder. A node whose first edge leads to one that is elder by all orders is a leaf:
    it ends there, and may be joined beforehand.
    """
    order = _order(time)
    graph = _Graph(np.ascontiguousarray(ends.T)[order], order, np.arange(len(ages[0])))
    first, other = graph.first_edges()
    leaf = np.logical_and.reduce([age[other] < age for age in ages])
    leaves, stems = np.flatnonzero(leaf), order[first[leaf]]

    rest = graph.contracted(np.where(leaf, other, np.arange(len(leaf))))
    found = [_elder_rule(rest, age) for age in ages]
    return Merges(found[0][0], np.stack([nodes for _, nodes in found]), leaves, stems)


def _order(time: Index) -> Index:
    """The order of distinct numbers that lie close together."""
    if not len(time):
        return time
    slots = np.full(time.max() - time.min() + 1, -1)
    slots[time - time.min()] = np.arange(len(time))
    return slots[slots >= 0]


@dataclass(frozen=True)
class _Graph:
    """Nodes and edges, both with the names they had at first; the edges in the order of their time."""

    ends: Int[np.ndarray, "E 2"]
    edges: Index
    nodes: Index

    def first_edges(self) -> tuple[Index, Index]:
        """The first edge of every node, -1 if there is none, and the node across, itself if there is none."""
        node, first = np.arange(len(self.nodes)), np.full(len(self.nodes), -1)
        first[self.ends.ravel()[::-1]] = np.repeat(np.arange(len(self.edges)), 2)[::-1]
        both = np.append(self.ends[:, 0] + self.ends[:, 1], 0)
        return first, np.where(first >= 0, both[first] - node, node)

    def contracted(self, onto: Index) -> "_Graph":
        """The graph with each node joined to the node `onto` which it leads."""
        while (onto != (further := onto[onto])).any():
            onto = further
        roots = np.flatnonzero(onto == np.arange(len(onto)))
        small = np.empty(len(onto), np.int64)
        small[roots] = np.arange(len(roots))
        ends = small[onto[self.ends]]
        apart = np.flatnonzero(ends[:, 0] != ends[:, 1])
        return _Graph(ends[apart], self.edges[apart], self.nodes[roots])


def _elder_rule(graph: _Graph, age: Index) -> tuple[Index, Index]:
    """Edges that join two components, sorted, and the node each ends.

    Every node whose first edge leads to an elder one ends there. Once these are joined, the same holds of those left,
    and soon few are left; should that take many rounds, the others are joined one by one.
    """
    edges, nodes = [], []
    while len(graph.edges):
        first, other = graph.first_edges()
        of_node = age[graph.nodes]
        ends = of_node[other] < of_node
        if ends.sum() * 8 < len(ends):
            one_by_one = _union_find(graph.ends.tolist(), of_node.tolist())
            edges.append(graph.edges[one_by_one[0]])
            nodes.append(graph.nodes[one_by_one[1]])
            break
        edges.append(graph.edges[first[ends]])
        nodes.append(graph.nodes[ends])
        graph = graph.contracted(np.where(ends, other, np.arange(len(ends))))
    found = np.concatenate([np.empty(0, np.int64), *edges])
    order = np.argsort(found)
    return found[order], np.concatenate([np.empty(0, np.int64), *nodes])[order]


def _union_find(ends: list[list[int]], age: list[int]) -> tuple[Index, Index]:
    """Which edges join two components, and the node each ends."""
    parent = list(range(len(age)))
    eldest, joining, ended = parent.copy(), [], []
    for edge, (a, b) in enumerate(ends):
        while parent[a] != a:
            parent[a] = a = parent[parent[a]]
        while parent[b] != b:
            parent[b] = b = parent[parent[b]]
        if a == b:
            continue
        elder, younger = eldest[a], eldest[b]
        if age[elder] > age[younger]:
            elder, younger = younger, elder
        parent[b], eldest[a] = a, elder
        joining.append(edge)
        ended.append(younger)
    return np.array(joining, np.int64), np.array(ended, np.int64)


def reduce_columns(faces: Int[np.ndarray, "N K"], columns: Index, time: Index, age: Index) -> tuple[Index, Index]:
    """The face that each of `columns` ends, and the columns in the same order.

    Each column is a cell that ends something: the youngest face of its boundary, by `age`, once the boundaries of cells
    that come earlier in `time` are added to it. A cell that is the first beside its youngest face needs no addition.
    """
    number = len(age)
    rank, by_age = np.empty(number, np.int64), _order(age)
    rank[by_age] = np.arange(number)
    order = _order(time)
    first = np.empty(number, np.int64)
    first[faces[order][::-1].ravel()] = np.repeat(order[::-1], faces.shape[1])
    columns = columns[np.argsort(time[columns])]
    youngest = rank[faces[columns]].max(1)
    apparent = first[by_age[youngest]] == columns

    owner = dict(zip(youngest[apparent].tolist(), columns[apparent].tolist(), strict=True))
    reduced: dict[int, set[int]] = {}
    boundary, ends = rank[faces], []
    for column in columns[~apparent].tolist():
        left = set(boundary[column].tolist())
        while (other := owner.get(pivot := max(left))) is not None:
            if other not in reduced:
                reduced[other] = set(boundary[other].tolist())
            left ^= reduced[other]
        owner[pivot], reduced[column] = column, left
        ends.append(pivot)
    ended = np.concatenate([youngest[apparent], np.array(ends, np.int64)])
    return by_age[ended], np.concatenate([columns[apparent], columns[~apparent]])
