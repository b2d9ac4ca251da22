"""The native library against the reference, on every instruction set this processor has."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.errors import ArgumentError
from vqkit.functional import nearest
from vqkit.kernels import cpu, reference
from vqkit.kernels.dispatch import choose

ABSENT = cpu.why_not()
pytestmark = pytest.mark.skipif(ABSENT is not None, reason=f"no native library: {ABSENT}")
ISAS = [] if ABSENT else cpu.instruction_sets()
METRICS = ["euclidean", "cosine", "dot"]


def assert_same(x: Tensor, codes: Tensor, metric: str, topk: int, isa: str) -> None:
    """The reference's distances to the rounding of float64, and codes that lie at these distances."""
    indices, distances = cpu.nearest(x, codes, metric, topk, isa)
    _, expected = reference.nearest(x, codes, metric, topk)
    order, every = reference.nearest(x, codes, metric, codes.shape[1])
    of_index = torch.empty_like(every).scatter_(2, order, every).gather(2, indices)
    # Unit vectors that nearly agree differ by little more than their own rounding, and products cancel.
    lengths = x.double().norm(dim=2)[..., None] * codes.double().norm(dim=2).max()
    slack = (
        1e-12 * expected.abs()
        + {
            "euclidean": 0.0,
            "cosine": 1e-14 * expected.abs().sqrt() + 1e-30,
            "dot": 1e-13 * (lengths + codes.double().square().sum(2).max() + x.double().square().sum(2)[..., None]),
        }[metric]
    )
    assert bool(((distances - expected).abs() <= slack).all())
    assert bool(((of_index - expected).abs() <= slack).all())
    assert bool((distances.diff(dim=-1) >= 0).all())


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    "shape",
    [(1, 1, 1), (7, 3, 2), (13, 33, 1), (63, 130, 60), (300, 17, 257), (5, 1000, 2048), (200, 5000, 9)],
    ids=str,
)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (10, 0.01), (1000, 0.01), (1e-3, 1e-9), (1e18, 1e12)])
def test_rows_of_any_shape_and_offset(isa: str, metric: str, shape: tuple[int, int, int], offset: float, scale: float):
    n, k, d = shape
    generator = torch.Generator().manual_seed(k)
    x = offset + scale * torch.randn(1, n, d, generator=generator)
    codes = offset + scale * torch.randn(1, k, d, generator=generator)
    assert_same(x, codes, metric, 1, isa)
    assert_same(x, codes, metric, min(k, 5), isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("extreme", [3e38, 1e-45, 1e-38, 1e20], ids=str)
@pytest.mark.parametrize("metric", METRICS)
def test_numbers_at_the_ends_of_float32(isa: str, extreme: float, metric: str):
    generator = torch.Generator().manual_seed(0)
    x = extreme * torch.rand(1, 50, 5, generator=generator)
    codes = extreme * torch.rand(1, 40, 5, generator=generator)
    assert_same(x, codes, metric, 1, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_far_from_all_codes(isa: str):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(1, 70, 8, generator=generator)
    x = torch.randn(1, 40, 8, generator=generator) * torch.logspace(-30, 37, 40)[None, :, None]
    assert_same(x, codes, "euclidean", 1, isa)


@pytest.mark.parametrize("isa", ISAS)
def test_one_code_far_from_the_others(isa: str):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(1, 600, 8, generator=generator)
    codes[0, 300] = 1e8
    assert_same(torch.randn(1, 50, 8, generator=generator), codes, "euclidean", 1, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("k", [3, 31, 64, 500])
def test_ties_go_to_the_lowest_index(isa: str, metric: str, k: int):
    generator = torch.Generator().manual_seed(k)
    codes, x = torch.randn(1, k, 33, generator=generator), torch.randn(1, 200, 33, generator=generator)
    once = cpu.nearest(x, codes, metric, 1, isa)[0]
    assert torch.equal(cpu.nearest(x, codes.repeat(1, 3, 1), metric, 1, isa)[0], once)
    assert not cpu.nearest(x, codes[:, :1].expand(-1, k, -1), metric, 1, isa)[0].any()


@pytest.mark.parametrize("isa", ISAS)
def test_near_ties_are_told_apart(isa: str):
    base = torch.randn(40, generator=torch.Generator().manual_seed(0))
    codes = base.repeat(64, 1)
    codes[:, 0] += torch.arange(64) * 1e-6
    assert_same((codes + 1e-7)[None], codes[None], "euclidean", 1, isa)
    assert torch.equal(cpu.nearest(codes[None], codes[None], "euclidean", 1, isa)[0].flatten(), torch.arange(64))


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("width", range(1, 18))
def test_narrow_codes(isa: str, metric: str, width: int):
    """Duplicates, codes a few units in the last place apart, offsets, and numbers whose low halves are subnormal."""
    generator = torch.Generator().manual_seed(width)
    for size, offset, scale in ((1, 0, 1), (33, 1000, 1), (65, 0, 1e-36), (33, 0, 1e30), (257, 1, 1e-6)):
        base = offset + scale * torch.randn(size, width, generator=generator)
        near = base * (1 + 3e-7 * torch.randn(size, width, generator=generator))
        codes = torch.cat([base, base[: size // 2], near[size // 3 :]])[None]
        codes = codes[:, torch.randperm(codes.shape[1], generator=generator)]
        x = torch.cat([codes[0, :20], offset + scale * torch.randn(31, width, generator=generator)])[None]
        assert_same(x, codes, metric, 1, isa)
        # Of duplicates the first one wins, whatever panel either lies in.
        assert torch.equal(
            cpu.nearest_index(x, codes, metric, isa), cpu.nearest_index(x, codes.repeat(1, 3, 1), metric, isa)
        )


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("width", [8, 10, 11, 16])
def test_many_narrow_codes_are_searched_exactly(isa: str, width: int):
    generator = torch.Generator().manual_seed(width)
    x, codes = torch.randn(1, 300, width, generator=generator), torch.randn(1, 9001, width, generator=generator)
    exact = (x[0].double()[:, None] - codes[0].double()).square().sum(2).argmin(1)
    assert torch.equal(cpu.nearest_index(x, codes, "euclidean", isa)[0], exact)
    rising = codes[:, codes[0].norm(dim=1).argsort(descending=True)] * 1e-3  # every next code is nearer to zero
    near_zero = x[:, :50] * 1e-9
    exact = (near_zero[0].double()[:, None] - rising[0].double()).square().sum(2).argmin(1)
    assert torch.equal(cpu.nearest_index(near_zero, rising, "euclidean", isa)[0], exact)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("apart", [1e-2, 1e-4, 1e-6])
def test_codes_too_close_for_bfloat16(isa: str, metric: str, apart: float):
    """Two far clusters of close codes: the screen keeps a whole cluster, a finer one has to tell them apart."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[10.0], [-10.0]]).expand(2, 24)
    codes = (centres[:, None] + apart * torch.randn(2, 300, 24, generator=generator)).reshape(1, 600, 24)
    x = codes[:, torch.randint(600, (200,), generator=generator)] + apart / 4 * torch.randn(
        1, 200, 24, generator=generator
    )
    assert_same(x, codes, metric, 1, isa)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("metric", METRICS)
def test_the_index_alone_is_that_of_the_distances(isa: str, metric: str):
    generator = torch.Generator().manual_seed(0)
    for n in (1, 4, 5, 700):
        x, codes = torch.randn(2, n, 20, generator=generator), torch.randn(2, 900, 20, generator=generator)
        x[0, 0, 3] = torch.nan
        assert torch.equal(cpu.nearest_index(x, codes, metric, isa), cpu.nearest(x, codes, metric, 1, isa)[0][..., 0])


@pytest.mark.parametrize("isa", ISAS)
def test_few_rows_get_the_answer_of_many(isa: str):
    generator = torch.Generator().manual_seed(0)
    x, codes = torch.randn(1, 50, 33, generator=generator), torch.randn(1, 400, 33, generator=generator)
    codes[0, 100] = codes[0, 7]
    for metric in METRICS:
        many = cpu.nearest(x, codes, metric, 1, isa)
        alone = [cpu.nearest(x[:, n : n + 1], codes, metric, 1, isa) for n in range(50)]
        assert torch.equal(torch.cat([i for i, _ in alone], 1), many[0])
        torch.testing.assert_close(torch.cat([d for _, d in alone], 1), many[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("isa", ISAS)
def test_rows_and_codes_that_are_not_finite(isa: str):
    x, codes = torch.randn(1, 30, 4), torch.randn(1, 9, 4)
    x[0, 3, 1], x[0, 7] = torch.nan, torch.inf
    indices, distances = cpu.nearest(x, codes, "euclidean", 2, isa)
    assert bool((indices[0, [3, 7]] == -1).all())
    assert bool(distances[0, [3, 7]].isinf().all())
    assert int((indices == -1).sum()) == 4
    codes[0, 2] = torch.nan
    assert torch.equal(cpu.nearest(x, codes, "euclidean", 1, isa)[0], reference.nearest(x, codes, "euclidean", 1)[0])


@pytest.mark.parametrize("metric", METRICS)
def test_zero_vectors_have_cosine_distance_one(metric: str):
    x, codes = torch.zeros(1, 3, 4), torch.randn(1, 9, 4)
    assert_same(x, codes, metric, 3, ISAS[0])
    codes[0, 4] = 0
    assert_same(torch.randn(1, 20, 4), codes, metric, 9, ISAS[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows_are_their_values_in_float32(dtype: torch.dtype):
    x, codes = torch.randn(1, 50, 7).to(dtype), torch.randn(1, 20, 7)
    assert torch.equal(cpu.nearest(x, codes, "euclidean", 1)[0], cpu.nearest(x.float(), codes, "euclidean", 1)[0])


def test_the_number_of_threads_changes_no_bit():
    x, codes = torch.randn(2, 3000, 64), torch.randn(2, 257, 64)
    narrow, of_them = torch.randn(1, 5000, 8), torch.randn(1, 9000, 8)
    indices = torch.randint(-1, 257, (2, 3000))
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            exact = cpu.nearest(narrow, of_them, "euclidean", 1)
            found.append((*exact, *cpu.nearest(x, codes, "euclidean", 2), *cpu.code_sums(x, indices, 257)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


@pytest.mark.parametrize("shape", [(1, 0, 3, 4), (1, 5, 1, 1), (2, 3000, 40, 33)], ids=str)
def test_code_sums(shape: tuple[int, int, int, int]):
    H, N, K, D = shape
    x, indices = torch.randn(H, N, D), torch.randint(-1, K, (H, N))
    counts, sums = cpu.code_sums(x, indices, K)
    expected_counts, expected = reference.code_sums(x, indices, K)
    assert torch.equal(counts, expected_counts)
    torch.testing.assert_close(sums, expected, rtol=1e-12, atol=1e-12)


def test_what_runs_and_why():
    assert choose("nearest", torch.zeros(1)).backend == "cpu"
    assert choose("nearest", torch.zeros(1, dtype=torch.float64)).reason == "cpu refused: it takes no float64"
    x, codes = torch.randn(20, 4), torch.randn(9, 4)
    assert torch.equal(nearest(x, codes, backend="cpu"), nearest(x, codes, backend="reference"))
    with pytest.raises(ArgumentError, match="cpu refused: it takes no float64"):
        nearest(x.double(), codes, backend="cpu")


@pytest.mark.parametrize("metric", METRICS)
def test_more_equal_codes_than_a_screen_keeps(metric: str):
    generator = torch.Generator().manual_seed(0)
    codes = torch.randn(1, 4, 12, generator=generator).repeat(1, 200, 1)
    x = torch.randn(1, 300, 12, generator=generator)
    x[0, 5] = 0
    once = reference.nearest(x, codes[:, :4], metric, 1)
    for isa in ISAS:
        indices, distances = cpu.nearest(x, codes, metric, 3, isa)
        assert torch.equal(indices[..., 0], once[0][..., 0])
        torch.testing.assert_close(distances, once[1].expand(-1, -1, 3), rtol=1e-12, atol=1e-15)
        assert bool((indices.diff(dim=-1) > 0).all())


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (5, 1, 1, 1), (700, 4, 40, 33), (300, 3, 600, 8)], ids=str)
def test_residual_chain(shape: tuple[int, int, int, int]):
    N, Q, K, D = shape
    generator = torch.Generator().manual_seed(0)
    x, codebooks = torch.randn(N, D, generator=generator), torch.randn(Q, K, D, generator=generator)
    codebooks *= 0.5 ** torch.arange(Q)[:, None, None]
    codebooks[-1] = codebooks[-1, :1]
    if N > 3:
        x[3, 0] = torch.nan
    assert torch.equal(cpu.residual_chain(x, codebooks), reference.residual_chain(x, codebooks))


def test_a_residual_chain_of_codes_that_are_not_finite():
    x, codebooks = torch.randn(9, 4), torch.randn(2, 5, 4)
    codebooks[1, 2, 1] = torch.inf
    assert torch.equal(cpu.residual_chain(x, codebooks), reference.residual_chain(x, codebooks))
