"""lookup, code_sums, usage, hashing and k-means."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch

from vqkit.errors import ArgumentError, CodeIndexError
from vqkit.functional import code_sums, kmeans, lookup, nearest, perplexity, usage
from vqkit.functional.hashing import hashed_normal, hashed_uniform


def test_lookup_gathers_with_gradient():
    codes = torch.randn(6, 3, requires_grad=True)
    indices = torch.tensor([[1, -1], [5, 1]])
    taken = lookup(codes, indices)
    assert torch.equal(taken[0, 0], codes[1])
    assert not taken[0, 1].any()
    taken.sum().backward()
    assert codes.grad.sum(1).tolist() == [0, 6, 0, 0, 0, 3]


def test_lookup_with_one_codebook_per_head():
    codes = torch.randn(2, 6, 3)
    indices = torch.randint(-1, 6, (2, 4, 5))
    for head in range(2):
        assert torch.equal(lookup(codes, indices)[head], lookup(codes[head], indices[head]))


@pytest.mark.parametrize("wrong", [6, -2, -(2**40)])
def test_lookup_names_an_index_out_of_range(wrong: int):
    with pytest.raises(CodeIndexError, match=rf"\[0, 6\).*got {wrong}"):
        lookup(torch.zeros(6, 3), torch.tensor([0, wrong]))


@pytest.mark.parametrize("n", [0, 1, 1000, 40_000])
def test_code_sums_equal_a_one_hot_product(n: int):
    x, indices = torch.randn(n, 5) + 100, torch.randint(-1, 7, (n,))
    counts, sums = code_sums(x, indices, 7)
    one_hot = (indices[:, None] == torch.arange(7)).double()
    assert counts.tolist() == one_hot.sum(0).long().tolist()
    torch.testing.assert_close(sums, one_hot.t() @ x.double(), rtol=1e-12, atol=1e-9)


def test_code_sums_leaves_out_what_does_not_count_even_nan():
    counts, sums = code_sums(torch.tensor([[1.0], [torch.nan]]), torch.tensor([0, -1]), 2)
    assert counts.tolist() == [1, 0]
    assert sums.tolist() == [[1.0], [0.0]]


def test_usage_and_perplexity():
    counts = torch.tensor([[4, 4, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    assert usage(counts).tolist() == [0.5, 0.25, 0.0]
    assert [round(v, 9) for v in perplexity(counts).tolist()] == [2.0, 1.0, 1.0]
    skewed = torch.tensor([9, 1])
    assert math.isclose(perplexity(skewed).item(), math.exp(-0.9 * math.log(0.9) - 0.1 * math.log(0.1)))


def test_hashed_numbers_are_uniform_and_do_not_hang_on_the_batch():
    seed = torch.tensor(3)
    whole = hashed_uniform(seed, torch.arange(100_000))
    assert torch.equal(whole[70:90], hashed_uniform(seed, torch.arange(70, 90)))
    histogram = torch.histc(whole.float(), 50, 0, 1)
    assert (histogram - 2000).abs().max() < 250
    assert abs(torch.corrcoef(torch.stack([whole[:-1], whole[1:]]))[0, 1].item()) < 0.02
    other = hashed_uniform(torch.tensor(4), torch.arange(100_000))
    assert abs(torch.corrcoef(torch.stack([whole, other]))[0, 1].item()) < 0.02
    normal = hashed_normal(seed, torch.arange(100_000))
    assert abs(normal.mean().item()) < 0.02
    assert abs(normal.kurtosis().item() if hasattr(normal, "kurtosis") else (normal**4).mean().item() - 3) < 0.15


def clusters(k: int = 8, n: int = 50, d: int = 6):
    generator = torch.Generator().manual_seed(1)
    centres = 20 * torch.randn(k, d, generator=generator)
    return (centres[:, None] + torch.randn(k, n, d, generator=generator)).reshape(-1, d), centres


def test_kmeans_finds_separate_clusters():
    x, centres = clusters()
    found = kmeans(x, 8, iters=20, seeding="k-means++", restarts=3, generator=torch.Generator().manual_seed(0))
    assert found.counts.tolist() == [50] * 8
    assert (found.centroids[nearest(centres, found.centroids)] - centres).norm(dim=1).max() < 1
    torch.testing.assert_close(found.distortion, nearest(x, found.centroids, return_distances=True)[1].double().mean())


def test_kmeans_never_gets_worse():
    x, _ = clusters()
    runs = [kmeans(x, 20, iters=i, generator=torch.Generator().manual_seed(0)).distortion.item() for i in range(12)]
    # A re-seeded empty cluster is the one step that may not descend; none is empty here.
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in pairwise(runs))


def test_kmeans_leaves_no_cluster_empty():
    x = torch.cat([torch.zeros(500, 2), torch.randn(12, 2, generator=torch.Generator().manual_seed(0)) * 5])
    found = kmeans(x, 10, iters=10, generator=torch.Generator().manual_seed(0))
    assert bool((found.counts > 0).all())


def test_kmeans_by_cosine_gives_unit_centroids():
    x, _ = clusters()
    found = kmeans(x * torch.rand(len(x), 1), 8, iters=15, metric="cosine", seeding="k-means++")
    torch.testing.assert_close(found.centroids.norm(dim=1), torch.ones(8))


def test_kmeans_with_as_many_clusters_as_rows():
    x = torch.randn(9, 2)
    assert kmeans(x, 9, iters=3).distortion.item() == 0


@pytest.mark.parametrize(
    ("x", "size", "match"),
    [
        (torch.randn(5, 2), 6, "size: expected at most the 5 rows there are, got 6"),
        (torch.full((5, 2), torch.nan), 2, "x: expected finite rows"),
        (torch.randn(5), 2, "x: expected shape"),
    ],
)
def test_kmeans_bad_arguments(x, size, match):
    with pytest.raises(ArgumentError, match=match):
        kmeans(x, size)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_kmeans_fills_every_cluster_while_rows_differ(metric: str):
    generator = torch.Generator().manual_seed(0)
    repeated = (torch.randn(64, 4, generator=generator) * 5).repeat(40, 1)
    assert bool((kmeans(repeated, 64, metric=metric, generator=generator).counts > 0).all())
    zeros = torch.cat([torch.zeros(2000, 4), torch.randn(100, 4, generator=generator)])
    found = kmeans(zeros, 50, metric=metric, generator=generator)
    filled = found.counts > 0
    assert int(filled.sum()) >= 49
    assert int((found.centroids == 0).all(1).sum()) <= 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_indices_of_any_integer_dtype(dtype: torch.dtype):
    codes = torch.randn(256, 2)
    indices = torch.tensor([1, 100], dtype=dtype)
    assert torch.equal(lookup(codes, indices), codes[[1, 100]])
