from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqkit.errors import ArgumentError
from vqkit.layout import layout_of_indices, rows_that_count, to_rows


@given(st.lists(st.integers(0, 4), min_size=1, max_size=5), st.integers(-5, 4))
def test_rows_and_back(shape: list[int], axis: int):
    if not -len(shape) <= axis < len(shape):
        return
    shape[axis] = 3
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    rows, layout = to_rows(x, 3, axis)
    assert rows.shape == (x.numel() // 3, 3)
    assert torch.equal(layout.restore(rows), x)
    indices = torch.zeros(layout.positions, dtype=torch.int64)
    again, same = layout_of_indices(indices, axis)
    assert again.shape == (rows.shape[0], 1)
    assert same == layout


@pytest.mark.parametrize(
    ("shape", "axis"), [((3,), 0), ((5, 3), 1), ((2, 5, 3), 2), ((2, 3, 4, 5), 1), ((2, 3, 4, 5, 6), 1)], ids=str
)
@pytest.mark.parametrize("columns", [None, 2])
def test_auto_takes_channels_last_up_to_rank_3_and_second_from_rank_4(shape, axis, columns):
    x = torch.arange(float(torch.Size(shape).numel())).reshape(shape)
    rows, layout = to_rows(x, 3, None)
    assert layout.channel_dim == axis
    assert torch.equal(rows, x.movedim(axis, -1).reshape(-1, 3))
    assert torch.equal(layout.restore(rows), x)
    indices = torch.zeros((*layout.positions, *([] if columns is None else [columns])), dtype=torch.int64)
    assert layout_of_indices(indices, None, columns)[1] == layout


@pytest.mark.parametrize("channel_dim", [None, -1, 0])
def test_a_scalar_has_no_channel_axis(channel_dim):
    with pytest.raises(ArgumentError, match="x: expected a tensor with a channel axis"):
        to_rows(torch.zeros(()), 1, channel_dim)


def test_auto_names_the_axis_it_takes():
    with pytest.raises(ArgumentError, match="3 channels along axis 1, got 5"):
        to_rows(torch.zeros(2, 5, 4, 3), 3, None)


def test_lens_count_the_first_rows_of_each_sequence():
    _, layout = to_rows(torch.zeros(3, 4, 2), 2)
    counted = rows_that_count(layout, None, torch.tensor([4, 0, 2]), torch.device("cpu"))
    assert counted.reshape(3, 4).tolist() == [[True] * 4, [False] * 4, [True, True, False, False]]


def test_one_of_mask_and_lens():
    _, layout = to_rows(torch.zeros(3, 4, 2), 2)
    with pytest.raises(ArgumentError, match="mask, lens: expected one of them, got both"):
        rows_that_count(layout, torch.ones(3, 4, dtype=torch.bool), torch.ones(3).long(), torch.device("cpu"))
