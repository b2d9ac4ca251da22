"""Contract 14: usage and perplexity are exact over a sliding window of rows, per codebook, whatever the batch size."""

from __future__ import annotations

import math

import pytest
import torch

from tests.contracts.cases import CASES, DIM, SIZE, Case
from vqkit import VectorQuantize
from vqkit.codebook import load_usage_state, usage_state


@pytest.mark.parametrize("case", [c for c in CASES if c.counts], ids=lambda c: c.name)
def test_usage_lies_in_its_range(case: Case):
    quantizer = case.trained()
    usage, perplexity = quantizer.usage(), quantizer.perplexity()
    assert bool(((usage >= 0) & (usage <= 1)).all())
    assert bool((usage > 0).all()) or case.drops
    assert bool(((perplexity >= 1) & (perplexity <= max(quantizer.index_sizes))).all())


@pytest.mark.parametrize("batch", [1, 7, 30, 100])
@pytest.mark.parametrize("separate", [False, True])
def test_the_window_does_not_depend_on_the_batch_size(batch: int, separate: bool):
    options = {"heads": 2, "codebook_dim": DIM // 2, "separate_codebook_per_head": True} if separate else {}
    quantizer = VectorQuantize(DIM, SIZE, ema_update=False, usage_window=64, **options)
    x = torch.randn(100, DIM)
    mask = torch.rand(100) > 0.2
    drawn = []
    for rows, kept in zip(x.split(batch), mask.split(batch), strict=True):
        drawn.append(quantizer(rows, mask=kept).indices)
    last = torch.cat(drawn)[mask][-64:].reshape(64, -1)
    for head, usage, perplexity in zip(
        last.t(), quantizer.usage().reshape(-1), quantizer.perplexity().reshape(-1), strict=True
    ):
        counts = torch.bincount(head, minlength=SIZE).double()
        share = counts[counts > 0] / counts.sum()
        assert usage.item() == (counts > 0).double().mean().item()
        assert math.isclose(perplexity.item(), math.exp(-(share * share.log()).sum().item()), rel_tol=1e-12)


def test_evaluation_does_not_count():
    quantizer = VectorQuantize(DIM, SIZE)
    quantizer(torch.randn(50, DIM))
    before = quantizer.book.window.counts()
    quantizer.eval()(torch.randn(500, DIM))
    quantizer.encode(torch.randn(500, DIM))
    assert torch.equal(quantizer.book.window.counts(), before)
    assert int(before.sum()) == 50


def test_the_window_travels_through_a_checkpoint():
    first, second = VectorQuantize(DIM, SIZE), VectorQuantize(DIM, SIZE)
    first(torch.randn(50, DIM))
    load_usage_state(second, usage_state(first))
    assert torch.equal(first.book.window.counts(), second.book.window.counts())
