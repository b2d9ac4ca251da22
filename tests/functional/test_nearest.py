from __future__ import annotations

import importlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from vqkit.errors import ArgumentError, ArgumentTypeError
from vqkit.functional import nearest
from vqkit.functional.nearest import search_biased

METRICS = ["euclidean", "cosine"]
reference_nearest = importlib.import_module("vqkit.kernels.reference.nearest")


def exact_distances(x: Tensor, codes: Tensor, metric: str) -> Tensor:
    """(N, K) float64, straight from differences."""
    x, codes = x.double(), codes.double()
    if metric == "cosine":
        x, codes = (v / v.norm(dim=1, keepdim=True) for v in (x, codes))
        return (x[:, None] - codes).square().sum(-1) / 2
    return (x[:, None] - codes).square().sum(-1)


def assert_nearest(x: Tensor, codes: Tensor, metric: str = "euclidean") -> None:
    """Indices are compared by distance, not by luck."""
    true = exact_distances(x, codes, metric)
    found = true.gather(1, nearest(x, codes, metric=metric)[:, None])[:, 0]
    torch.testing.assert_close(found, true.amin(1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (7, 3, 2), (63, 130, 60), (300, 17, 257), (5, 1000, 2048)], ids=str)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (10, 0.01), (1000, 0.01), (1e-3, 1e-9), (1e18, 1e12)])
def test_exact_against_float64(metric: str, shape: tuple[int, int, int], offset: float, scale: float):
    n, k, d = shape
    generator = torch.Generator().manual_seed(k)
    x = offset + scale * torch.randn(n, d, generator=generator)
    codes = offset + scale * torch.randn(k, d, generator=generator)
    assert_nearest(x, codes, metric)


@pytest.mark.parametrize("extreme", [3e38, 1e-45, 1e-38, 1e20], ids=str)
def test_numbers_at_the_ends_of_float32(extreme: float):
    generator = torch.Generator().manual_seed(0)
    x, codes = extreme * torch.rand(50, 5, generator=generator), extreme * torch.rand(40, 5, generator=generator)
    assert_nearest(x, codes)


def test_near_ties_are_told_apart():
    base = torch.randn(40, generator=torch.Generator().manual_seed(0))
    codes = base.repeat(64, 1)
    codes[:, 0] += torch.arange(64) * 1e-6
    assert_nearest(codes + 1e-7, codes)
    assert torch.equal(nearest(codes, codes), nearest(codes.double(), codes.double()))


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [3, 31, 64, 500])
def test_ties_go_to_the_lowest_index(metric: str, k: int):
    generator = torch.Generator().manual_seed(k)
    codes = torch.randn(k, 33, generator=generator)
    x = torch.randn(200, 33, generator=generator)
    assert torch.equal(nearest(x, codes.repeat(3, 1), metric=metric), nearest(x, codes, metric=metric))
    assert not nearest(x, codes[:1].expand(k, -1), metric=metric).any()


@pytest.mark.parametrize("metric", METRICS)
def test_topk_is_sorted_and_exact(metric: str):
    generator = torch.Generator().manual_seed(0)
    x, codes = torch.randn(50, 16, generator=generator), torch.randn(80, 16, generator=generator)
    indices, distances = nearest(x, codes, metric=metric, topk=80, return_distances=True)
    assert torch.equal(indices.sort(1).values, torch.arange(80).expand(50, -1))
    assert bool((distances.diff(dim=1) >= 0).all())
    torch.testing.assert_close(
        distances.double(), exact_distances(x, codes, metric).gather(1, indices), rtol=1e-5, atol=1e-6
    )
    assert torch.equal(nearest(x, codes, metric=metric, topk=1)[:, 0], nearest(x, codes, metric=metric))


def test_one_codebook_per_head():
    x, codes = torch.randn(3, 5, 7, 4), torch.randn(3, 9, 4)
    found = nearest(x, codes)
    assert found.shape == (3, 5, 7)
    for head in range(3):
        assert torch.equal(found[head], nearest(x[head], codes[head]))


