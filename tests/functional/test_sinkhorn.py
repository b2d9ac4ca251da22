from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqkit.errors import ArgumentError
from vqkit.functional import logits as logits_module
from vqkit.functional import nearest, perplexity, sinkhorn_assignment
from vqkit.functional.usage import count_codes


def dense(x: torch.Tensor, codes: torch.Tensor, epsilon: float, iters: int) -> torch.Tensor:
    """The textbook's matrix: rows to one, columns to N/K, the largest of every row."""
    N, K = len(x), len(codes)
    cost = (x[:, None].double() - codes.double()).square().sum(-1)
    centred = cost - cost.mean(0) - cost.mean(1, keepdim=True) + cost.mean()
    spread = centred.square().mean().sqrt()
    plan = (-centred / (epsilon * spread if spread > 0 else 1.0)).exp()
    for _ in range(iters):
        plan = plan / plan.sum(1, keepdim=True)
        plan = plan / plan.sum(0) * (N / K)
    return plan


@given(st.integers(2, 40), st.integers(2, 12), st.integers(1, 5), st.floats(0.1, 1.0), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_it_is_the_largest_entry_of_the_dense_plan(n: int, k: int, d: int, epsilon: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, codes = torch.randn(n, d, generator=generator), torch.randn(k, d, generator=generator)
    plan = dense(x, codes, epsilon, 7)
    found = sinkhorn_assignment(x, codes, epsilon=epsilon, iters=7)
    torch.testing.assert_close(plan.gather(1, found[:, None])[:, 0], plan.amax(1), rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("block", [None, 4])
def test_blocks_change_nothing(block: int | None, monkeypatch: pytest.MonkeyPatch):
    torch.manual_seed(0)
    x, codes = torch.randn(70, 3), torch.randn(9, 3)
    expected = dense(x, codes, 0.3, 5).argmax(1)
    if block:
        monkeypatch.setattr(logits_module, "SCORES_PER_BLOCK", block)
    assert torch.equal(sinkhorn_assignment(x, codes, epsilon=0.3), expected)


@given(st.floats(-1e5, 1e5), st.floats(0.1, 1e3), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_all_codes_serve_wherever_the_rows_lie(offset: float, scale: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, codes = torch.randn(320, 4, generator=generator) * scale + offset, torch.randn(16, 4, generator=generator)
    counts = count_codes(sinkhorn_assignment(x, codes, iters=10), 16)
    assert int((counts > 0).sum()) == 16
    assert perplexity(counts) > 13


def test_a_small_epsilon_is_near_and_even_a_large_one_ignores_the_distance():
    torch.manual_seed(0)
    x, codes = torch.randn(600, 4), torch.randn(20, 4)

    def cost(indices: torch.Tensor) -> float:
        return (x - codes[indices]).square().sum(1).mean().item()

    sharp = sinkhorn_assignment(x, codes, epsilon=0.05, iters=100)
    soft = sinkhorn_assignment(x, codes, epsilon=2.0, iters=100)
    assert cost(nearest(x, codes)) < cost(sharp) < cost(soft)
    assert perplexity(count_codes(nearest(x, codes), 20)) < perplexity(count_codes(sharp, 20))


def test_rows_that_do_not_count_weigh_nothing():
    torch.manual_seed(0)
    x, codes, valid = torch.randn(50, 3), torch.randn(6, 3), torch.arange(50) < 35
    x[~valid] = 1e6
    assert torch.equal(sinkhorn_assignment(x, codes, valid)[:35], sinkhorn_assignment(x[:35], codes))
    none = torch.zeros(50, dtype=torch.bool)
    assert sinkhorn_assignment(x, codes, none).shape == (50,)
    assert sinkhorn_assignment(x[:0], codes).shape == (0,)


def test_cosine_goes_by_direction_alone():
    torch.manual_seed(0)
    x, codes = torch.randn(50, 3), torch.randn(6, 3)
    scaled = sinkhorn_assignment(x * torch.rand(50, 1) * 9, codes * 5, metric="cosine")
    assert torch.equal(scaled, sinkhorn_assignment(x, codes, metric="cosine"))


def test_one_code_and_equal_rows_are_no_division_by_zero():
    assert sinkhorn_assignment(torch.randn(5, 3), torch.randn(1, 3)).tolist() == [0] * 5
    assert set(sinkhorn_assignment(torch.zeros(5, 3), torch.randn(4, 3)).tolist()) <= set(range(4))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": math.inf}, "epsilon"),
        ({"iters": 0}, "iters"),
        ({"metric": "dot"}, "metric"),
    ],
)
def test_bad_arguments_are_named(options, match):
    with pytest.raises(ArgumentError, match=match):
        sinkhorn_assignment(torch.randn(5, 3), torch.randn(4, 3), **options)
