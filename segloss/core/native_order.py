"""The order of the voxels of a class by their errors, from the largest down, as far as it is asked for.

Those between two errors are put into buckets by the first bits of the error, and each bucket is sorted by the others.
"""

# pyright: reportIndexIssue=false, reportCallIssue=false

import numpy as np

from segloss.core.native_math import ONE, ZERO, bits_of, f32, i32, inline, loop, of_bits, where
from segloss.core.native_parts import span

TILE, BUCKETS, DIGITS, FEW = 512, 2**9, 2**12, 24
"""Voxels at a time, buckets, digits by which a bucket is sorted, and voxels that are sorted one after the other."""
PLACE, PLACES = 31, 2**31 - 1
"""Bits of the place of a voxel, which an item holds below those of its error and truth."""
SIZE = i32(0x7FFFFFFF)
"""The bits of an error without its sign, and the most that they can be."""
RARE = 16
"""Where fewer voxels than one of so many are to be sorted, a branch for each is foreseen by the processor."""
LINE = 8
"""Items in a line of a cache, of which each part has one to throw away what it does not sort."""


@inline
def _item(fall, is_hit, place):
    """What is sorted: how far the bits of an error are from the largest, the truth, and the place."""
    return ((2 * np.int64(fall) + is_hit) << PLACE) | place


@loop
def _look_for(x, top, bottom, e, inside):
    """The bits of some errors, whether they are to be sorted, how many are, and how many are above all that are."""
    some, above = i32(0), i32(0)
    for i in range(len(x)):
        e[i] = bits_of(x[i]) & SIZE
        inside[i] = where((e[i] >= bottom) & (e[i] <= top), i32(1), i32(0))
        some += inside[i]
        above += where(e[i] > top, i32(1), i32(0))
    return some, above


@loop
def _bucket_of(bucket, e, inside, top, shift):
    """The bucket of each error that is to be sorted, and one for all others."""
    for i in range(len(e)):
        bucket[i] = where(inside[i] == 1, i32((top - e[i]) >> shift), i32(BUCKETS))


@loop
def count(part, parts, errors, c, images, top, bottom, shift, counts):
    """How many voxels of one part are in each bucket, and above all."""
    voxels = errors.shape[2]
    number, room = counts[part], np.empty((3, TILE), np.int32)
    e, bucket, inside = room[0], room[1], room[2]
    top, bottom, shift = i32(top), i32(bottom), i32(shift)
    above, number[:] = 0, 0
    for image in range(images[0], images[1]):
        start, end = span(part, parts, image - images[0], images[1] - images[0], voxels)
        for first in range(start, end, TILE):
            x = errors[image, c, first : min(first + TILE, end)]
            some, more = _look_for(x, top, bottom, e, inside)
            above += more
            if RARE * some < len(x):
                for i in range(len(x) if some else 0):
                    if inside[i]:
                        number[(top - e[i]) >> shift] += 1
            else:
                _bucket_of(bucket, e[: len(x)], inside, top, shift)
                for i in range(len(x)):
                    number[bucket[i]] += 1
    number[BUCKETS] = above


@loop
def fill(part, parts, errors, c, images, top, bottom, shift, size, other, counts, items):
    """Put the voxels of one part into their buckets, which are one after the other, and write the slopes of the rest.

    These are -1 over the size of the class where one of it is wrong by more than all that are sorted, else 0, as those
    of an `other` class are; what they add to the value is returned.
    """
    voxels = errors.shape[2]
    ends, room = np.empty(BUCKETS + 1, np.int64), np.empty((4, TILE), np.int32)
    e, bucket, inside, g = room[0], room[1], room[2], room[3]
    total, value, share = 0, 0.0, ONE / f32(size)
    for k in range(BUCKETS):
        ends[k] = total + counts[:part, k].sum()
        total += counts[:, k].sum()
    ends[BUCKETS] = total + LINE * part
    top, bottom, shift = i32(top), i32(bottom), i32(shift)
    for image in range(images[0], images[1]):
        start, end = span(part, parts, image - images[0], images[1] - images[0], voxels)
        for first in range(start, end, TILE):
            last = min(first + TILE, end)
            x = errors[image, c, first:last]
            some, _ = _look_for(x, top, bottom, e, inside)
            rest = ZERO
            for i in range(len(x)):
                g[i] = where(bits_of(x[i]) < 0, i32(1), i32(0))
                above = where((e[i] > top) & (g[i] == 1), ONE, ZERO)
                rest += above * of_bits(e[i])
                x[i] = -share * above
            value += rest
            if other:
                errors[image, c + 1, first:last] = ZERO
            place = (image * errors.shape[1] + c) * voxels + first
            if RARE * some < len(x):
                for i in range(len(x) if some else 0):
                    if inside[i]:
                        k = (top - e[i]) >> shift
                        items[ends[k]] = _item(top - e[i], g[i], place + i)
                        ends[k] += 1
            else:
                _bucket_of(bucket, e[: len(x)], inside, top, shift)
                for i in range(len(x)):
                    items[ends[bucket[i]]] = _item(top - e[i], g[i], place + i)
                    ends[bucket[i]] += inside[i]
    return value * share


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
    found[part, 0], found[part, 1], found[part, 2] = hits, begin, finish
