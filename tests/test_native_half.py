"""Numbers of half precision are read and rounded in loops as torch reads and rounds them, bit by bit."""

import pytest
import torch

pytest.importorskip("numba")

from segloss.core.native_half import array_of, as_f32, as_in
from segloss.core.native_math import loop

HALF = [torch.bfloat16, torch.float16]
EVERY = torch.arange(-(2**15), 2**15, dtype=torch.int16)


@loop
def read(x, out):
    for i in range(len(out)):
        out[i] = as_f32(x[i])


@loop
def write(x, out):
    for i in range(len(out)):
        out[i] = as_in(x[i], out)


def same(one, other):
    """Equal, the signs of zeros included, or both not a number."""
    return (((one == other) & (one.signbit() == other.signbit())) | (one.isnan() & other.isnan())).all()


@pytest.mark.parametrize("dtype", HALF)
def test_every_number_is_read(dtype):
    found = torch.empty(len(EVERY))
    read(array_of(EVERY.view(dtype)), found.numpy())
    assert same(found, EVERY.view(dtype).float())


@pytest.mark.parametrize("dtype", HALF)
def test_all_are_rounded_to_the_nearest_and_ties_to_the_even(dtype):
    torch.manual_seed(0)
    every = EVERY.view(dtype).float()
    near = every.view(torch.int32) + torch.randint(-(2**13), 2**13, every.shape, dtype=torch.int32)
    steps = torch.tensor([0, 0xFFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001], dtype=torch.int32)
    halfway = (every.view(torch.int32)[:, None] + steps).flatten()
    small = (2.0**-14 * torch.rand(2**16)).view(torch.int32)
    halfway_of_small = (2.0**-25 * torch.arange(2**12)).view(torch.int32)
    given = torch.cat([near, halfway, small, halfway_of_small]).view(torch.float32)
    found = torch.empty(len(given), dtype=dtype)
    write(given.numpy(), array_of(found))
    assert same(found, given.to(dtype))


def test_float32_stays_as_it_is():
    given, found = torch.randn(100), torch.empty(100)
    write(given.numpy(), array_of(found))
    assert torch.equal(found, given)
    read(array_of(given), found.numpy())
    assert torch.equal(found, given)
