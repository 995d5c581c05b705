"""What must be equal where features are matched by where they are: against plain matrix reduction, cell by cell."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import segloss
from segloss.core import components
from segloss.core.components import connected_components
from tests.test_identities import same


def smooth(shape, seed, images=1, channels=1):
    """Probabilities and a target, of noise that is smoothed a little."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(images, 2 * channels, *shape, generator=generator, dtype=torch.float64)
    pool = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[len(shape) - 1]
    width = [min(size, 3) for size in shape]
    noise[:, channels:] = pool(noise[:, channels:], width, 1, [one // 2 for one in width])
    p, g = noise.split(channels, 1)
    return (p + 3 * g).sigmoid(), g > 0.1


def same_parts(one, two):
    """Whether two numberings are of the same parts."""
    pairs = {*zip(one.ravel().tolist(), two.ravel().tolist(), strict=True)}
    return len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) and ((one == 0) == (two == 0)).all()


@pytest.mark.parametrize("connectivity", ["faces", "all"])
@pytest.mark.parametrize("shape", [(30,), (1, 9), (17, 12), (7, 6, 8)])
def test_components_are_the_same_from_either_package(shape, connectivity, monkeypatch):
    pytest.importorskip("cc3d")
    for seed, values in itertools.product(range(5), (2, 4)):
        labels = np.random.default_rng(seed).integers(0, values, shape)
        labels = labels.astype(bool) if values == 2 else labels
        found, number = connected_components(labels, connectivity)
        with monkeypatch.context() as without:
            without.setattr(components, "_has_cc3d", lambda: False)
            other, others = connected_components(labels, connectivity)
        assert found.dtype == other.dtype == np.int32
        assert number == others == found.max() == other.max()
        assert same_parts(found, other)
        assert all(len(np.unique(labels[found == part])) == 1 for part in range(1, number + 1))


@pytest.mark.parametrize(("connectivity", "number"), [("faces", 4), ("all", 2)])
def test_components_meet_through_faces_or_corners(connectivity, number):
    labels = np.array([[1, 0, 0, 1], [0, 1, 1, 2]])
    assert connected_components(labels, connectivity)[1] == number
    assert connected_components(np.zeros((3, 3), int), connectivity)[1] == 0


# The complex, cell by cell: coordinates on a grid twice as fine, even for vertices. A cell is a tuple of its
# coordinates; it has an order, a voxel whose value it has, and a boundary.


def vertex_cells(shape):
    """Cells of voxels as vertices, and the voxels of each."""
    for cell in itertools.product(*(range(2 * size - 1) for size in shape)):
        yield cell, list(itertools.product(*({at // 2, (at + 1) // 2} for at in cell)))


def square_cells(shape):
    """Cells of voxels as the highest cells, and the voxels around each."""
    for cell in itertools.product(*(range(2 * size + 1) for size in shape)):
        around = [{(at - 1) // 2, at // 2} for at in cell]
        around = [{v for v in axis if 0 <= v < size} for axis, size in zip(around, shape, strict=True)]
        yield cell, list(itertools.product(*around))


def lowest_corner(cell):
    """What tells cells of one voxel apart: the lowest corner, then the direction."""
    axes = [axis for axis, at in enumerate(cell) if at % 2]
    across = [axis for axis, at in enumerate(cell) if at % 2 == 0]
    return [*(at // 2 for at in cell), *(axes if len(axes) == 1 else across)]


def filtration(image, rank, construction):
    """Cells in order, with their dimension and the voxel whose value they have."""
    cells = vertex_cells if construction == "V" else square_cells
    latest = max if construction == "V" else min
    found = []
    for cell, voxels in cells(image.shape):
        voxel = latest(voxels, key=lambda v: rank[v])
        sign = 1 if image.ndim == 3 or construction == "T" else -1
        place = np.array(cell if construction == "T" else lowest_corner(cell))
        found.append((rank[voxel], sum(at % 2 for at in cell), tuple(sign * place), cell, voxel))
    return [(dim, cell, voxel) for _, dim, _, cell, voxel in sorted(found)]


def faces(cell):
    for axis, at in enumerate(cell):
        if at % 2:
            yield from ((*cell[:axis], at + step, *cell[axis + 1 :]) for step in (-1, 1))


def paired(rows, columns):
    """Birth and death cells by matrix reduction, where rows and columns may be in different orders."""
    age = {cell: number for number, (_, cell, _) in enumerate(rows)}
    reduced, pairs = {}, []
    for _, cell, _ in columns:
        column = set(faces(cell))
        while column and (low := max(column, key=age.get)) in reduced:
            column ^= reduced[low]
        if column:
            reduced[low] = column
            pairs.append((low, cell))
    return pairs


def ranked(image, tie):
    """The place of each voxel in the order of values, ties broken by another order."""
    order = sorted(np.ndindex(image.shape), key=lambda v: (image[v], tie[v]))
    rank = np.empty(image.shape, int)
    for number, voxel in enumerate(order):
        rank[voxel] = number
    return rank


def slow_betti_matching(p, g, sublevel, construction, union):
    sign = 1 if sublevel else -1
    images = [sign * p, (np.minimum if union else np.maximum)(sign * p, sign * g), sign * g]
    tie = np.arange(p.size).reshape(p.shape) * (1 if p.ndim == 3 or construction == "T" else -1)
    complexes, bars = [], []
    for image in images:
        tie = ranked(image, tie)
        complexes.append(filtration(image, tie, construction))
        voxel = {cell: v for _, cell, v in complexes[-1]}
        pairs = paired(complexes[-1], complexes[-1])
        bars.append({(a, b): (voxel[a], voxel[b]) for a, b in pairs if image[voxel[a]] != image[voxel[b]]})

    of_p, through, of_g = complexes
    matched = []
    for own, bar in ((of_p, bars[0]), (of_g, bars[2])):
        via = {}
        for a, b in paired(own, through) if union else paired(through, own):
            mine = [pair for pair in bar if pair[not union] == (a, b)[not union]]
            common = [pair for pair in bars[1] if pair[union] == (a, b)[union]]
            if mine and common:
                via[common[0]] = mine[0]
        matched.append(via)
    total, left, right = 2 * (images[0].min() - images[2].min()) ** 2, dict(bars[0]), dict(bars[2])
    for common in matched[0].keys() & matched[1].keys():
        (b_i, e_i), (b_j, e_j) = left.pop(matched[0][common]), right.pop(matched[1][common])
        total += 2 * ((p[b_i] - g[b_j]) ** 2 + (p[e_i] - g[e_j]) ** 2)
    total += sum((p[b] - p[e]) ** 2 for b, e in left.values())
    return total + sum((g[b] - g[e]) ** 2 for b, e in right.values())


@pytest.mark.parametrize(
    ("shape", "construction"),
    [((25,), "V"), ((9, 8), "V"), ((1, 11), "V"), ((8, 9), "T"), ((1, 7), "T"), ((4, 5, 4), "V"), ((3, 1, 6), "V")],
)
@pytest.mark.parametrize("filtration", ["superlevel", "sublevel"])
@pytest.mark.parametrize("comparison", ["union", "intersection"])
def test_betti_matching_is_that_of_matrix_reduction(shape, construction, filtration, comparison):
    for seed in range(4):
        p, g = smooth(shape, seed)
        images = p[0, 0].numpy(), g[0, 0].double().numpy()
        slow = slow_betti_matching(*images, filtration == "sublevel", construction, comparison == "union")
        keywords = {"filtration": filtration, "construction": construction, "comparison": comparison}
        value = segloss.betti_matching_loss(p, g.long()[:, 0], activation="none", **keywords)
        torch.testing.assert_close(value.item(), slow, rtol=1e-9, atol=1e-12)


def disc(size, centre, radius):
    axes = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    return sum((axis - at) ** 2 for axis, at in zip(axes, centre, strict=True)) <= radius**2


def test_betti_matching_of_two_discs_and_a_ring():
    """Two discs of different heights and a faint bridge against two discs; a ring against a disc."""
    discs = disc(21, (5, 5), 3) | disc(21, (15, 15), 3)
    p = torch.full((21, 21), 0.1).masked_fill(disc(21, (5, 5), 3), 0.9).masked_fill(disc(21, (15, 15), 3), 0.7)
    line = torch.eye(21, dtype=torch.bool) | torch.eye(21, dtype=torch.bool).roll(1, 1)
    p[line & (p == 0.1)] = 0.3
    p[0], p[-1], p[:, 0], p[:, -1] = 0.1, 0.1, 0.1, 0.1
    expected = 2 * (0.9 - 1) ** 2 + 2 * ((0.7 - 1) ** 2 + 0.3**2)
    value = segloss.betti_matching_loss(p[None, None], discs.long()[None], activation="none")
    torch.testing.assert_close(value.item(), expected, rtol=1e-5, atol=0)

    whole, hole = disc(21, (10, 10), 7), disc(21, (10, 10), 2)
    p = torch.full((21, 21), 0.1).masked_fill(whole, 0.8).masked_fill(hole, 0.2)[None, None]
    p.requires_grad_()
    value = segloss.betti_matching_loss(p, whole.long()[None], activation="none")
    torch.testing.assert_close(value.item(), 2 * (0.8 - 1) ** 2 + (0.8 - 0.2) ** 2, rtol=1e-5, atol=0)
    value.backward()
    assert p.grad[0, 0][hole].sum() < 0, "the hole should be filled"


def test_betti_matching_adds_up_its_parts():
    p, g = smooth((11, 12), 3, images=2)
    target = g.long()[:, 0]

    def loss(**keywords):
        return segloss.betti_matching_loss(p, target, activation="none", reduction="none", **keywords)

    both = loss(filtration="superlevel") + loss(filtration="sublevel")
    torch.testing.assert_close(loss(filtration="bothlevel"), both)
    essential = 2 * (p.amax((2, 3)) - 1) ** 2
    torch.testing.assert_close(loss() - loss(essential=False), essential)
    missed = loss() - loss(unmatched_target=False)
    assert (missed >= 0).all()
    assert (missed == missed.round()).all(), "intervals of the truth have a length of 1"
    keywords = {"activation": "none", "filtration": "sublevel", "reduction": "none"}
    upside_down = segloss.betti_matching_loss(1 - p, 1 - target, **keywords)
    torch.testing.assert_close(loss(), upside_down)


@pytest.mark.parametrize("shape", [(40,), (11, 12), (5, 4, 6)])
def test_betti_matching_does_not_see_empty_space(shape):
    """Background of probability 0 around the image, or a mask that leaves it out, change nothing."""
    for seed in range(3):
        p, g = smooth(shape, seed + 10)
        around = [2, 1] * len(shape)
        wide, target = F.pad(p, around), F.pad(g, around).long()[:, 0]
        value = segloss.betti_matching_loss(p, g.long()[:, 0], activation="none")
        torch.testing.assert_close(segloss.betti_matching_loss(wide, target, activation="none"), value)
        mask = F.pad(torch.ones_like(g), around)
        noise = torch.where(mask, wide, torch.rand(wide.shape, generator=torch.Generator().manual_seed(seed)))
        masked = segloss.betti_matching_loss(noise, target, activation="none", mask=mask)
        torch.testing.assert_close(masked, value)


def test_betti_matching_of_a_line_is_the_same_from_both_ends():
    """In one dimension no more than two components meet."""
    for seed, relative in itertools.product(range(5), (False, True)):
        p, g = smooth((60,), seed)
        ahead, behind = (
            segloss.betti_matching_loss(q, t.long()[:, 0], activation="none", relative=relative)
            for q, t in ((p, g), (p.flip(2), g.flip(2)))
        )
        torch.testing.assert_close(ahead, behind)


def test_betti_matching_of_flat_images():
    flat = torch.full((1, 1, 6, 7), 0.3, requires_grad=True)
    for target, expected in ((torch.zeros(1, 6, 7), 2 * 0.3**2), (torch.ones(1, 6, 7), 2 * 0.7**2)):
        value = segloss.betti_matching_loss(flat, target.long(), activation="none")
        torch.testing.assert_close(value.item(), expected, rtol=1e-5, atol=0)
        (slope,) = torch.autograd.grad(value, flat)
        assert slope.isfinite().all()


def slow_skeleton(height, threshold, scale):
    """The skeleton from pairs found by matrix reduction, in the order (value, dimension, place, first axis fastest)."""
    cells = []
    for cell, voxels in vertex_cells(height.shape):
        cells.append((max(height[v] for v in voxels), sum(at % 2 for at in cell), cell[::-1], cell))
    cells.sort()
    value = {cell: at for at, _, _, cell in cells}
    age = {cell: number for number, (*_, cell) in enumerate(cells)}
    ordered = [(dim, cell, None) for _, dim, _, cell in cells]
    links, saddles = {}, []
    for birth, death in paired(ordered, ordered):
        persistence = (value[death] - value[birth]) / scale
        of_vertex = sum(at % 2 for at in birth) == 0
        edge = death if of_vertex else birth
        if sum(at % 2 for at in edge) != 1:
            continue
        if persistence > threshold:
            saddles.append(edge)
        elif of_vertex:
            one, two = faces(edge)
            links.setdefault(one, []).append(two)
            links.setdefault(two, []).append(one)

    above, done = {}, set()
    for start in sorted((cell for cell in age if not any(at % 2 for at in cell)), key=age.get):
        front = [] if start in done else [start]
        done.update(front)
        while front:
            cell = front.pop()
            for other in links.get(cell, ()):
                if other not in done:
                    done.add(other)
                    above[other] = cell
                    front.append(other)
    found = np.zeros(height.shape, bool)
    for edge in saddles:
        for cell in faces(edge):
            while cell is not None:
                found[tuple(at // 2 for at in cell)] = True
                cell = above.get(cell)
    return found


@pytest.mark.parametrize("shape", [(31,), (10, 9), (1, 14), (9, 1), (5, 4, 6), (4, 1, 5)])
@pytest.mark.parametrize("levels", [None, 255, 9])
def test_morse_skeleton_is_that_of_matrix_reduction(shape, levels):
    for seed, threshold in itertools.product(range(3), (0.0, 1 / 9, 0.3)):
        p, _ = smooth(shape, seed)
        height = -p[0, 0].numpy() if levels is None else np.trunc(-levels * p[0, 0].numpy())
        found = segloss.morse_skeleton(p, threshold=threshold, levels=levels)[0, 0].numpy()
        assert (found == slow_skeleton(height, threshold, levels or 1)).all()


def test_morse_loss_on_a_skeleton_that_is_known():
    p, g = smooth((12, 10), 1, images=2, channels=2)
    logits = p.logit().requires_grad_()
    ridges = segloss.morse_skeleton(p, threshold=0.1)
    same(
        segloss.discrete_morse_loss(logits, g, activation="sigmoid", threshold=0.1),
        segloss.discrete_morse_loss(logits, g, activation="sigmoid", threshold=0.1, ridges=ridges),
        logits,
    )
    everywhere = torch.ones_like(ridges)
    whole = segloss.discrete_morse_loss(logits, g, activation="sigmoid", ridges=everywhere)
    same(whole, F.binary_cross_entropy(logits.sigmoid(), g.double()), logits)
    on_ridges = F.binary_cross_entropy(logits.sigmoid()[ridges], g[ridges].double())
    value = segloss.discrete_morse_loss(logits, g, activation="sigmoid", ridges=ridges, normalise="skeleton")
    same(value, on_ridges, logits)
    nowhere = segloss.discrete_morse_loss(logits, g, activation="sigmoid", ridges=~everywhere, normalise="skeleton")
    assert nowhere == 0


def test_a_hole_in_the_mask_is_the_end_of_the_image():
    """The skeleton beside masked voxels is that of the crop, and does not enter them."""
    p, _ = smooth((14, 15), 5)
    mask = torch.zeros_like(p, dtype=torch.bool)
    mask[..., 2:11, 4:13] = True
    masked = segloss.morse_skeleton(p.masked_fill(~mask, torch.nan), threshold=0.1, mask=mask)
    assert not masked[~mask].any()
    assert torch.equal(masked[..., 2:11, 4:13], segloss.morse_skeleton(p[..., 2:11, 4:13].contiguous(), threshold=0.1))


@pytest.mark.parametrize(
    ("argument", "call"),
    [
        ("levels", lambda p: segloss.morse_skeleton(p, levels=0)),
        ("threshold", lambda p: segloss.morse_skeleton(p, threshold=-0.1)),
        ("likelihood", lambda p: segloss.morse_skeleton(p[0, 0])),
        ("likelihood", lambda p: segloss.morse_skeleton(p + 1)),
        ("ridges", lambda p: segloss.discrete_morse_loss(p, p[:, 0] > 0.5, ridges=p)),
        ("normalise", lambda p: segloss.discrete_morse_loss(p, p[:, 0] > 0.5, normalise="all")),
        ("construction", lambda p: segloss.betti_matching_loss(p[..., 0], p[:, 0, :, 0] > 0.5, construction="T")),
        ("filtration", lambda p: segloss.betti_matching_loss(p, p[:, 0] > 0.5, filtration="level")),
        ("aggregation", lambda p: segloss.topograph_loss(p, p[:, 0] > 0.5, aggregation="median")),
    ],
)
def test_what_is_refused(argument, call):
    with pytest.raises(ValueError, match=argument):
        call(smooth((6, 7), 0)[0])


def slow_topograph(predicted, truth, eight_connectivity, sphere):
    """Critical regions by the rules of the paper, one pixel and one pair at a time."""
    code = predicted.astype(int) + 2 * truth
    if sphere:
        code = np.pad(code, 1)
    shape, name, nodes = code.shape, {}, []
    for start in np.ndindex(shape):
        if start in name:
            continue
        front, name[start] = [start], len(nodes)
        while front:
            i, j = front.pop()
            for other in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                inside = all(0 <= at < size for at, size in zip(other, shape, strict=True))
                if inside and other not in name and code[other] == code[start]:
                    name[other] = len(nodes)
                    front.append(other)
        nodes.append(code[start])

    plain, special = set(), set()
    weight = dict(enumerate((-4, 1, 2, 16) if eight_connectivity else (16, 1, 2, -4)))
    for i, j in np.ndindex(shape):
        for other in ((i + 1, j), (i, j + 1)):
            if other in name and name[other] != name[i, j]:
                plain.add(frozenset((name[i, j], name[other])))
        if i + 1 < shape[0] and j + 1 < shape[1]:
            a, b, c, d = (i, j), (i, j + 1), (i + 1, j), (i + 1, j + 1)
            across = weight[code[a]] - weight[code[b]] - weight[code[c]] + weight[code[d]]
            pair = frozenset((name[a], name[d]) if across > 0 else (name[b], name[c]))
            if len(pair) == 2 and abs(across) > 7:
                plain.add(pair)
            if len(pair) == 2 and abs(across) in (4, 7):
                special.add(pair)
    plain -= special

    def clusters(pairs, number):
        of = list(range(number))
        for one, two in pairs:
            of = [of[one] if it == of[two] else it for it in of]
        return of

    region = clusters([p for p in map(tuple, plain) if nodes[p[0]] == nodes[p[1]] != 0], len(nodes))
    edges = {frozenset(region[n] for n in pair) for pair in plain if len({region[n] for n in pair}) == 2}
    every = {frozenset(region[n] for n in pair) for pair in plain | special if len({region[n] for n in pair}) == 2}
    critical = []
    for node in sorted(set(region)):
        if nodes[node] not in (1, 2) or not any(node in pair for pair in every):
            continue
        foreground = (3 - nodes[node], 3)
        parts = clusters([p for p in map(tuple, every) if all(nodes[n] in foreground for n in p)], len(nodes))
        others = [next(iter(pair - {node})) for pair in edges if node in pair]
        backgrounds = sum(nodes[n] == 0 for n in others)
        if backgrounds != 1 or len({parts[n] for n in others if nodes[n] != 0}) != 1:
            inside = np.array([region[name[at]] == node for at in np.ndindex(shape)]).reshape(shape)
            critical.append(inside[1:-1, 1:-1] if sphere else inside)
    return critical


AGGREGATED = {
    "mean": torch.mean,
    "sum": torch.sum,
    "max": torch.amax,
    "min": torch.amin,
    "rms": lambda q: q.square().mean().sqrt(),
}


@pytest.mark.parametrize("eight_connectivity", [True, False])
@pytest.mark.parametrize("sphere", [True, False])
@pytest.mark.parametrize("aggregation", AGGREGATED)
def test_topograph_is_that_of_its_rules(eight_connectivity, sphere, aggregation):
    generator = torch.Generator().manual_seed(1)
    for shape in ((9, 11), (1, 8), (12, 7)):
        p = torch.rand(2, 1, *shape, generator=generator, dtype=torch.float64)
        target = (p[:, 0] > 0.5) ^ (torch.rand(2, *shape, generator=generator) < 0.3)
        sure = torch.maximum(p, 1 - p)[:, 0]
        expected = sum(
            AGGREGATED[aggregation](sure[b][torch.from_numpy(region)])
            for b in range(2)
            for region in slow_topograph((p[b, 0] > 0.5).numpy(), target[b].numpy(), eight_connectivity, sphere)
        )
        keywords = {"eight_connectivity": eight_connectivity, "sphere": sphere, "aggregation": aggregation}
        value = segloss.topograph_loss(p, target.long(), activation="none", reduction="sum", **keywords)
        torch.testing.assert_close(value, torch.as_tensor(expected, dtype=torch.float64))


def test_topograph_of_two_channels_is_that_of_one():
    p, g = smooth((15, 14), 4, images=2)
    logits = p.logit().requires_grad_()
    both = torch.cat([torch.zeros_like(logits), logits], 1)
    for aggregation in (*AGGREGATED, "ce"):
        one = segloss.topograph_loss(logits, g[:, 0].long(), aggregation=aggregation)
        two = segloss.topograph_loss(both, g[:, 0].long(), aggregation=aggregation, include_background=False)
        same(one, two, logits)


def betti_numbers(mask):
    """Components, through corners, and holes, whose background is connected through sides."""
    holes = connected_components(np.pad(~mask, 1, constant_values=True).astype(int))[1] - 1
    return connected_components(mask.astype(int), "all")[1], holes


def test_no_critical_region_means_the_same_topology():
    generator = torch.Generator().manual_seed(0)
    kept = broken = 0
    for _ in range(300):
        _, g = smooth((12, 12), int(torch.randint(10**6, (), generator=generator)))
        flipped = torch.rand(g.shape, generator=generator) < 0.01
        p = torch.where(g ^ flipped, 0.8, 0.2)
        value = segloss.topograph_loss(p, g[:, 0].long(), activation="none", sphere=True)
        alike = betti_numbers(p[0, 0].numpy() > 0.5) == betti_numbers(g[0, 0].numpy())
        if value == 0:
            kept += bool(flipped.any())
            assert alike, "the topology differs where no region is critical"
        broken += not alike
    assert kept > 20
    assert broken > 20


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 5), (2, 2), (1, 1, 1), (2, 1, 3)])
@pytest.mark.parametrize("label", [0, 1])
def test_images_of_a_few_voxels_are_finite(shape, label):
    logits = torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_()
    target = torch.full((2, *shape), label)
    losses = [segloss.betti_matching_loss, segloss.discrete_morse_loss]
    losses += [lambda x, y, **k: segloss.betti_matching_loss(x, y, relative=True, filtration="bothlevel", **k)]
    if len(shape) == 2:
        losses += [lambda x, y, **k: segloss.betti_matching_loss(x, y, construction="T", **k)]
        losses += [segloss.topograph_loss, lambda x, y, **k: segloss.topograph_loss(x, y, sphere=True, **k)]
    one_left = torch.cat([torch.full_like(target[:1], 9), target[1:]])
    for loss, (truth, keywords) in itertools.product(losses, ((target, {}), (one_left, {"ignore_index": 9}))):
        value = loss(logits, truth, **keywords)
        (slope,) = torch.autograd.grad(value, logits)
        assert value.isfinite()
        assert slope.isfinite().all()