def test_rows_that_are_not_finite_have_no_nearest_code():
    x = torch.tensor([[0.0, torch.nan], [torch.inf, 0.0], [1.0, 1.0]])
    indices, distances = nearest(x, torch.eye(2), return_distances=True)
    assert indices.tolist() == [-1, -1, 0]
    assert distances.tolist() == [torch.inf, torch.inf, 1.0]


def test_a_zero_row_is_as_far_from_all_codes_by_cosine():
    indices, distances = nearest(torch.zeros(1, 3), torch.randn(5, 3), metric="cosine", topk=5, return_distances=True)
    assert indices.tolist() == [[0, 1, 2, 3, 4]]
    assert distances.tolist() == [[1.0] * 5]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_other_dtypes_equal_the_same_values_in_float32(dtype: torch.dtype):
    x, codes = torch.randn(60, 12).to(dtype), torch.randn(30, 12).to(torch.bfloat16)
    assert torch.equal(nearest(x, codes), nearest(x.double(), codes.double()))


def test_autocast_and_reduced_precision_change_nothing():
    x, codes = torch.randn(500, 64), torch.randn(300, 64)
    expected = nearest(x, codes)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(nearest(x, codes), expected)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        assert torch.equal(nearest(x, codes), expected)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("set_precision", ["mkldnn", "all"])
def test_the_newer_precision_switches_change_nothing(set_precision: str):
    switch = torch.backends.mkldnn.matmul if set_precision == "mkldnn" else torch.backends
    if not hasattr(switch, "fp32_precision"):
        assert torch.get_float32_matmul_precision() == "highest"  # a torch without them
        return
    x, codes, before = torch.randn(200, 32), torch.randn(100, 32), switch.fp32_precision
    expected = nearest(x, codes)
    switch.fp32_precision = "bf16" if set_precision == "mkldnn" else "tf32"
    try:
        assert torch.equal(nearest(x, codes), expected)
    finally:
        switch.fp32_precision = before


@pytest.mark.parametrize("codes", ["zero", "equal", "one far", "huge"])
def test_codes_that_defeat_a_common_bound(codes: str, monkeypatch: pytest.MonkeyPatch):
    """Few survivors all the same: the work verified in float64 stays near one pair a row."""
    generator = torch.Generator().manual_seed(0)
    x, table = torch.randn(300, 16, generator=generator), torch.randn(512, 16, generator=generator)
    if codes == "one far":
        table[7] *= 1e4
    elif codes == "huge":
        x, table = x * 1e25, table * 1e25
    else:
        table = torch.zeros_like(table) if codes == "zero" else table[:1].expand(512, -1)
    pairs = []
    measure = reference_nearest._Search._measure

    def counting(self, exact, row, code):
        pairs.append(len(row))
        return measure(self, exact, row, code)

    monkeypatch.setattr(reference_nearest._Search, "_measure", counting)
    assert_nearest(x, table)
    assert sum(pairs) < 2 * 300


def test_more_rows_than_a_block():
    x, codes = torch.randn(5000, 3), torch.randn(2000, 3)
    assert_nearest(x, codes)


@pytest.mark.parametrize("shape", [(0, 4), (2, 0, 4)], ids=str)
def test_no_rows(shape: tuple[int, ...]):
    assert nearest(torch.zeros(shape), torch.zeros(5, 4)).shape == shape[:-1]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40), st.integers(1, 20), st.sampled_from(METRICS))
