"""Asks for voxels that are read or written soon, which the processor then fetches while it computes.

It does not foresee them by itself: the row of a class lies far from that of the next.
"""

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

LINE = 16
"""Values that come from memory together."""


def _fetch(to_write: bool) -> Any:
    """Asks for a voxel of a class."""

    @intrinsic
    def fetch(context: Any, x: Any, image: Any, c: Any, i: Any) -> Any:
        def ask(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            kind, number = signature.args[0], ir.IntType(32)
            array = context.make_array(kind)(context, builder, args[0])
            at = cgutils.get_item_pointer(context, builder, kind, array, args[1:])
            place = ir.IntType(8).as_pointer()
            of = ir.FunctionType(ir.VoidType(), [place, number, number, number])
            function = cgutils.get_or_insert_function(builder.module, of, "llvm.prefetch.p0")
            builder.call(function, [builder.bitcast(at, place), *map(number, (int(to_write), 3, 1))])
            return context.get_dummy_value()

        return types.void(x, types.intp, types.intp, types.intp), ask

    return fetch


_fetch_to_read, _fetch_to_write = _fetch(to_write=False), _fetch(to_write=True)


@njit(cache=True, forceinline=True)
def fetch_ahead(x, image, c, first, n):
    """Fetch the voxels of a class that follow some."""
    for i in range(first + n, min(first + 2 * n, x.shape[2]), LINE):
        _fetch_to_read(x, image, c, i)


@njit(cache=True, forceinline=True)
def fetch_place(x, i):
    """Fetch a voxel that is to be written."""
    _fetch_to_write(x, 0, 0, i)


@njit(cache=True, forceinline=True)
def fetch_next(x, image, c, first, n):
    """Fetch some voxels of the class after the next, which are to be written."""
    if c + 2 < x.shape[1]:
        for i in range(first, first + n, LINE):
            _fetch_to_write(x, image, c + 2, i)
