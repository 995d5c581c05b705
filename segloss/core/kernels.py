"""What a GPU does in the pass over the logits: one kernel each way, with no map of the classes.

Of classes that exclude each other a program takes all at some voxels of one image; of channels decided each by itself,
some voxels of one channel. It adds up errors, not hits, so that a rare class comes out as exact as a common one. What
each program has added up is added up afterwards, in the same order every time.
"""

# pyright: reportMissingImports=false, reportPossiblyUnboundVariable=false, reportIndexIssue=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false

import triton
import triton.language as tl


@triton.jit
def _log1p(x):
    """log(1 + x), exact where x is small."""
    y = 1 + x
    return tl.where(y == 1, x, tl.log(y) * (x / tl.where(y == 1, 1.0, y - 1)))


@triton.jit
def _power(q, exponent, EDGE: tl.constexpr):
    """A power of a probability, 0 up to the edge."""
    there = q > EDGE
    return tl.where(there, tl.exp(exponent * tl.log(tl.where(there, q, 1.0))), 0.0)


@triton.jit
def _loss(q, ce, gamma, FOCUS: tl.constexpr, EDGE: tl.constexpr):
    return _power(q, gamma, EDGE) * ce if FOCUS else ce


@triton.jit
def _slope(q, ce, gamma, FOCUS: tl.constexpr, EDGE: tl.constexpr):
    """The derivative of the loss with respect to ce."""
    return (q + gamma * (1 - q) * ce) * _power(q, gamma - 1, EDGE) if FOCUS else q * 0 + 1


@triton.jit
def _labels(labels, valid, image, voxel, voxels, DENSE: tl.constexpr, MASKED: tl.constexpr):
    """The labels of some voxels, -1 where ignored; 0 for those that have one for every class."""
    within = voxel < voxels
    if DENSE:
        label = tl.where(within, 0, -1)
    else:
        label = tl.load(labels + image * voxels + voxel, mask=within, other=-1).to(tl.int32)
    if MASKED:
        label = tl.where(tl.load(valid + image * voxels + voxel, mask=within, other=0) != 0, label, -1)
    return label


@triton.jit
def _weights(weights, image, voxel, voxels, WEIGHTED: tl.constexpr, VOXELS: tl.constexpr):
    """The weights of some voxels, 1 where there are none."""
    w = tl.full([VOXELS], 1.0, tl.float32)
    if WEIGHTED:
        w = tl.load(weights + image * voxels + voxel, mask=voxel < voxels, other=0.0)
    return w


@triton.jit
def _of_class(values, row, classes, CLASSES: tl.constexpr):
    """A row of values, one a class, by class."""
    index = tl.arange(0, CLASSES)
    return tl.load(values + row * classes + index, mask=index < classes, other=0)[:, None]


