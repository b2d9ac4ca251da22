"""``nearest`` on a GPU, or in the interpreter, against the reference on a CPU."""

from __future__ import annotations

import pytest
import torch

from tests.kernels.triton_cases.searches import DEVICE, GPU, METRICS, assert_same, found, normal
from vqkit import functional
from vqkit.kernels import reference, triton
from vqkit.kernels.triton.cuts import Problem, Tiles, processors
from vqkit.kernels.triton.entry import SCREENS
from vqkit.kernels.triton.search import Plan
from vqkit.kernels.triton.search import nearest as search

SHAPES = [(1, 1, 1), (7, 130, 60), (3, 70, 257)]
LARGE = [(300, 1000, 17), (5000, 1000, 64), (3000, 4096, 128), (2000, 9000, 8), (1000, 700, 1024), (129, 50_000, 32)]


@pytest.mark.parametrize("screen", [None, *SCREENS])
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shape", SHAPES + LARGE * GPU, ids=str)
def test_rows_of_any_shape(shape: tuple[int, int, int], metric: str, screen: str | None):
    n, k, d = shape
    assert_same(normal(1, n, d), normal(1, k, d, seed=1), metric, screen)


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize("shape", [(20, 300, 24), *LARGE] if GPU else [(20, 300, 24)], ids=str)
def test_groups_of_codes(shape: tuple[int, int, int], group: int):
    n, k, d = shape
    x, codes = normal(1, n, d), normal(1, k, d, seed=1)
    codes[0, k // 2 :] = codes[0, : k - k // 2]
    tiles = Tiles(64, 64, group, 4, 2)
    indices, distances = (found.cpu() for found in search(x.to(DEVICE), codes.to(DEVICE), "euclidean", 1, None, tiles))
    expected = reference.nearest(x, codes, "euclidean", 1)
    assert torch.equal(indices, expected[0])
    torch.testing.assert_close(distances, expected[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("offset", "scale"), [(1000, 0.01), (1e-3, 1e-9), (1e18, 1e12), (0, 1e-42), (0, 1e38), (1e20, 1e13)]
)
def test_offsets_and_numbers_at_the_ends_of_float32(metric: str, offset: float, scale: float):
    x, codes = (offset + scale * torch.rand(1, n, 5, generator=torch.Generator().manual_seed(n)) for n in (8, 40))
    assert_same(x, codes, metric)


def test_rows_far_from_all_codes_and_a_code_far_from_the_others():
    codes, x = normal(1, 70, 8), normal(1, 20, 8) * torch.logspace(-30, 37, 20)[None, :, None]
    assert_same(x, codes)
    codes[0, 30] = 1e8
    assert_same(normal(1, 8, 8), codes)
    codes[0, 0] = -1e8  # in the sample that the centre comes from
    assert_same(normal(1, 8, 8), codes)


@pytest.mark.parametrize("metric", METRICS)
def test_the_screen_leaves_few_rows_open(metric: str):
    """Its bound is no larger than it has to be: else it would be exact, and slow."""
    x, codes = normal(1, 200, 40).to(DEVICE), (100 + normal(1, 300, 40, seed=1)).to(DEVICE)
    indices = torch.empty((1, 200, 1), dtype=torch.int64, device=DEVICE)
    problem = Problem(1, 200, 300, 40, metric, 1, "half", None, x.dtype, x.device, processors(x.device), (True, True))
    plan = Plan(problem)
    memory = plan.run(x, codes, indices, indices.double())
    assert int(plan.workspace.array(memory, "open_count")) < 20


@pytest.mark.parametrize("metric", METRICS)
def test_ties_go_to_the_lowest_index(metric: str):
    k = 40
    codes, x = normal(1, k, 33), normal(1, 300 if GPU else 6, 33, seed=1)
    once = found(x, codes, metric)[0]
    assert torch.equal(found(x, codes.repeat(1, 3, 1), metric)[0], once)
    assert torch.equal(found(x, codes.repeat_interleave(2, 1), metric)[0], 2 * once)
    assert not found(x, codes[:, :1].expand(-1, k, -1), metric)[0].any()


@pytest.mark.parametrize("screen", SCREENS)
def test_near_ties_are_told_apart(screen: str):
    codes = normal(40).repeat(40, 1)
    codes[:, 0] += torch.arange(40) * 1e-6
    assert torch.equal(found(codes[None], codes[None], screen=screen)[0].flatten(), torch.arange(40))
    assert_same((codes[:6] + 1e-7)[None], codes[None], screen=screen)


@pytest.mark.parametrize("screen", SCREENS)
def test_near_ties_of_products_are_told_apart(screen: str):
    codes = normal(1, 1, 40).repeat(1, 70, 1)
    codes[0, :, 0] += torch.randperm(70, generator=torch.Generator().manual_seed(0)) * 1e-6
    assert_same(normal(1, 9, 40, seed=1), codes, "dot", screen)
    assert_same(normal(1, 9, 40, seed=1), 1000 + 1e-3 * normal(1, 70, 40, seed=2), "dot", screen)


def test_several_candidates_in_one_slot_of_the_screen():
    codes = normal(1, 600, 24)
    codes[0, ::64] = codes[0, 0] + 1e-5 * normal(10, 24, seed=1)
    assert_same(codes[:, :1] + 1e-6 * normal(1, 5, 24, seed=2), codes)


@pytest.mark.parametrize("metric", METRICS)
def test_rows_that_are_not_finite(metric: str):
    x, codes = normal(1, 30, 4), normal(1, 9, 4, seed=1)
    x[0, 3, 1], x[0, 7], x[0, 8, 0] = torch.nan, torch.inf, -torch.inf
    indices, distances = found(x, codes, metric)
    wrong = [3, 7, 8]
    assert indices[0, wrong].eq(-1).all()
    assert distances[0, wrong].isinf().all()
    assert int((indices == -1).sum()) == 3
    codes[0, 2] = torch.nan
    assert found(x, codes, metric)[0].max() < 9


@pytest.mark.parametrize("metric", METRICS)
def test_zero_vectors(metric: str):
    x, codes = torch.zeros(1, 3, 4), normal(1, 9, 4)
    assert_same(x, codes, metric)
    codes[0, 4] = 0
    assert_same(torch.cat([x, normal(1, 20, 4)], 1), codes, metric)
    assert_same(x, torch.zeros_like(codes), metric)
    assert not found(x, codes, metric)[0].any() or metric == "euclidean"


@pytest.mark.parametrize("metric", METRICS)
def test_heads_and_half_precision(metric: str):
    x, codes = normal(2, 5, 7), normal(2, 50, 7, seed=1)
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert_same(x.to(dtype), codes, metric)
        assert torch.equal(found(x.to(dtype), codes, metric)[0], found(x.to(dtype).float(), codes, metric)[0])


def test_a_row_is_answered_alike_in_any_batch():
    x, codes = normal(1, 140, 16), normal(1, 70, 16, seed=1)
    together = found(x, codes)
    for part in (slice(0, 1), slice(17, 130)):
        alone = found(x[:, part], codes)
        assert all(torch.equal(a, b[:, part]) for a, b in zip(alone, together, strict=True))


def test_what_it_leaves_to_the_reference():
    x, codes = normal(1, 12, 3).to(DEVICE), normal(1, 9, 3, seed=1).to(DEVICE)
    for codebook, topk in ((codes.repeat(1, 9, 1), 65), (codes.double(), 1)):
        expected = reference.nearest(x, codebook, "euclidean", topk)
        assert all(
            torch.equal(a, b) for a, b in zip(triton.nearest(x, codebook, "euclidean", topk), expected, strict=True)
        )


def test_through_the_public_function():
    x, codes = normal(2, 5, 6).to(DEVICE), normal(20, 6, seed=1).to(DEVICE)
    assert torch.equal(
        functional.nearest(x, codes, backend="triton"), functional.nearest(x, codes, backend="reference")
    )
    assert functional.nearest(x[:0], codes, backend="triton").shape == (0, 5)


@pytest.mark.skipif(not GPU, reason="a CUDA graph needs a GPU")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_in_a_cuda_graph_without_a_sync():
    x, codes = normal(1, 3000, 64).to(DEVICE), normal(1, 500, 64, seed=1).to(DEVICE)
    search(x, codes, "euclidean")
    graph = torch.cuda.CUDAGraph()
    try:
        torch.cuda.set_sync_debug_mode("error")
        with torch.cuda.graph(graph):
            indices, _ = search(x, codes, "euclidean")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    x.copy_(normal(1, 3000, 64, seed=2))
    graph.replay()
    assert torch.equal(indices.cpu(), reference.nearest(x.cpu(), codes.cpu(), "euclidean", 1)[0])