def test_the_answer_does_not_depend_on_the_company(seed: int, n: int, k: int, d: int, metric: str):
    generator = torch.Generator().manual_seed(seed)
    # Small integers: plenty of exact ties.
    x = torch.randint(-2, 3, (n, d), generator=generator).float()
    codes = torch.randint(-2, 3, (k, d), generator=generator).float()
    together = nearest(x, codes, metric=metric)
    assert torch.equal(torch.stack([nearest(row, codes, metric=metric) for row in x]), together)
    if metric == "euclidean":
        assert torch.equal(together, exact_distances(x, codes, metric).argmin(1))


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (
            lambda: nearest(torch.zeros(2, 3), torch.zeros(4, 2)),
            ArgumentError,
            r"x: expected shape \(..., 2\), got shape \(2, 3\)",
        ),
        (
            lambda: nearest(torch.zeros(2, 3), torch.zeros(3)),
            ArgumentError,
            r"codebook: expected shape \(K, D\) or \(H, K, D\)",
        ),
        (lambda: nearest(torch.zeros(2, 3), torch.zeros(0, 3)), ArgumentError, "codebook: expected at least one code"),
        (
            lambda: nearest(torch.zeros(2, 5, 3), torch.zeros(4, 6, 3)),
            ArgumentError,
            r"x: expected shape \(4, ..., 3\)",
        ),
        (
            lambda: nearest(torch.zeros(2, 3).long(), torch.zeros(4, 3)),
            ArgumentTypeError,
            "x: expected a floating-point",
        ),
        (
            lambda: nearest(torch.zeros(3), torch.zeros(4, 3), topk=5),
            ArgumentError,
            "topk: expected at most the 4 codes",
        ),
        (
            lambda: nearest(torch.zeros(3), torch.zeros(4, 3), topk=0),
            ArgumentError,
            "topk: expected an int >= 1, got 0",
        ),
        (lambda: nearest(torch.zeros(3), torch.zeros(4, 3), metric="l1"), ArgumentError, "metric: expected one of"),
        (
            lambda: nearest(torch.zeros(3), torch.zeros(4, 3), backend="abacus"),
            ArgumentError,
            "backend: expected one of cpu, triton, reference",
        ),
    ],
)
def test_bad_arguments(call, error, match):
    with pytest.raises(error, match=match):
        call()


@given(
    st.integers(1, 40),
    st.integers(1, 30),
    st.integers(1, 9),
    st.floats(-50, 50),
    st.floats(0.01, 10),
    st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_the_largest_inner_product(n: int, k: int, d: int, offset: float, scale: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, codes = (torch.randn(rows, d, generator=generator) + offset for rows in (n, k))
    indices, distances = nearest(x, codes, metric="dot", return_distances=True)
    products = x.double() @ codes.double().t()
    found = products.gather(1, indices[:, None])[:, 0]
    largest = products.abs().amax() + codes.double().square().sum(1).amax()
    torch.testing.assert_close(found, products.amax(1), rtol=0, atol=1e-14 * largest.item())
    torch.testing.assert_close(distances, -found.float(), rtol=1e-5, atol=1e-6 * largest.item())


def test_ties_of_inner_products_go_to_the_lowest_index_and_bad_rows_to_none():
    codes = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    x = torch.randn(50, 3, generator=torch.Generator().manual_seed(1))
    x[3, 1] = torch.nan
    indices, distances = nearest(x, torch.cat([codes, codes]), metric="dot", return_distances=True)
    assert int(indices.max()) < 8
    assert int(indices[3]) == -1
    assert distances[3] == torch.inf


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 6), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_a_bias_moves_the_border_between_codes(n: int, k: int, d: int, seed: int):
    generator = torch.Generator().manual_seed(seed)
    x, codes = torch.randn(2, n, d, generator=generator), torch.randn(2, k, d, generator=generator)
    bias = torch.randn(2, k, generator=generator, dtype=torch.double) * 3
    values = (x[:, :, None].double() - codes[:, None]).square().sum(-1) - bias[:, None]
    indices, found = search_biased(x, codes, bias)
    torch.testing.assert_close(values.gather(2, indices), values.amin(2, keepdim=True), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found, values.amin(2, keepdim=True), rtol=1e-10, atol=1e-12)