@triton.jit
def _softmax(
    logits, lowered, known, scale, image, voxel, label, classes, of_image, of_class, of_voxel,
    LOWERED: tl.constexpr, TOGETHER: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """Of all classes at some voxels: which is true, p, and of the true one 1 - p and the cross-entropy.

    Where classes are not known those that are true together stand for the true one, each with its share.
    """
    index = tl.arange(0, CLASSES)[:, None]
    at = logits + image * of_image + index * of_class + voxel[None, :] * of_voxel
    x = tl.load(at, mask=(index < classes) & (label >= 0)[None, :], other=0.0).to(tl.float32)
    x = tl.where(index < classes, x * scale, float("-inf"))
    if TOGETHER:
        true = tl.where(_of_class(known, image, classes, CLASSES) == 0, 0, index) == label[None, :]
        some = true | (label < 0)[None, :]
        highest = tl.max(tl.where(some, x, float("-inf")), 0)
        share = tl.where(some, tl.exp(x - highest[None, :]), 0.0)
        all_true = tl.sum(share, 0)
        share = share / all_true[None, :]
        score = highest + tl.log(all_true)
    else:
        true = index == label[None, :]
        if LOWERED:
            x -= tl.where(true, _of_class(lowered, 0, classes, CLASSES), 0.0)
        share = true.to(tl.float32)
        score = tl.sum(tl.where(true, x, 0.0), 0)
    top = tl.max(x, 0)
    e = tl.exp(x - top[None, :])
    total = tl.sum(e, 0)
    q = tl.sum(tl.where(true, 0.0, e), 0) / total
    far = tl.log(total) + top - score
    ce = tl.where(q < 0.5, -_log1p(-tl.minimum(q, 0.5)), far)
    return true, e / total[None, :], q, ce, share


@triton.jit
def _memberships(labels, image, voxel, classes, voxels, CLASSES: tl.constexpr):
    """The labels of every class at some voxels."""
    index = tl.arange(0, CLASSES)[:, None]
    there = (index < classes) & (voxel < voxels)[None, :]
    return tl.load(labels + (image * classes + index) * voxels + voxel[None, :], mask=there, other=0).to(tl.float32)


@triton.jit
def _of_labels(cost, label, classes, CLASSES: tl.constexpr):
    """The cost of every class at some voxels, by their labels."""
    index = tl.arange(0, CLASSES)[:, None]
    there = (index < classes) & (label >= 0)[None, :]
    return tl.load(cost + label[None, :] * classes + index, mask=there, other=0.0)


@triton.jit
def softmax_pass(
    logits, labels, valid, weights, lowered, known, cost, scale, gamma, sums, losses, log_p, voxels, classes, of_image,
    of_class, of_voxel, DENSE: tl.constexpr, MASKED: tl.constexpr, WEIGHTED: tl.constexpr, LOWERED: tl.constexpr,
    TOGETHER: tl.constexpr, COST: tl.constexpr, SUMS: tl.constexpr, SQUARES: tl.constexpr, LOSS: tl.constexpr,
    FOCUS: tl.constexpr, EDGE: tl.constexpr, LOG_P: tl.constexpr, CLASSES: tl.constexpr, VOXELS: tl.constexpr,
    TILES: tl.constexpr,
):  # fmt: skip
    """What some voxels of an image, of classes that exclude each other, add to the sums."""
    program, programs, image = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    wrong = tl.zeros([CLASSES], tl.float32)
    missed = tl.zeros([CLASSES], tl.float32)
    size = tl.zeros([CLASSES], tl.float32)
    w_wrong = tl.zeros([CLASSES], tl.float32)
    w_missed = tl.zeros([CLASSES], tl.float32)
    w_size = tl.zeros([CLASSES], tl.float32)
    w_wrong2 = tl.zeros([CLASSES], tl.float32)
    w_missed2 = tl.zeros([CLASSES], tl.float32)
    price = tl.zeros([CLASSES], tl.float32)
    loss = tl.zeros([CLASSES], tl.float32)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        within = voxel < voxels
        label = _labels(labels, valid, image, voxel, voxels, DENSE, MASKED)
        true, p, q, ce, _ = _softmax(
            logits, lowered, known, scale, image, voxel, label, classes, of_image, of_class, of_voxel,
            LOWERED, TOGETHER, CLASSES,
        )  # fmt: skip
        w = _weights(weights, image, voxel, voxels, WEIGHTED, VOXELS)
        if LOG_P:
            tl.store(log_p + image * voxels + voxel, tl.where(label >= 0, -ce, 0.0), mask=within)
        if LOSS:
            found = w * _loss(q, ce, gamma, FOCUS, EDGE)
            loss += tl.sum(tl.where(true, found[None, :], 0.0), 1)
        if SUMS:
            if DENSE or TOGETHER:
                g = _memberships(labels, image, voxel, classes, voxels, CLASSES) if DENSE else true.to(tl.float32)
                g = tl.where((label >= 0)[None, :], g, 0.0)
                other = tl.where((label >= 0)[None, :], p * (1 - g), 0.0)
                lost = (1 - p) * g
            else:
                g = true.to(tl.float32)
                other = tl.where(true | (label < 0)[None, :], 0.0, p)
                lost = tl.where(true, q[None, :], 0.0)
            wrong += tl.sum(other, 1)
            missed += tl.sum(lost, 1)
            size += tl.sum(g, 1)
            if SQUARES and WEIGHTED:
                w_wrong += tl.sum(w[None, :] * other, 1)
                w_missed += tl.sum(w[None, :] * lost, 1)
                w_size += tl.sum(w[None, :] * g, 1)
            if SQUARES:
                w_wrong2 += tl.sum(w[None, :] * other * other, 1)
                w_missed2 += tl.sum(w[None, :] * lost * lost, 1)
            if COST:
                of_p = _of_labels(cost, label, classes, CLASSES)
                price += tl.sum(tl.where(true, tl.sum(of_p * p, 0)[None, :], 0.0), 1)
    there = index < classes
    if SUMS:
        KINDS: tl.constexpr = 3 + SQUARES * (5 if WEIGHTED else 2)
        out = sums + (image * programs + program) * (KINDS + COST) * classes + index
        tl.store(out, wrong, mask=there)
        tl.store(out + classes, missed, mask=there)
        tl.store(out + 2 * classes, size, mask=there)
        if SQUARES and WEIGHTED:
            tl.store(out + 3 * classes, w_wrong, mask=there)
            tl.store(out + 4 * classes, w_missed, mask=there)
            tl.store(out + 5 * classes, w_size, mask=there)
        if SQUARES:
            tl.store(out + (KINDS - 2) * classes, w_wrong2, mask=there)
            tl.store(out + (KINDS - 1) * classes, w_missed2, mask=there)
        if COST:
            tl.store(out + KINDS * classes, price, mask=there)
    if LOSS:
        tl.store(losses + (image * programs + program) * classes + index, loss, mask=there)


@triton.jit
def by_truth(
    loss, labels, valid, sums, voxels, classes, losses,
    MASKED: tl.constexpr, CLASSES: tl.constexpr, VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The sums of maps over the voxels of each label."""
    program, programs, row = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    total = tl.zeros([CLASSES], tl.float32)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        label = _labels(labels, valid, row // losses, voxel, voxels, False, MASKED)
        x = tl.load(loss + row * voxels + voxel, mask=voxel < voxels, other=0.0)
        total += tl.sum(tl.where(index[:, None] == label[None, :], x[None, :], 0.0), 1)
    tl.store(sums + (row * programs + program) * classes + index, total, mask=index < classes)


@triton.jit
def softmax_gradient(
    logits, labels, valid, weights, lowered, known, cost, scale, gamma, price, of_loss, rise, gradient, voxels, classes,
    of_image, of_class, of_voxel, to_image, to_class, to_voxel, DENSE: tl.constexpr, MASKED: tl.constexpr,
    WEIGHTED: tl.constexpr, LOWERED: tl.constexpr, TOGETHER: tl.constexpr, COST: tl.constexpr, SUMS: tl.constexpr,
    SQUARES: tl.constexpr, LOSS: tl.constexpr, FOCUS: tl.constexpr, EDGE: tl.constexpr, RISES: tl.constexpr,
    CLASSES: tl.constexpr, VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The gradient p (s - s·p - r), and of the true class r more, which is (1 - p) r with what stands before.

    s is the slope with respect to p, r that with respect to the log-probability of the true class.
    """
    program, image = tl.program_id(0), tl.program_id(1).to(tl.int64)
    index = tl.arange(0, CLASSES)
    KINDS: tl.constexpr = 2 + SQUARES * 4
    first = image * (KINDS + COST)
    if SUMS:
        of_wrong = _of_class(price, first, classes, CLASSES)
        of_true = _of_class(price, first + 1, classes, CLASSES)
        w_of_wrong = of_wrong * 0
        w_of_true = of_true * 0
        if SQUARES:
            w_rise_wrong = _of_class(price, first + 2, classes, CLASSES)
            w_rise_true = _of_class(price, first + 3, classes, CLASSES)
        if SQUARES and WEIGHTED:
            w_of_wrong = _of_class(price, first + 4, classes, CLASSES)
            w_of_true = _of_class(price, first + 5, classes, CLASSES)
        if COST:
            of_cost = _of_class(price, first + KINDS, classes, CLASSES)
    if LOSS:
        of_found = _of_class(of_loss, image, classes, CLASSES)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        within = voxel < voxels
        label = _labels(labels, valid, image, voxel, voxels, DENSE, MASKED)
        true, p, q, ce, share = _softmax(
            logits, lowered, known, scale, image, voxel, label, classes, of_image, of_class, of_voxel,
            LOWERED, TOGETHER, CLASSES,
        )  # fmt: skip
        w = _weights(weights, image, voxel, voxels, WEIGHTED, VOXELS)
        r = tl.zeros([VOXELS], tl.float32)
        if RISES:
            r += tl.load(rise + image * voxels + voxel, mask=within, other=0.0)
        if LOSS:
            r -= w * tl.sum(tl.where(true, of_found, 0.0), 0) * _slope(q, ce, gamma, FOCUS, EDGE)
        s = p * 0
        if DENSE or TOGETHER:
            g = _memberships(labels, image, voxel, classes, voxels, CLASSES) if DENSE else true.to(tl.float32)
            if SUMS:
                s += of_wrong * (1 - g) + of_true * g
            if SQUARES:
                s += w[None, :] * (w_of_wrong + w_rise_wrong * p) * (1 - g)
                s += w[None, :] * (w_of_true + w_rise_true * (1 - p)) * g
            found = p * (s - tl.sum(s * p, 0)[None, :])
            if TOGETHER:
                found += r[None, :] * (share - p)
        else:
            s_true = r * 0
            if SUMS:
                s += of_wrong
                s_true += tl.sum(tl.where(true, of_true, 0.0), 0)
                if SQUARES:
                    s += w[None, :] * (w_of_wrong + w_rise_wrong * p)
                    s_true += w * tl.sum(tl.where(true, w_of_true + w_rise_true * q[None, :], 0.0), 0)
                if COST:
                    of_p = _of_labels(cost, label, classes, CLASSES)
                    of_p *= tl.sum(tl.where(true, of_cost, 0.0), 0)[None, :]
                    s += of_p
                    s_true += tl.sum(tl.where(true, of_p, 0.0), 0)
            of_others = tl.sum(tl.where(true, 0.0, s * p), 0)
            at_truth = (1 - q) * (s_true * q - of_others) + r * q
            elsewhere = p * (s - (of_others + s_true * (1 - q) + r)[None, :])
            found = tl.where(true, at_truth[None, :], elsewhere)
        found = tl.where((label >= 0)[None, :], found, 0.0)
        there = (index[:, None] < classes) & within[None, :]
        out = gradient + image * to_image + index[:, None] * to_class + voxel[None, :] * to_voxel
        tl.store(out, found.to(gradient.dtype.element_ty), mask=there)


@triton.jit
def _sigmoid(
    logits, labels, valid, lowered, scale, row, voxel, voxels, classes, of_image, of_class, of_voxel,
    DENSE: tl.constexpr, MASKED: tl.constexpr, LOWERED: tl.constexpr,
):  # fmt: skip
    """Of one channel at some voxels: which count, g, p, 1 - p, and the probability and cross-entropy of the error."""
    image, channel = row // classes, row % classes
    counted = voxel < voxels
    if MASKED:
        counted = counted & (tl.load(valid + image * voxels + voxel, mask=counted, other=0) != 0)
    x = tl.load(logits + image * of_image + channel * of_class + voxel * of_voxel, mask=counted, other=0.0)
    x = x.to(tl.float32) * scale
    if DENSE:
        g = tl.load(labels + row * voxels + voxel, mask=counted, other=0).to(tl.float32)
    else:
        label = tl.load(labels + image * voxels + voxel, mask=counted, other=0).to(tl.int64)
        g = (label == tl.where(classes == 1, 1, channel)).to(tl.float32)
    if LOWERED:
        x -= (2 * g - 1) * tl.load(lowered + channel)
    u = tl.exp(-tl.abs(x))
    large = 1 / (1 + u)
    small = u * large
    p = tl.where(x >= 0, large, small)
    rest = tl.where(x >= 0, small, large)
    error = x * (1 - 2 * g)
    v = tl.exp(-tl.abs(error))
    q = tl.where(error >= 0, 1 / (1 + v), v / (1 + v))
    ce = tl.maximum(error, 0.0) + _log1p(v)
    return counted, tl.where(counted, g, 0.0), p, rest, q, ce


@triton.jit
def sigmoid_pass(
    logits, labels, valid, weights, lowered, scale, gamma, sums, losses, log_p, voxels, classes, of_image, of_class,
    of_voxel, DENSE: tl.constexpr, MASKED: tl.constexpr, WEIGHTED: tl.constexpr, LOWERED: tl.constexpr,
    SUMS: tl.constexpr, SQUARES: tl.constexpr, LOSS: tl.constexpr, FOCUS: tl.constexpr, EDGE: tl.constexpr,
    LOG_P: tl.constexpr, VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """What some voxels of a channel add to the sums."""
    program, programs, row = tl.program_id(0), tl.num_programs(0), tl.program_id(1).to(tl.int64)
    wrong = tl.zeros([VOXELS], tl.float32)
    missed = tl.zeros([VOXELS], tl.float32)
    size = tl.zeros([VOXELS], tl.float32)
    w_wrong = tl.zeros([VOXELS], tl.float32)
    w_missed = tl.zeros([VOXELS], tl.float32)
    w_size = tl.zeros([VOXELS], tl.float32)
    w_wrong2 = tl.zeros([VOXELS], tl.float32)
    w_missed2 = tl.zeros([VOXELS], tl.float32)
    loss_yes = tl.zeros([VOXELS], tl.float32)
    loss_no = tl.zeros([VOXELS], tl.float32)
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        counted, g, p, rest, q, ce = _sigmoid(
            logits, labels, valid, lowered, scale, row, voxel, voxels, classes, of_image, of_class, of_voxel,
            DENSE, MASKED, LOWERED,
        )  # fmt: skip
        w = _weights(weights, row // classes, voxel, voxels, WEIGHTED, VOXELS)
        if LOG_P:
            tl.store(log_p + row * voxels + voxel, tl.where(counted, -ce, 0.0), mask=voxel < voxels)
        if LOSS:
            found = tl.where(counted, w * _loss(q, ce, gamma, FOCUS, EDGE), 0.0)
            loss_yes += found * g
            loss_no += found * (1 - g)
        if SUMS:
            other = tl.where(counted, p * (1 - g), 0.0)
            lost = rest * g
            wrong += other
            missed += lost
            size += g
            if SQUARES and WEIGHTED:
                w_wrong += w * other
                w_missed += w * lost
                w_size += w * g
            if SQUARES:
                w_wrong2 += w * other * other
                w_missed2 += w * lost * lost
    if SUMS:
        KINDS: tl.constexpr = 3 + SQUARES * (5 if WEIGHTED else 2)
        out = sums + (row // classes * programs + program) * KINDS * classes + row % classes
        tl.store(out, tl.sum(wrong, 0))
        tl.store(out + classes, tl.sum(missed, 0))
        tl.store(out + 2 * classes, tl.sum(size, 0))
        if SQUARES and WEIGHTED:
            tl.store(out + 3 * classes, tl.sum(w_wrong, 0))
            tl.store(out + 4 * classes, tl.sum(w_missed, 0))
            tl.store(out + 5 * classes, tl.sum(w_size, 0))
        if SQUARES:
            tl.store(out + (KINDS - 2) * classes, tl.sum(w_wrong2, 0))
            tl.store(out + (KINDS - 1) * classes, tl.sum(w_missed2, 0))
    if LOSS:
        out = losses + (row // classes * programs + program) * 2 * classes + row % classes
        tl.store(out, tl.sum(loss_yes, 0))
        tl.store(out + classes, tl.sum(loss_no, 0))


@triton.jit
def sigmoid_gradient(
    logits, labels, valid, weights, lowered, scale, gamma, price, of_loss, rise, gradient, voxels, classes, of_image,
    of_class, of_voxel, to_image, to_class, to_voxel, DENSE: tl.constexpr, MASKED: tl.constexpr,
    WEIGHTED: tl.constexpr, LOWERED: tl.constexpr, SUMS: tl.constexpr, SQUARES: tl.constexpr, LOSS: tl.constexpr,
    FOCUS: tl.constexpr, EDGE: tl.constexpr, RISES: tl.constexpr, VOXELS: tl.constexpr, TILES: tl.constexpr,
):  # fmt: skip
    """The gradient with respect to the logits of a channel."""
    program, row = tl.program_id(0), tl.program_id(1).to(tl.int64)
    image, channel = row // classes, row % classes
    KINDS: tl.constexpr = 2 + SQUARES * 4
    prices = price + image * KINDS * classes + channel
    for tile in range(TILES):
        voxel = (program * TILES + tile) * VOXELS + tl.arange(0, VOXELS)
        within = voxel < voxels
        counted, g, p, rest, q, ce = _sigmoid(
            logits, labels, valid, lowered, scale, row, voxel, voxels, classes, of_image, of_class, of_voxel,
            DENSE, MASKED, LOWERED,
        )  # fmt: skip
        w = _weights(weights, image, voxel, voxels, WEIGHTED, VOXELS)
        found = p * 0
        if SUMS:
            s = tl.load(prices) * (1 - g) + tl.load(prices + classes) * g
            if SQUARES:
                s += w * tl.load(prices + 2 * classes) * p * (1 - g)
                s += w * tl.load(prices + 3 * classes) * rest * g
            if SQUARES and WEIGHTED:
                s += w * (tl.load(prices + 4 * classes) * (1 - g) + tl.load(prices + 5 * classes) * g)
            found += s * p * rest
        r = p * 0
        if RISES:
            r += tl.load(rise + row * voxels + voxel, mask=within, other=0.0)
        if LOSS:
            yes = tl.load(of_loss + image * 2 * classes + channel)
            no = tl.load(of_loss + (image * 2 + 1) * classes + channel)
            r -= w * (yes * g + no * (1 - g)) * _slope(q, ce, gamma, FOCUS, EDGE)
        found += r * q * (2 * g - 1)
        out = gradient + image * to_image + channel * to_class + voxel * to_voxel
        tl.store(out, tl.where(counted, found, 0.0).to(gradient.dtype.element_ty), mask=within)
