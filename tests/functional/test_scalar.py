from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import dither, level_positions, level_values, nearest_levels
from vqkit.functional.scalar import MAX_LEVELS, check_grid

GRIDS = [(symmetric, clamp) for symmetric in (False, True) for clamp in (False, True)]
COUNTS = st.one_of(st.integers(3, 20), st.integers(3, MAX_LEVELS))


@pytest.mark.parametrize(("symmetric", "clamp"), GRIDS)
@given(count=COUNTS, data=st.data())
def test_positions_stay_on_the_grid_and_keep_order(symmetric: bool, clamp: bool, count: int, data: st.DataObject):
    x = torch.tensor(sorted(data.draw(st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1))))[:, None]
    levels = torch.tensor([count])
    positions = level_positions(x, levels, symmetric=symmetric, clamp=clamp)
    assert float(positions.min()) >= -0.26
    assert float(positions.max()) <= count - 1 + 0.26
    nearest = nearest_levels(positions, levels)
    assert bool((nearest.diff(dim=0) >= 0).all())
    assert int(nearest.min()) >= 0
    assert int(nearest.max()) < count


@pytest.mark.parametrize("symmetric", [False, True])
@given(count=COUNTS, data=st.data())
def test_values_between_the_bounds_are_their_own_nearest(symmetric: bool, count: int, data: st.DataObject):
    levels = torch.tensor([count])
    level = torch.tensor([[data.draw(st.one_of(st.integers(0, count - 1), st.sampled_from([0, count - 1])))]])
    value = level_values(level, levels, symmetric=symmetric)
    assert -1 <= float(value) <= 1
    again = nearest_levels(level_positions(value, levels, symmetric=symmetric, clamp=True), levels)
    assert torch.equal(again, level)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("count", [3, 4, 5, 8, 255, 256, 1000, 1001, 5000])
def test_tanh_reaches_every_level(symmetric: bool, count: int):
    """5000 levels: a margin of a thousandth of the whole range would overshoot by two and a half."""
    x = torch.linspace(-9, 9, 2_000_001, dtype=torch.float64)[:, None]
    levels = torch.tensor([count])
    reached = nearest_levels(level_positions(x, levels, symmetric=symmetric), levels)
    assert torch.equal(reached.unique(), torch.arange(count))


def test_symmetric_values_are_mirrored_to_the_bit():
    for count in (2, 7, 10, 1000):
        values = level_values(torch.arange(count)[:, None], torch.tensor([count]), symmetric=True)
        assert torch.equal(values, -values.flip(0))


def test_zero_is_a_level_of_a_grid_that_is_not_symmetric():
    levels = torch.tensor([3, 4, 8, 9, 100])
    for clamp in (False, True):
        nearest = nearest_levels(level_positions(torch.zeros(1, 5), levels, clamp=clamp), levels)
        assert not level_values(nearest, levels).any()


def test_the_gradient_is_that_of_the_squashing():
    levels = torch.tensor([8, 5])
    x = torch.randn(50, 2, dtype=torch.float64, requires_grad=True)
    for symmetric in (False, True):
        assert torch.autograd.gradcheck(lambda v, s=symmetric: level_positions(v, levels, symmetric=s), x)
    assert not nearest_levels(level_positions(x, levels), levels).requires_grad


def test_dither_draws_each_kind_at_its_rate_and_within_the_grid():
    torch.manual_seed(0)
    levels = torch.tensor([8, 3])
    positions = torch.rand(40_000, 2) * (levels - 1)
    out = dither(positions, levels, noise=0.5, skip=0.2)
    rounded = nearest_levels(positions, levels).float()
    assert abs(float((out == positions).float().mean()) - 0.2) < 0.01
    assert abs(float((out == rounded).float().mean()) - 0.3) < 0.06  # clamped noise may land on an outer level
    assert bool((out >= 0).all())
    assert bool((out <= levels - 1).all())
    inner = ((positions > 0.5) & (positions < levels - 1.5)) & (out != positions) & (out != rounded)
    offsets = (out - positions)[inner]
    assert float(offsets.abs().max()) <= 0.5 + 1e-5  # one step of the value's own grid, whatever the level count
    assert abs(float(offsets.std()) - 12**-0.5) < 0.01


def test_dither_per_sample_treats_a_sample_alike():
    torch.manual_seed(0)
    levels = torch.tensor([8, 8])
    positions = torch.rand(600 * 5, 2) * 6 + 0.3
    out = dither(positions, levels, noise=0.4, skip=0.3, samples=600).reshape(600, -1)
    kept = (out == positions.reshape(600, -1)).all(1)
    rounded = (out == nearest_levels(positions, levels).reshape(600, -1)).all(1)
    assert abs(float(kept.float().mean()) - 0.3) < 0.06
    assert abs(float(rounded.float().mean()) - 0.3) < 0.06
    noisy = ~kept & ~rounded
    assert bool(((out != positions.reshape(600, -1)).any(1) == ~kept).all())
    assert float((out - positions.reshape(600, -1))[noisy].abs().max()) <= 0.5 + 1e-5
    assert dither(torch.zeros(0, 2), levels, 0.5, samples=0).shape == (0, 2)


def test_what_does_not_fit_is_named():
    x, levels = torch.zeros(5, 2), torch.tensor([8, 5])
    with pytest.raises(ArgumentError, match=r"x: expected shape \(\.\.\., 2\)"):
        level_positions(torch.zeros(5, 3), levels)
    with pytest.raises(ArgumentTypeError, match="x: expected a floating-point tensor"):
        level_positions(x.long(), levels)
    with pytest.raises(ArgumentTypeError, match="levels: expected an integer tensor"):
        level_positions(x, levels.float())
    with pytest.raises(ArgumentError, match=r"noise \+ skip: expected at most 1"):
        dither(x, levels, 0.8, 0.4)
    with pytest.raises(ArgumentError, match="samples: expected a divisor of the 5 rows, got 2"):
        dither(x, levels, 0.5, samples=2)
    with pytest.raises(ArgumentError, match="levels: expected ints >= 3, or preserve_symmetry"):
        check_grid("levels", [2, 5], symmetric=False)
    with pytest.raises(ArgumentError, match="levels: expected ints <= 1048576"):
        check_grid("levels", [MAX_LEVELS + 1])
