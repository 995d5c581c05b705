"""Parts of the logits that fit a cache, with the activation and its gradient in arrays that are used again."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from segloss.core.inputs import ResolvedActivation, can_look_at, compute_dtype

Block = Shaped[Tensor, "B C N"]

OF_BYTES = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class At:
    """As many whole images as there are cores, or a multiple; or voxels of one, folded: part after part, as if images.

    So operations along any axis are split over the cores alike, and a core finds in its cache what it has written: to
    read from the cache of another takes several times as long where the two share none.
    """

    images: slice
    voxels: slice
    folds: int = 1

    def of(self, x: Block) -> Block:
        """The block of an array with voxels."""
        x = self.unfolded(x)
        return x if self.folds == 1 else x.unflatten(2, (self.folds, -1))[0].transpose(0, 1)

    def unfolded(self, x: Block) -> Block:
        """The same, as it lies in the array."""
        return x[self.images, :, self.voxels]

    def each(self, x: Tensor) -> Tensor:
        """What images have, for the block."""
        x = x[self.images]
        return x if self.folds == 1 else x.expand(self.folds, *x.shape[1:])

    def add(self, x: Tensor, sums: Tensor) -> None:
        """Add sums over the voxels of the block to those of images."""
        x[self.images].add_(sums if self.folds == 1 else sums.sum(0, keepdim=True, dtype=x.dtype))


SIZE = {"cpu": 3 * 2**16, "cuda": 2**23}
"""Values of a block; on the CPU of one or two cores."""


def blocks(logits: Block, arrays: int = 2, cores: int | None = None) -> Iterator[tuple[At, tuple[Block, ...]]]:
    """Parts that fit a cache: their indices, and arrays to work in; see `parts`."""
    space = None
    for at in parts(logits, cores=cores):
        shape = at.of(logits).shape
        if space is None:
            space = logits.new_empty(arrays, shape.numel(), dtype=compute_dtype(logits.dtype))
        yield at, space[:, : shape.numel()].unflatten(1, shape).unbind()


def parts(logits: Block, scale: float = 1.0, cores: int | None = None, arrays: int = 3) -> Iterator[At]:
    """Indices of parts that fit a cache, some whole images or some voxels of one; none is larger than the first.

    `scale` is how much larger than usual they may be; `cores` are the threads of this process where not given. Many
    logits are cut into larger parts, as long as so many `arrays` of a part take no more than a quarter of them.
    """
    images, classes, voxels = logits.shape
    cores = cores_for(logits) if cores is None else cores
    size = round(scale * SIZE.get(logits.device.type, SIZE["cuda"]) * max(1, cores / 2))
    size = max(size, min(3 * size, logits.numel() // (4 * arrays)))
    rows = min(images, max(1, size // (classes * voxels)))
    rows = max(rows - rows % cores, cores if images % cores == 0 else 1)
    columns = -(-voxels // max(1, -(-rows * classes * voxels // size)))
    folds = 1 if rows > 1 else cores
    columns = min(voxels, -(-columns // folds) * folds)
    for row in range(0, images, rows):
        for column in range(0, voxels, columns):
            number = min(columns, voxels - column)
            yield At(slice(row, row + rows), slice(column, column + number), folds if number % folds == 0 else 1)


def cores_for(logits: Block) -> int:
    """Over how many cores an operation is split."""
    return torch.get_num_threads() if logits.device.type == "cpu" else 1


def part(x: Tensor | None, at: At) -> Tensor | None:
    """The block of a tensor that may not be there."""
    return None if x is None else at.of(x)


def each(x: Tensor | None, at: At) -> Tensor | None:
    """What images have, for the block, of what may not be there."""
    return None if x is None else at.each(x)


def predicted(
    logits: Block, valid: Tensor | None, activation: ResolvedActivation, work: tuple[Block, ...] | None = None
) -> Block:
    """Probabilities in at least float32, zero where ignored; with `work` they stand in its first array."""
    first, second = work[:2] if work else (None, None)
    dtype = compute_dtype(logits.dtype)
    if activation == "none":
        return kept(put(logits, dtype, first), valid, in_place=work is not None)
    direct = logits.dtype == dtype and logits.is_contiguous()
    x = logits if direct else put(logits, dtype, second)
    x = kept(x, valid) if work is None else x  # a gradient must not meet what is ignored
    p = torch.softmax(x, 1, out=first) if activation == "softmax" else torch.sigmoid(x, out=first)
    return kept(p, valid, in_place=work is not None)


def chain(out: Block, slope: Block, p: Block, valid: Tensor | None, activation: ResolvedActivation) -> None:
    """Write the gradient with respect to the logits into `out`, from the slope with respect to p, which is used up.

    The backward of softmax writes elsewhere when its output has strides, so it writes over the slope.
    """
    if activation == "softmax":
        torch.ops.aten._softmax_backward_data.out(slope, p, 1, p.dtype, grad_input=slope)
    elif activation == "sigmoid":
        torch.ops.aten.sigmoid_backward.grad_input(slope, p, grad_input=slope)
    else:
        kept(slope, valid, in_place=True)
    out.copy_(slope)


def put(x: Tensor, dtype: torch.dtype, out: Tensor | None) -> Tensor:
    """`x` in another type, in `out` where that is given; bits of a boolean are read as numbers, eight times as fast."""
    x = x.view(torch.uint8) if x.dtype == torch.bool else x
    return x.to(dtype) if out is None else out.copy_(x)


def kept(x: Tensor, valid: Tensor | None, *, in_place: bool = False) -> Tensor:
    """`x`, zero where ignored.

    On the CPU bits are cleared, which takes an eighth of the time of filling with a mask.
    """
    if valid is None:
        return x
    if x.requires_grad or not can_look_at(x):
        return x.masked_fill_(~valid, 0) if in_place else x.masked_fill(~valid, 0)
    bits = x.view(OF_BYTES[x.element_size()])
    every = put(valid, bits.dtype, None).neg_()
    return bits.bitwise_and_(every).view(x.dtype) if in_place else bits.bitwise_and(every).view(x.dtype)


def weighted(x: Tensor, weights: Tensor | None) -> Tensor:
    """`x`, each voxel times its weight."""
    return x if weights is None else x * weights
