"""A first batch with too few rows for one of several tables that wait for it places none of them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from tests.contracts.compare import assert_same_state, flat_state
from vqkit import MultiScale, ResidualVQ, VectorQuantize
from vqkit.errors import ArgumentError
from vqkit.quantizers import Grouped, Quantizer, Residual


def table(size: int, dim: int = 4, **options) -> VectorQuantize:
    return VectorQuantize(dim, size, kmeans_init=True, **options)


MADE: dict[str, tuple[Callable[[], Quantizer], tuple[int, ...]]] = {
    "stages": (lambda: ResidualVQ(4, codebook_size=(8, 32), kmeans_init=True), (20, 4)),
    "stages and a beam": (lambda: ResidualVQ(4, codebook_size=(8, 32), kmeans_init=True, beam_size=2), (20, 4)),
    "groups": (lambda: Grouped([table(8), table(32)]), (20, 8)),
    "groups as a stage": (lambda: Residual([Grouped([table(8, 2), table(32, 2)]), table(8)]), (20, 4)),
    "scales": (lambda: MultiScale([table(8), table(64)], (1, 2)), (4, 4, 2, 2)),
}


@pytest.mark.parametrize("name", MADE)
def test_too_few_rows_place_nothing(name: str):
    make, shape = MADE[name]
    quantizer = make()
    before = flat_state(quantizer)
    with pytest.raises(ArgumentError, match=r"k-means needs at least (32|64) rows to place (32|64) codes, got 20"):
        quantizer(torch.randn(shape))
    assert_same_state(before, flat_state(quantizer))
    quantizer(torch.randn(100, *shape[1:]))
    assert quantizer.begun


def test_masked_rows_do_not_count():
    quantizer, mask = MADE["stages"][0](), torch.arange(40) < 31
    with pytest.raises(ArgumentError, match="got 31"):
        quantizer(torch.randn(40, 4), mask=mask)
    quantizer(torch.randn(40, 4), mask=torch.zeros(40, dtype=torch.bool))  # a batch without rows leaves them waiting
    assert not quantizer.begun


def test_heads_that_share_a_table_bring_it_a_row_each():
    quantizer = Residual([table(8), table(32, heads=2, codebook_dim=2)])
    quantizer(torch.randn(16, 4))
    assert quantizer.begun


def test_a_frozen_table_waits_on():
    quantizer = Residual([table(8), table(32, freeze_codebook=True)])
    quantizer(torch.randn(20, 4))
    assert [stage.begun for stage in quantizer.members] == [True, False]
