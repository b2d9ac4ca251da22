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


def test_lens_count_the_first_rows_of_each_sequence():
    _, layout = to_rows(torch.zeros(3, 4, 2), 2)
    counted = rows_that_count(layout, None, torch.tensor([4, 0, 2]), torch.device("cpu"))
    assert counted.reshape(3, 4).tolist() == [[True] * 4, [False] * 4, [True, True, False, False]]


def test_one_of_mask_and_lens():
    _, layout = to_rows(torch.zeros(3, 4, 2), 2)
    with pytest.raises(ArgumentError, match="mask, lens: expected one of them, got both"):
        rows_that_count(layout, torch.ones(3, 4, dtype=torch.bool), torch.ones(3).long(), torch.device("cpu"))
