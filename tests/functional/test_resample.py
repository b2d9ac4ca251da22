"""Area means against their definition, cell by cell; interpolation against what defines it."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import area_down, upsample
from vqkit.functional.resample import MODES

SIZES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)).map(sorted), min_size=1, max_size=3)


def maps(size: tuple[int, ...], seed: int = 0) -> Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SIZES)
def test_a_cell_is_the_mean_of_what_it_covers(pairs: list[list[int]]):
    coarse, fine = [a for a, _ in pairs], [b for _, b in pairs]
    x = maps(tuple(fine))
    got = area_down(x, coarse)
    for cell in itertools.product(*map(range, coarse)):
        spans = [slice(i * n // m, math.ceil((i + 1) * n / m)) for i, m, n in zip(cell, coarse, fine, strict=True)]
        mean = x[(..., *spans)].flatten(2).mean(2)
        torch.testing.assert_close(got[(..., *cell)], mean)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(SIZES, st.sampled_from(MODES))
def test_constants_stay_and_the_size_is_the_one_asked_for(pairs: list[list[int]], mode: str):
    coarse, fine = [a for a, _ in pairs], [b for _, b in pairs]
    flat = torch.full((2, 3, *coarse), 0.7)
    torch.testing.assert_close(upsample(flat, fine, mode), torch.full((2, 3, *fine), 0.7))


@settings(max_examples=40, deadline=None, derandomize=True)
@given(SIZES, st.sampled_from(MODES))
def test_interpolation_goes_axis_by_axis(pairs: list[list[int]], mode: str):
    coarse, fine = [a for a, _ in pairs], [b for _, b in pairs]
    x = maps(tuple(coarse))
    one_by_one = x
    for axis, n in enumerate(fine, 2):
        lines = one_by_one.movedim(axis, -1)
        rows = upsample(lines.reshape(1, lines[..., 0].numel(), lines.shape[-1]), (n,), mode)
        one_by_one = rows.reshape(*lines.shape[:-1], n).movedim(-1, axis)
    torch.testing.assert_close(upsample(x, fine, mode), one_by_one)


def test_cubic_is_torchs_bicubic_and_linear_keeps_straight_lines():
    x = maps((3, 4))
    assert torch.equal(upsample(x, (7, 9)), F.interpolate(x, size=(7, 9), mode="bicubic"))
    line = torch.arange(8.0)[None, None]
    centres = (torch.arange(16.0) + 0.5) / 2 - 0.5
    torch.testing.assert_close(upsample(line, (16,), "linear")[0, 0, 1:-1], centres[1:-1])


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_own_size_changes_nothing_and_an_empty_batch_stays_empty(axes: int):
    x = maps((4,) * axes)
    assert area_down(x, (4,) * axes) is x
    for mode in MODES:
        assert upsample(x, (4,) * axes, mode) is x
        assert upsample(x[:0], (6,) * axes, mode).shape == (0, 3, *(6,) * axes)
    assert area_down(x[:0], (2,) * axes).shape == (0, 3, *(2,) * axes)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: area_down(torch.zeros(2, 3), ()), r"x: expected shape \(B, C, \*size\)"),
        (lambda: area_down(torch.zeros(2, 3, 4), (2, 2)), "size: expected 1 numbers"),
        (lambda: area_down(torch.zeros(2, 3, 4), (5,)), r"size: expected at most \(4,\), got \(5,\)"),
        (lambda: area_down(torch.zeros(2, 3, 4), (0,)), "size: expected an int >= 1"),
        (lambda: upsample(torch.zeros(2, 3, 4), (3,)), r"size: expected at least \(4,\), got \(3,\)"),
        (lambda: upsample(torch.zeros(2, 3, 4), (8,), "nearest"), "mode: expected one of 'cubic', 'linear'"),
    ],
)
def test_what_does_not_fit_is_named(call, match: str):
    with pytest.raises(ArgumentError, match=match):
        call()


def test_integers_are_no_maps():
    with pytest.raises(ArgumentTypeError, match="x: expected a floating-point tensor"):
        area_down(torch.zeros(2, 3, 4, dtype=torch.int64), (2,))
