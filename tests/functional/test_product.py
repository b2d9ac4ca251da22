from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ArgumentError
from vqkit.functional import balanced_rotation, kmeans, lookup, nearest, optimised_product


def correlated(n: int = 2000, d: int = 8, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, d, generator=generator) @ torch.randn(d, d, generator=generator)


def error(x: torch.Tensor, rotation: torch.Tensor, codes: torch.Tensor) -> float:
    slices = (x @ rotation).reshape(len(x), codes.shape[0], -1).transpose(0, 1)
    decoded = lookup(codes, nearest(slices, codes)).transpose(0, 1).flatten(1) @ rotation.t()
    return (x - decoded).square().sum(1).mean().item()


@given(st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_rotations_are_orthogonal(heads: int, width: int, seed: int):
    D = heads * width
    x = torch.randn(50, D, generator=torch.Generator().manual_seed(seed)) * torch.arange(1, D + 1)
    for rotation in (balanced_rotation(x, heads), optimised_product(x, heads, 4, iters=3).rotation):
        torch.testing.assert_close(rotation @ rotation.t(), torch.eye(D), rtol=0, atol=1e-5)


def test_balanced_slices_are_independent_and_of_equal_spread():
    x = torch.randn(20_000, 8, generator=torch.Generator().manual_seed(0)) * 2.0 ** torch.arange(8)
    rotated = x @ balanced_rotation(x, 4)
    covariance = rotated.t().cov()
    assert (covariance - covariance.diag().diag()).abs().max() < 1e-2 * covariance.diag().max()
    logs = covariance.diag().log().reshape(4, 2).sum(1)
    assert logs.max() - logs.min() < 0.2


def test_more_alternations_lose_less_and_the_rotation_beats_plain_slices():
    x = correlated()
    plain = torch.stack([kmeans(s, 16, generator=torch.Generator().manual_seed(0)).centroids for s in x.split(2, 1)])
    losses = [error(x, torch.eye(8), plain)]
    for iters in (0, 5, 40):
        found = optimised_product(x, 4, 16, iters=iters, generator=torch.Generator().manual_seed(0))
        losses.append(error(x, *found))
    assert losses[0] > losses[1] > losses[3]
    assert losses[2] > losses[3]
    assert losses[3] < 0.8 * losses[0]


def test_bad_arguments_are_named():
    with pytest.raises(ArgumentError, match="num_codebooks: expected a divisor of the width 6, got 4"):
        optimised_product(torch.randn(20, 6), 4, 4)
    with pytest.raises(ArgumentError, match="size: expected at most the 20 rows"):
        optimised_product(torch.randn(20, 6), 2, 30)
    with pytest.raises(ArgumentError, match="x: expected shape"):
        balanced_rotation(torch.randn(20), 2)
    with pytest.raises(ArgumentError, match="x: expected at least one row"):
        balanced_rotation(torch.randn(0, 4), 2)
