"""Persistent homology beside a naive computation, beside the count of features, and from either library."""

import itertools

import numpy as np
import pytest
import torch

from segloss.core import barcode, betti_numbers, features, homology, homology_backend, persistence
from segloss.core import persistence_libraries as libraries

SHAPES = (11,), (7, 9), (1, 6), (4, 5, 6)
CONSTRUCTIONS = "T", "V", "freudenthal"


def field(shape, levels=None, seed=0):
    random = np.random.default_rng(seed)
    return random.random(shape) if levels is None else random.integers(levels, size=shape).astype(float)


def neighbours(voxel, construction):
    """Voxels that touch one another, by definition."""
    for step in itertools.product((-1, 0, 1), repeat=len(voxel)):
        along = sum(map(abs, step)) == 1
        diagonal = len(set(step) - {0}) == 1
        if any(step) and (construction == "T" or along or (construction == "freudenthal" and diagonal)):
            yield tuple(a + b for a, b in zip(voxel, step, strict=True))


def components(values, construction):
    """Births and deaths of components as values fall, by merging sets, the younger one dying."""
    root, bars = {}, []

    def find(voxel):
        while root[voxel] != voxel:
            voxel = root[voxel]
        return voxel

    order = np.argsort(-values, axis=None, kind="stable")
    for entering in (tuple(map(int, np.unravel_index(i, values.shape))) for i in order):
        root[entering] = entering
        for neighbour in neighbours(entering, construction):
            if neighbour not in root or find(neighbour) == find(entering):
                continue
            old, young = sorted((find(neighbour), find(entering)), key=lambda v: (-values[v], v))
            root[young] = old
            if values[young] != values[entering]:
                bars.append((values[young], values[entering], young, entering))
    return sorted(bars)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("levels", [None, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_components_are_those_of_merging_sets(shape, levels, construction):
    values = field(shape, levels)
    bars = persistence(values, construction=construction, dimensions=[0])
    dies = bars.death >= 0
    voxels = [np.unravel_index(found[dies], shape) for found in (bars.birth, bars.death)]
    found = [
        (values[birth], values[death], birth, death)
        for birth, death in zip(*(map(tuple, np.stack(v, 1).tolist()) for v in voxels), strict=True)
    ]
    assert sorted(found) == components(values, construction)
    (stays,) = bars.birth[~dies]
    assert stays == values.argmax()


@pytest.mark.parametrize("construction", ["T", "V"])
@pytest.mark.parametrize("levels", [None, 5])
@pytest.mark.parametrize("shape", SHAPES)
def test_bars_alive_are_the_features_of_the_mask_at_every_threshold(shape, levels, construction):
    values = field(shape, levels, seed=1)
    bars = persistence(values, construction=construction)
    flat = np.append(values.ravel(), -np.inf)
    for threshold in np.unique(values):
        alive = (flat[bars.birth] >= threshold) & (flat[bars.death] < threshold)
        numbers = np.bincount(bars.dimension[alive], minlength=len(shape))
        assert tuple(numbers) == betti_numbers(values >= threshold, construction), threshold


@pytest.mark.parametrize("construction", ["T", "V"])
@pytest.mark.parametrize("filtration", ["superlevel", "sublevel"])
@pytest.mark.parametrize("levels", [None, 3])
@pytest.mark.parametrize("shape", [*SHAPES, (33, 20)])
def test_libraries_give_the_same_bars(shape, levels, filtration, construction):
    pytest.importorskip("cripser")
    values, valid = field(shape, levels, seed=2), field(shape, seed=3) > 0.2
    how = {"construction": construction, "filtration": filtration}
    for there in (None, valid):
        one, other = (persistence(values, valid=there, backend=name, **how) for name in ("gudhi", "cripser"))
        for name in ("dimension", "birth", "death"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_low_values_first_is_high_values_first_of_the_opposite():
    values = field((6, 7))
    for name in ("dimension", "birth", "death"):
        low, high = persistence(values, filtration="sublevel"), persistence(-values)
        np.testing.assert_array_equal(getattr(low, name), getattr(high, name))


SHAPES_WITH_KNOWN_NUMBERS = {
    "ball": ((slice(2, 6),) * 3, None, (1, 0, 0)),
    "ring": ((slice(1, 6), slice(1, 6), slice(3, 4)), (slice(2, 5), slice(2, 5), slice(3, 4)), (1, 1, 0)),
    "shell": ((slice(1, 6),) * 3, (slice(2, 5),) * 3, (1, 0, 1)),
}


@pytest.mark.parametrize("construction", ["T", "V"])
@pytest.mark.parametrize(
    ("solid", "removed", "numbers"), SHAPES_WITH_KNOWN_NUMBERS.values(), ids=SHAPES_WITH_KNOWN_NUMBERS
)
def test_numbers_of_known_shapes(solid, removed, numbers, construction):
    mask = np.zeros((8, 8, 8), dtype=bool)
    mask[solid] = True
    if removed:
        mask[removed] = False
    assert betti_numbers(mask, construction) == numbers
    assert betti_numbers(np.zeros_like(mask), construction) == (0, 0, 0)
    assert betti_numbers(np.ones_like(mask), construction) == (1, 0, 0)


def test_corners_connect_voxels_that_are_cubes_and_not_those_that_are_vertices():
    ring = np.array([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=bool)
    assert betti_numbers(ring, "T") == (1, 1)
    assert betti_numbers(ring, "V") == (4, 0)


@pytest.mark.parametrize("construction", CONSTRUCTIONS)
@pytest.mark.parametrize("patch", [(), (4, 3)])
def test_features_of_masks_are_those_of_their_bars(patch, construction):
    masks = torch.from_numpy(field((3, 7, 8), seed=4) > 0.5)
    valid = torch.from_numpy(field((3, 7, 8), seed=5) > 0.3)
    for there in (None, torch.ones_like(valid), valid):
        found = features(masks, patch=patch, construction=construction, valid=there)
        bars = barcode(masks.double(), patch=patch, construction=construction, valid=there)
        counted = torch.zeros_like(found).index_put((bars.look, bars.dimension), torch.ones_like(bars.look), True)
        torch.testing.assert_close(found.clamp(min=0), counted)


def test_a_mask_that_is_empty_or_full_has_no_features():
    masks = torch.stack([torch.zeros(4, 5), torch.ones(4, 5)]).bool()
    assert features(masks).eq(-1).all()
    assert features(masks, valid=torch.zeros_like(masks)).eq(-1).all()


def test_voxels_that_do_not_count_are_as_if_cut_off():
    values = torch.from_numpy(field((1, 8, 9), seed=6))
    valid = torch.zeros(1, 8, 9, dtype=torch.bool)
    valid[:, 2:7, 1:8] = True
    inside, cut = barcode(values.masked_fill(~valid, torch.nan), valid=valid), barcode(values[valid].view(1, 5, 7))
    index = torch.arange(72).view(1, 8, 9)[valid]
    for name in ("dimension", "rank"):
        assert torch.equal(getattr(inside, name), getattr(cut, name))
    for name in ("birth", "death"):
        assert torch.equal(getattr(inside, name), index[getattr(cut, name)])


def test_what_closes_over_voxels_that_do_not_count_never_dies():
    ring = np.ones((5, 5))
    ring[1:4, 1:4] = 0
    valid = np.ones((5, 5), dtype=bool)
    valid[2, 2] = False
    assert (persistence(ring).death[1:] >= 0).all()
    there = persistence(ring, valid=valid)
    assert there.dimension.tolist() == [0, 1]
    assert there.death.tolist() == [-1, -1]


@pytest.mark.parametrize("threads", [1, 4])
def test_bars_of_patches_are_those_of_the_patches_alone(threads):
    maps = torch.from_numpy(field((2, 9, 7), seed=7))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = barcode(maps, patch=(5, 4))
    finally:
        torch.set_num_threads(before)
    index, looks = torch.arange(maps.numel()).view(maps.shape), []
    for image, box in itertools.product(range(2), homology.patches((9, 7), (5, 4))):
        alone = barcode(maps[(slice(image, image + 1), *box)])
        there = found.look == len(looks)
        at = index[(slice(image, image + 1), *box)].flatten()
        assert torch.equal(found.birth[there], at[alone.birth])
        assert torch.equal(found.death[there], at[alone.death])
        assert torch.equal(found.rank[there], alone.rank)
        lengths = maps.flatten()[found.birth[there]] - maps.flatten()[found.death[there]]
        for dimension in range(2):
            of = lengths[found.dimension[there] == dimension]
            assert torch.equal(of, of.sort(descending=True).values)
        looks.append(alone)
    only = torch.zeros(len(looks), dtype=torch.bool)
    only[3] = True
    assert barcode(maps, patch=(5, 4), where=only).look.unique().tolist() == [3]


def test_a_constant_image_has_no_bars():
    assert not len(barcode(torch.zeros(2, 5, 6)).birth)
    assert persistence(np.zeros((5, 6))).death.tolist() == [-1]
    assert not len(barcode(torch.rand(2, 5, 6), valid=torch.zeros(2, 5, 6, dtype=torch.bool)).birth)


def test_the_library_can_be_chosen(monkeypatch):
    used = []
    for name, compute in libraries.COMPUTE.items():
        monkeypatch.setitem(libraries.COMPUTE, name, lambda *given, n=name, f=compute: used.append(n) or f(*given))
    monkeypatch.setattr(libraries, "_is_installed", lambda name: True)
    with homology_backend("gudhi"):
        persistence(field((3, 3)))
    persistence(field((3, 3)), backend="gudhi")
    persistence(field((3, 3)), construction="freudenthal")
    persistence(field((3, 3)), construction="freudenthal", backend="cripser")
    assert used == ["gudhi"] * 4
    with pytest.raises(ValueError, match="name"), homology_backend("ripser"):
        pass


@pytest.mark.parametrize(
    ("missing", "chosen", "extra"),
    [({"gudhi", "cripser"}, "auto", "topology"), ({"gudhi"}, "gudhi", "topology"), ({"cripser"}, "cripser", "fast")],
)
def test_what_is_missing_is_named_with_its_extra(monkeypatch, missing, chosen, extra):
    monkeypatch.setattr(libraries, "_is_installed", lambda name: name not in missing)
    with pytest.raises(ImportError, match=rf'pip install "segloss-catalog\[{extra}\]"'), homology_backend(chosen):
        barcode(torch.rand(1, 3, 3))
    if chosen != "auto":
        with pytest.raises(ImportError, match=extra):
            persistence(field((3, 3)), backend=chosen)
