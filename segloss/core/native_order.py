"""The order of the voxels of a class by their errors, from the largest down, as far as it is asked for.

Those between two errors are put into buckets by the first bits of the error, and each bucket is sorted by the others.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np

from segloss.core.native import voxels_of
from segloss.core.native_math import i32, inline, loop, where

TILE, BUCKETS, DIGITS, FEW = 512, 2**10, 2**11, 24
"""Voxels at a time, buckets, digits by which a bucket is sorted, and voxels that are sorted one after the other."""
PLACE, PLACES = 31, 2**31 - 1
"""Bits of the place of a voxel, which an item holds below those of its error and truth."""
RARE = 16
"""Where fewer voxels than one of so many are to be sorted, a branch for each is foreseen by the processor."""
LINE = 8
"""Items in a line of a cache, of which each part has one to throw away what it does not sort."""


@loop
def look(x, labels, yes, valid, g):
    """Where some voxels are of the class."""
    for i in range(len(x)):
        g[i] = where(i32(labels[i]) == yes, i32(1), i32(0))
    if len(valid):
        for i in range(len(x)):
            g[i] &= i32(valid[i])


@inline
def _item(fall, is_hit, place):
    """What is sorted: how far the bits of an error are from the largest, the truth, and the place."""
    return ((2 * np.int64(fall) + is_hit) << PLACE) | place


@loop
def _look_for(e, top, bottom, shift, bucket, inside):
    """The bucket of each error, whether it has one, and how many have."""
    some = i32(0)
    for i in range(len(e)):
        inside[i] = where((e[i] >= bottom) & (e[i] <= top), i32(1), i32(0))
        bucket[i] = where(inside[i] == 1, i32((top - e[i]) >> shift), i32(BUCKETS))
        some += inside[i]
    return some


@loop
def count(part, parts, p, c, images, top, bottom, shift, counts):
    """How many voxels of one part are in each bucket, and above all."""
    voxels = p.shape[2]
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    bits, number = p.view(np.int32), counts[part]
    bucket, inside = np.empty(TILE, np.int32), np.empty(TILE, np.int32)
    top, bottom, shift = i32(top), i32(bottom), i32(shift)
    above, number[:] = 0, 0
    for image in range(images[0], images[1]):
        for first in range(start, end, TILE):
            e = bits[image, c, first : min(first + TILE, end)]
            some = _look_for(e, top, bottom, shift, bucket, inside)
            for i in range(len(e)):
                above += where(e[i] > top, i32(1), i32(0))
            if RARE * some < len(e):
                for i in range(len(e)):
                    if inside[i]:
                        number[bucket[i]] += 1
            else:
                for i in range(len(e)):
                    number[bucket[i]] += 1
    number[BUCKETS] = above


@loop
def fill(part, parts, p, c, images, labels, of, yes, valid, top, bottom, shift, counts, items):
    """Put the voxels of one part into their buckets, which are one after the other."""
    voxels = p.shape[2]
    start, end = part * voxels // parts, (part + 1) * voxels // parts
    bits, ends = p.view(np.int32), np.empty(BUCKETS + 1, np.int64)
    total = 0
    for k in range(BUCKETS):
        ends[k] = total + counts[:part, k].sum()
        total += counts[:, k].sum()
    ends[BUCKETS] = total + LINE * part
    g, bucket, inside = np.empty(TILE, np.int32), np.empty(TILE, np.int32), np.empty(TILE, np.int32)
    top, bottom, shift = i32(top), i32(bottom), i32(shift)
    for image in range(images[0], images[1]):
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            e = bits[image, c, first:last]
            some = _look_for(e, top, bottom, shift, bucket, inside)
            look(e, labels[image, of, first:last], yes, voxels_of(valid, image, first, last), g)
            place = (image * p.shape[1] + c) * voxels + first
            if RARE * some < len(e):
                for i in range(len(e)):
                    if inside[i]:
                        items[ends[bucket[i]]] = _item(top - e[i], g[i], place + i)
                        ends[bucket[i]] += 1
            else:
                for i in range(len(e)):
                    items[ends[bucket[i]]] = _item(top - e[i], g[i], place + i)
                    ends[bucket[i]] += inside[i]


@loop
def _sort_few(items):
    """Sort by insertion."""
    for i in range(1, len(items)):
        item, k = items[i], i
        while k > 0 and items[k - 1] > item:
            items[k] = items[k - 1]
            k -= 1
        items[k] = item


@loop
def _sort_by(items, out, starts, shift, mask):
    """Put items in the order of some bits, of which `starts` holds the numbers."""
    total = 0
    for k in range(mask + 1):
        n = starts[k]
        starts[k] = total
        total += n
    for i in range(len(items)):
        digit = (items[i] >> shift) & mask
        out[starts[digit]] = items[i]
        starts[digit] += 1


@loop
def _sort(items, spare, bits, first, second):
    """Sort items that differ in some bits of their errors, in two steps."""
    few = bits // 2
    low, high = (1 << few) - 1, (1 << (bits - few)) - 1
    first[: low + 1], second[: high + 1] = 0, 0
    for i in range(len(items)):
        first[(items[i] >> PLACE) & low] += 1
        second[(items[i] >> (PLACE + few)) & high] += 1
    by_low = first[(items[0] >> PLACE) & low] < len(items)
    by_high = second[(items[0] >> (PLACE + few)) & high] < len(items)
    if by_low and by_high:
        _sort_by(items, spare, first, PLACE, low)
        _sort_by(spare[: len(items)], items, second, PLACE + few, high)
    elif by_low or by_high:
        if by_low:
            _sort_by(items, spare, first, PLACE, low)
        else:
            _sort_by(items, spare, second, PLACE + few, high)
        for i in range(len(items)):
            items[i] = spare[i]


@loop
def order(part, parts, shift, counts, items, found):
    """Sort the items of some buckets, and find how many of them are hits, where they begin, and where they end."""
    total, start, largest = counts[:, :BUCKETS].sum(), 0, 0
    for k in range(BUCKETS):
        largest = max(largest, counts[:, k].sum())
    spare = np.empty(largest, np.int64)
    first, second = np.empty(DIGITS, np.int32), np.empty(DIGITS, np.int32)
    hits, begin, finish = 0, 0, 0
    for k in range(BUCKETS):
        end = start + counts[:, k].sum()
        if part * total <= start * parts < (part + 1) * total:
            some = items[start:end]
            if len(some) > FEW:
                _sort(some, spare, shift + 1, first, second)
            elif len(some) > 1:
                _sort_few(some)
            begin, finish = start if finish == 0 else begin, end
        start = end
    for i in range(begin, finish):
        hits += (items[i] >> PLACE) & 1
    found[part, 5], found[part, 6], found[part, 7] = hits, begin, finish
