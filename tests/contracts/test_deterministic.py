"""``torch.use_deterministic_algorithms``: everything runs under it, gives the same bits, and reads no memory that it
fills with NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from tests.contracts.cases import INDICES_ALONE, METHODS, Case
from tests.contracts.compare import flat_state, loss_of
from vqkit.errors import VqkitError
from vqkit.functional import kmeans


@contextmanager
def deterministic(warn_only: bool = False) -> Iterator[None]:
    torch.use_deterministic_algorithms(True, warn_only=warn_only)
    try:
        assert torch.utils.deterministic.fill_uninitialized_memory
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def life_of(case: Case) -> list[Tensor]:
    """Everything that five training steps, an eval forward and a fit give."""
    quantizer = case.build()
    weights = [p for p in quantizer.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-2) if weights else None
    found: list[Tensor] = []
    for step in range(5):
        torch.manual_seed(step)
        x = case.x(step).requires_grad_()
        out = quantizer(x)
        loss = out.quantized.square().mean() + loss_of(out)
        if loss.requires_grad:
            if optimizer is not None:
                optimizer.zero_grad()
            loss.backward()
            if optimizer is not None:
                optimizer.step()
        found += [out.quantized.detach(), out.indices, loss.detach()] + ([] if x.grad is None else [x.grad])
    if case.counts:
        found += [quantizer.usage(), quantizer.perplexity()]
    with torch.no_grad():
        out = quantizer.eval()(case.x(5))
        found += [out.quantized, out.indices, quantizer.encode(case.x(6)), quantizer.decode(out.indices)]
    try:
        quantizer.train().fit([case.x(10 + i) for i in range(4)], iters=2)
    except VqkitError:  # not every quantizer has a table that can be fitted
        found.append(torch.zeros(()))
    return found + list(flat_state(quantizer).values())


@pytest.mark.parametrize("case", METHODS, ids=lambda c: c.name)
def test_five_steps_have_the_same_bits(case: Case):
    expected = life_of(case)
    with deterministic():
        found = life_of(case)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("case", INDICES_ALONE, ids=lambda c: c.name)
def test_indices_alone_are_the_same(case: Case):
    expected = case.build().eval()(case.x(1))
    with deterministic():
        assert torch.equal(case.build().eval()(case.x(1)), expected)


@pytest.mark.parametrize("case", [c for c in METHODS if c.name.endswith("-plain")], ids=lambda c: c.name)
def test_nothing_is_warned_of_where_a_warning_is_all_there_is(case: Case):
    with warnings.catch_warnings(), deterministic(warn_only=True):
        warnings.simplefilter("error")
        assert len(life_of(case)) > 10


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("seeding", ["random", "k-means++"])
def test_k_means_is_the_same(metric: str, seeding: str):
    x = torch.randn(200, 5)
    options = {"iters": 4, "metric": metric, "seeding": seeding}
    expected = kmeans(x, 16, generator=torch.Generator().manual_seed(0), **options)
    with deterministic():
        found = kmeans(x, 16, generator=torch.Generator().manual_seed(0), **options)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(torch.as_tensor(one), torch.as_tensor(other))
