from __future__ import annotations

import pytest
import torch

from vqkit.functional import logits as logits_module
from vqkit.functional.pair_noise import pair_noise
from vqkit.functional.row_anchors import closest_rows, drawn_rows


def data(offset: float = 0.0):
    generator = torch.Generator().manual_seed(0)
    x, codes = (torch.randn(n, 5, generator=generator) + offset for n in (90, 13))
    return x, codes, torch.rand(90, generator=generator) > 0.4


@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_the_closest_row_that_counts(offset: float):
    x, codes, valid = data(offset)
    x[~valid] = torch.nan
    distances = (x.double()[:, None] - codes.double()).square().sum(-1)
    nearest = torch.where(valid[:, None], distances, torch.inf).min(0)
    rows, scores = closest_rows(codes, x, valid)
    assert torch.equal(rows, x[nearest.indices])
    torch.testing.assert_close(scores, -nearest.values)


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("block", [2**17, 1])
def test_a_drawn_row_is_the_best_by_score_and_luck(offset: float, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(logits_module, "SCORES_PER_BLOCK", block)
    x, codes, valid = data(offset)
    seed = torch.tensor(5)
    lucky = pair_noise(seed, 90, 13) - (x.double()[:, None] - codes.double()).square().sum(-1)
    best = torch.where(valid[:, None], lucky, -torch.inf).max(0)
    rows, scores = drawn_rows(codes, x, valid, torch.arange(90), seed)
    assert torch.equal(rows, x[best.indices])
    torch.testing.assert_close(scores, best.values, rtol=1e-6, atol=1e-6)


def test_drawn_rows_of_two_batches_are_those_of_both_together():
    x, codes, valid = data()
    numbers, seed = torch.arange(90), torch.tensor(1)
    whole, whole_scores = drawn_rows(codes, x, valid, numbers, seed)
    halves = [drawn_rows(codes, x[part], valid[part], numbers[part], seed) for part in (slice(0, 37), slice(37, 90))]
    better = (halves[0][1] >= halves[1][1])[:, None]
    assert torch.equal(torch.where(better, halves[0][0], halves[1][0]), whole)
    torch.testing.assert_close(torch.maximum(halves[0][1], halves[1][1]), whole_scores)


@pytest.mark.parametrize("rows", [0, 90])
def test_without_a_row_that_counts_the_code_stays(rows: int):
    x, codes, _ = data()
    none = torch.zeros(rows, dtype=torch.bool)
    closest = closest_rows(codes, x[:rows], none)
    drawn = drawn_rows(codes, x[:rows], none, torch.arange(rows), torch.tensor(0))
    for anchors, scores in (closest, drawn):
        assert torch.equal(anchors, codes)
        assert bool((scores == -torch.inf).all())
