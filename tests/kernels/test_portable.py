"""The search that is exported, against the one it stands for: the same indices, where they are hard to tell apart."""

from __future__ import annotations

from importlib import import_module

import pytest
import torch
from torch import Tensor

from vqkit.kernels import portable, reference

search_file = import_module("vqkit.kernels.portable.nearest")
D, K = 7, 37


def codes(seed: int = 0, size: int = K) -> Tensor:
    return torch.randn(2, size, D, generator=torch.Generator().manual_seed(seed))


def rows(seed: int = 1, count: int = 200) -> Tensor:
    return torch.randn(2, count, D, generator=torch.Generator().manual_seed(seed))


def repeated() -> Tensor:
    table = codes()
    table[:, 5:9], table[:, 30] = table[:, 5:6], table[:, 2]
    return table


def with_outliers() -> Tensor:
    table = codes()
    table[:, 3], table[:, 8] = 1e30, -1e12
    return table


HARD = {
    "plain": (rows(), codes()),
    "far from zero": (rows() + 1e6, codes() + 1e6),
    "repeated codes": (repeated()[:, [30, 2, 7, 5]], repeated()),
    "one code repeated": (rows(), torch.zeros(2, K, D)),
    "halfway": ((codes()[:, :10].round() + codes()[:, 10:20].round()) / 2, codes().round()),
    "codes far away": (rows(), with_outliers()),
    "rows far away": (rows() * 1e30, codes()),
    "denormal": (rows() * 1e-42, codes() * 1e-42),
    "zero rows": (torch.zeros(2, 3, D), codes()),
    "a zero code": (rows(), codes() * (torch.arange(K) != 4)[:, None]),
    "no rows": (torch.zeros(2, 0, D), codes()),
    "one code": (rows(), codes(size=1)),
    "not finite": (rows() / (rows(2) > -1.5), codes()),
    "bfloat16": (rows().bfloat16(), codes().bfloat16()),
}


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("block", [8, 4096])
def test_indices_are_those_of_the_reference(name: str, metric: str, block: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(search_file, "CODES_PER_BLOCK", block)
    x_HND, codebook_HKD = HARD[name]
    indices, distances = portable.nearest(x_HND, codebook_HKD, metric, 1)
    expected, measured = reference.nearest(x_HND, codebook_HKD, metric, 1)
    assert torch.equal(indices, expected)
    torch.testing.assert_close(distances, measured, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "dot"])
@pytest.mark.parametrize("name", [name for name, (_, table) in HARD.items() if table.shape[1] >= 5])
def test_so_are_the_first_few(name: str, metric: str):
    x_HND, codebook_HKD = HARD[name]
    indices, distances = portable.nearest(x_HND, codebook_HKD, metric, 5)
    expected, measured = reference.nearest(x_HND, codebook_HKD, metric, 5)
    assert torch.equal(indices, expected)
    torch.testing.assert_close(distances, measured, rtol=1e-12, atol=1e-15)


def test_survivors_are_few_where_codes_differ():
    x_ND, codes_KD = rows()[0].double(), codes()[0].double()
    keep_NK = search_file._survivors(x_ND, codes_KD, False, 1)
    assert keep_NK.sum() == x_ND.shape[0]


def test_a_table_of_one_repeated_code_is_measured_once():
    keep_NK = search_file._survivors(rows()[0].double(), torch.zeros(K, D, dtype=torch.float64), False, 1)
    assert keep_NK.sum() == keep_NK.shape[0]


def test_rows_without_direction_are_measured_once():
    keep_NK = search_file._survivors(torch.zeros(9, D, dtype=torch.float64), codes()[0].double(), True, 1)
    assert keep_NK.sum() == 9


def test_the_residual_chain_is_that_of_the_reference():
    x_ND, codebooks_QKD = rows()[0], torch.cat([codes(3), codes(4) / 4])
    assert torch.equal(portable.residual_chain(x_ND, codebooks_QKD), reference.residual_chain(x_ND, codebooks_QKD))
