from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import pack_bits, unpack_bits

shapes = st.lists(st.integers(0, 4), max_size=3)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 62), shapes, st.integers(0, 2**31))
def test_bits_and_indices_are_one_to_one(bits: int, shape: list[int], seed: int):
    generator = torch.Generator().manual_seed(seed)
    given_bits = torch.rand(*shape, bits, generator=generator) > 0.5
    indices = pack_bits(given_bits)
    assert indices.dtype == torch.int64
    assert list(indices.shape) == shape
    assert torch.equal(unpack_bits(indices, bits), given_bits)
    some = torch.randint(2**bits, shape, generator=generator)
    assert torch.equal(pack_bits(unpack_bits(some, bits)), some)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 62).flatmap(lambda d: st.tuples(st.just(d), st.integers(0, 2**d - 1))))
def test_the_first_bit_is_the_most_significant(pair: tuple[int, int]):
    bits, value = pair
    written = "".join(str(int(b)) for b in unpack_bits(torch.tensor(value), bits))
    assert int(written, 2) == value
    assert len(written) == bits


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32], ids=str)
def test_any_integer_dtype_unpacks(dtype: torch.dtype):
    indices = torch.tensor([0, 1, 100], dtype=dtype)
    assert torch.equal(unpack_bits(indices, 62), unpack_bits(indices.long(), 62))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: pack_bits(torch.ones(3)), ArgumentTypeError, "bits: expected a bool tensor"),
        (lambda: pack_bits(torch.tensor(True)), ArgumentError, r"bits: expected shape \(..., d\)"),
        (lambda: pack_bits(torch.ones(63, dtype=torch.bool)), ArgumentError, "bits: expected at most 62.*got 63"),
        (lambda: unpack_bits(torch.tensor([1.0]), 3), ArgumentTypeError, "indices: expected an integer tensor"),
        (lambda: unpack_bits(torch.tensor([1]), 63), ArgumentError, "bits: expected at most 62.*got 63"),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()
