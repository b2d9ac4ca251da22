"""Levels on a GPU, or in the interpreter, against the reference."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.functional.scalar import LevelGrid, level_grid
from vqkit.kernels import reference, triton

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def drawn(levels: list[int], rows: int) -> tuple[Tensor, LevelGrid]:
    x = 2 * torch.randn(rows, len(levels), generator=torch.Generator().manual_seed(rows))
    grid = level_grid(torch.tensor(levels), torch.float32, symmetric=False)
    return x.to(DEVICE), LevelGrid(*(t.to(DEVICE) for t in grid))


@pytest.mark.parametrize("rows", [0, 1, 31, 300] + [300_000] * GPU)
@pytest.mark.parametrize(
    "levels",
    [[3], [8, 5, 5, 5], [2, 1000, 7], [2] * 9, [2] * 61, [1] * 70 + [5], [2**20] * 3],
    ids=lambda v: f"{len(v)}-{v[0]}",
)
def test_levels_both_ways(levels: list[int], rows: int):
    x, grid = drawn(levels, rows)
    if levels[0] == 1:
        one = torch.ones_like(grid.middle)  # where a grid of one level has zero
        grid = grid._replace(middle=one, shift=one / 10, slope=one / 3)
    *numbers, slope = grid
    values, indices, squashed = triton.snap_levels(x, *numbers)
    expected = reference.snap_levels(x, *numbers)
    if max(levels) < 2**20:  # at a step of two roundings of t, a last digit of tanh decides
        assert torch.equal(indices, expected[1])
        assert torch.equal(values, expected[0])
    torch.testing.assert_close(values, expected[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(squashed, expected[2])
    for g in (torch.randn_like(x), torch.ones((), device=DEVICE).expand_as(x), torch.randn_like(x.t()).t()):
        torch.testing.assert_close(triton.unsquash(g, squashed, slope), reference.unsquash(g, squashed, slope))


def test_halfway_goes_up_and_the_ends_stay_on_the_grid():
    x = torch.tensor([[-1e30, -1e-40], [0.0, 0.0], [1e-40, 1e30]], device=DEVICE)
    _, grid = drawn([4, 5], 1)
    grid = grid._replace(shift=torch.zeros_like(grid.shift))
    values, indices, _ = triton.snap_levels(x, *grid[:-1])
    expected = reference.snap_levels(x, *grid[:-1])
    assert torch.equal(values, expected[0])
    assert torch.equal(indices, expected[1])


def test_rows_of_a_view():
    x, grid = drawn([8, 5, 5, 5], 50)
    view = x.t().contiguous().t()
    assert not view.is_contiguous()
    for found, expected in zip(triton.snap_levels(view, *grid[:-1]), triton.snap_levels(x, *grid[:-1]), strict=True):
        assert torch.equal(found, expected)


def test_a_number_that_is_none_stays_one():
    x, grid = drawn([8, 5], 4)
    x[2, 1] = torch.nan
    values, indices, squashed = triton.snap_levels(x, *grid[:-1])
    assert values.isnan().nonzero().tolist() == squashed.isnan().nonzero().tolist() == [[2, 1]]
    others = [0, 1, 3]
    assert torch.equal(indices[others], reference.snap_levels(x[others], *grid[:-1])[1])


def test_other_types_go_to_the_reference():
    x, grid = drawn([8, 5], 6)
    half = [t.bfloat16() if t.is_floating_point() else t for t in grid]
    values, indices, squashed = triton.snap_levels(x.bfloat16(), *half[:-1])
    assert values.dtype == squashed.dtype == torch.bfloat16
    assert torch.equal(indices, reference.snap_levels(x.bfloat16(), *half[:-1])[1])
    assert triton.unsquash(values, squashed, half[-1]).dtype == torch.bfloat16
