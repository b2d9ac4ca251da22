"""``nearest`` with several codes a row, on a GPU or in the interpreter, against float64 on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.kernels.triton_cases.searches import DEVICE, GPU, METRICS, assert_same, found, normal
from vqkit import functional
from vqkit.kernels import reference
from vqkit.kernels.triton.cuts import Problem
from vqkit.kernels.triton.entry import SCREENS
from vqkit.kernels.triton.search_several import PlanOfSeveral

SMALL = [(1, 1, 1, 1), (3, 2, 5, 2), (7, 130, 60, 5), (3, 70, 257, 64), (2, 300, 33, 33)]
LARGE = [(300, 1000, 17, 3), (5000, 1000, 64, 8), (3000, 4096, 128, 64), (100, 50_000, 32, 16), (1000, 700, 1024, 2)]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SMALL + LARGE * GPU, ids=str)
def test_rows_of_any_shape(shape: tuple[int, int, int, int], metric: str):
    n, k, d, topk = shape
    assert_same(normal(1, n, d), normal(1, k, d, seed=1), metric, None, topk)


@pytest.mark.parametrize("screen", SCREENS)
def test_screens(screen: str):
    assert_same(normal(1, 5, 20), normal(1, 260, 20, seed=1), "euclidean", screen, 4)


def planned(x: Tensor, codes: Tensor, metric: str, topk: int, units: int) -> tuple[PlanOfSeveral, Tensor, Tensor]:
    """The plan of a device of so many multiprocessors, the memory it worked in, and indices (H, N, T)."""
    (H, N, D), K = x.shape, codes.shape[1]
    indices = torch.empty((H, N, topk), dtype=torch.int64, device=DEVICE)
    distances = torch.empty((H, N, topk), dtype=torch.float64, device=DEVICE)
    problem = Problem(H, N, K, D, metric, topk, "half", None, x.dtype, torch.device(DEVICE), units, (True, True))
    plan = PlanOfSeveral(problem)
    memory = plan.run(x.to(DEVICE), codes.to(DEVICE), indices, distances)
    return plan, memory, indices.cpu()


@pytest.mark.parametrize("units", [1, 2, 132])
@pytest.mark.parametrize("topk", [2, 7])
def test_codes_spread_over_programs(units: int, topk: int):
    x, codes = normal(2, 6, 12), normal(2, 700, 12, seed=1)
    _, _, indices = planned(x, codes, "euclidean", topk, units)
    assert torch.equal(indices, reference.nearest(x, codes, "euclidean", topk)[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("topk", "units"), [(2, 132), (8, 1), (8, 132), (64, 1)])
def test_the_screens_list_few_codes(metric: str, topk: int, units: int):
    """Their bound is no larger than it has to be: else every code would be measured, and slowly."""
    x, codes = normal(1, 20, 40), 100 + normal(1, 900, 40, seed=1)
    plan, memory, _ = planned(x, codes, metric, topk, units)
    counts = plan.workspace.array(memory, "counts")[:20].cpu()
    assert counts.min() >= topk
    assert counts.float().mean() < 2 * topk + 8
    listed = plan.workspace.places["list"][2] // plan.workspace.places["counts"][2]
    assert int((counts > listed).sum()) < 2


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("offset", "scale"), [(1000, 0.01), (1e18, 1e12), (0, 1e-42), (0, 1e38), (1e20, 1e13)])
def test_offsets_and_numbers_at_the_ends_of_float32(metric: str, offset: float, scale: float):
    x, codes = (offset + scale * torch.rand(1, n, 5, generator=torch.Generator().manual_seed(n)) for n in (4, 40))
    assert_same(x, codes, metric, None, 3)


def test_rows_far_from_all_codes_and_a_code_far_from_the_others():
    codes, x = normal(1, 70, 8), normal(1, 12, 8) * torch.logspace(-30, 37, 12)[None, :, None]
    assert_same(x, codes, topk=4)
    codes[0, 30] = 1e8
    assert_same(normal(1, 4, 8), codes, topk=4)


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lowest_index(metric: str):
    k = 40
    codes, x = normal(1, k, 33), normal(1, 300 if GPU else 4, 33, seed=1)
    once, distances = found(x, codes, metric, topk=3)
    thrice, repeated = found(x, codes.repeat(1, 3, 1), metric, topk=9)
    assert torch.equal(thrice, (once[..., None] + k * torch.arange(3)).flatten(2))
    assert torch.equal(repeated, distances.repeat_interleave(3, 2))
    # So many that no list holds them.
    same = codes[:, :1].expand(-1, 200, -1)
    assert torch.equal(found(x, same, metric, topk=5)[0], torch.arange(5).expand(1, x.shape[1], 5))


@pytest.mark.parametrize("screen", SCREENS)
def test_near_ties_are_told_apart(screen: str):
    codes = normal(40).repeat(40, 1)
    codes[:, 0] += torch.arange(40) * 1e-6
    indices = found(codes[None, :6] - 1, codes[None], screen=screen, topk=40)[0]
    assert torch.equal(indices, torch.arange(40).expand(1, 6, 40))
    assert_same((codes[:4] + 1e-7)[None], codes[None], "euclidean", screen, 5)
    assert_same(normal(1, 4, 40, seed=1), codes[None], "dot", screen, 5)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_and_codes_that_are_not_finite(metric: str):
    x, codes = normal(1, 12, 4), normal(1, 9, 4, seed=1)
    x[0, 3, 1], x[0, 7], x[0, 8, 0] = torch.nan, torch.inf, -torch.inf
    indices, distances = found(x, codes, metric, topk=4)
    assert indices[0, [3, 7, 8]].eq(-1).all()
    assert distances[0, [3, 7, 8]].isinf().all()
    assert int((indices == -1).sum()) == 12
    codes[0, 2:] = torch.nan
    indices = found(x[:, :3], codes, metric, topk=9)[0]
    assert torch.equal(indices.sort(2).values, torch.arange(9).expand(1, 3, 9))


@pytest.mark.parametrize("metric", METRICS)
def test_zero_vectors(metric: str):
    x, codes = torch.zeros(1, 3, 4), normal(1, 9, 4)
    codes[0, 4] = 0
    assert_same(torch.cat([x, normal(1, 5, 4)], 1), codes, metric, None, 4)
    assert_same(x, torch.zeros_like(codes), metric, None, 4)
    if metric != "euclidean":
        assert torch.equal(found(x, codes, metric, topk=4)[0], torch.arange(4).expand(1, 3, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_heads_and_half_precision(dtype: torch.dtype):
    x, codes = normal(2, 5, 7).to(dtype), normal(2, 50, 7, seed=1)
    assert_same(x, codes, "euclidean", None, 3)
    assert all(torch.equal(a, b) for a, b in zip(found(x, codes, topk=3), found(x.float(), codes, topk=3), strict=True))


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_is_answered_alike_in_any_batch_and_for_any_topk(metric: str):
    x, codes = normal(1, 20, 16), normal(1, 70, 16, seed=1)
    together = found(x, codes, metric, topk=5)
    alone = found(x[:, 3:5], codes, metric, topk=5)
    assert all(torch.equal(a, b[:, 3:5]) for a, b in zip(alone, together, strict=True))
    for topk in (1, 2):
        fewer = found(x, codes, metric, topk=topk)
        assert all(torch.equal(a, b[..., :topk]) for a, b in zip(fewer, together, strict=True))


def test_through_the_public_function():
    x, codes = normal(2, 3, 6).to(DEVICE), normal(20, 6, seed=1).to(DEVICE)
    ours = functional.nearest(x, codes, topk=4, backend="triton")
    assert torch.equal(ours, functional.nearest(x, codes, topk=4, backend="reference"))
    assert functional.nearest(x[:0], codes, topk=4, backend="triton").shape == (0, 3, 4)
