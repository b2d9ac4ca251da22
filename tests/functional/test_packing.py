from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import pack_levels, unpack_levels
from vqkit.functional.packing import MAX_INDICES, check_level_counts


@st.composite
def level_counts(draw: st.DrawFn, largest: int = MAX_INDICES) -> list[int]:
    """Up to ten counts with a product of at most 2^62, large ones as likely as small ones."""
    counts: list[int] = []
    for _ in range(draw(st.integers(1, 10))):
        room = min(largest, MAX_INDICES // math.prod(counts))
        power = draw(st.integers(0, room.bit_length() - 1))
        counts.append(draw(st.integers(2**power, min(room, 2 ** (power + 1)))))
    return counts


@given(level_counts(), st.data())
def test_levels_and_indices_are_in_bijection(counts: list[int], data: st.DataObject):
    size = math.prod(counts)
    index = data.draw(st.one_of(st.integers(0, size - 1), st.just(size - 1), st.just(0)))
    levels = unpack_levels(torch.tensor([index]), counts)
    # Python's integers know no overflow.
    expected, rest = [], index
    for count in counts:
        rest, digit = divmod(rest, count)
        expected.append(digit)
    assert levels.tolist() == [expected]
    assert pack_levels(levels, counts).tolist() == [index]


@given(level_counts(), st.data())
def test_packing_is_monotone_in_the_last_coordinate(counts: list[int], data: st.DataObject):
    levels = torch.tensor([[data.draw(st.integers(0, count - 1)) for count in counts]])
    index = pack_levels(levels, torch.tensor(counts))
    assert 0 <= int(index) < math.prod(counts)
    assert torch.equal(unpack_levels(index, torch.tensor(counts)), levels)


def test_all_indices_of_a_small_grid():
    indices = torch.arange(8 * 5 * 3).reshape(2, 60)
    levels = unpack_levels(indices, [8, 5, 3])
    assert levels.shape == (2, 60, 3)
    assert len(set(map(tuple, levels.reshape(-1, 3).tolist()))) == 120
    assert torch.equal(pack_levels(levels, [8, 5, 3]), indices)


@pytest.mark.parametrize(
    ("counts", "error"),
    [
        ([], ArgumentError),
        ("88", ArgumentTypeError),
        (8, ArgumentTypeError),
        ([8, 0], ArgumentError),
        ([8, 2.5], ArgumentTypeError),
        ([2] * 63, ArgumentError),
        ([MAX_INDICES, 2], ArgumentError),
    ],
    ids=str,
)
def test_counts_that_do_not_fit_are_named(counts: object, error: type):
    with pytest.raises(error, match="levels: expected"):
        check_level_counts("levels", counts)


def test_shapes_and_dtypes_that_do_not_fit_are_named():
    with pytest.raises(ArgumentError, match=r"levels: expected shape \(\.\.\., 2\)"):
        pack_levels(torch.zeros(3, 3, dtype=torch.int64), [8, 5])
    with pytest.raises(ArgumentTypeError, match="levels: expected an integer tensor"):
        pack_levels(torch.zeros(3, 2), [8, 5])
    with pytest.raises(ArgumentTypeError, match="indices: expected an integer tensor"):
        unpack_levels(torch.zeros(3), [8, 5])
