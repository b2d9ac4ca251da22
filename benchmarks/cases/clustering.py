"""k-means, the same iterations on the same rows.

With as many clusters as rows faiss copies the rows without a look at them, and we stop after one assignment, which
shows that every row lies on its centroid. One row more, and both iterate, as they do for the last shape.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import faiss
import torch
from torch import Tensor
from vector_quantize_pytorch.vector_quantize_pytorch import kmeans as peer_kmeans

from benchmarks.cases.agreement import FAISS, PEER, drawn
from benchmarks.harness import Case, Work
from vqkit.functional import kmeans, nearest

SHAPES = ((8192, 8192, 64), (8193, 8192, 64), (16384, 4096, 64))
ITERS = 10


def by_faiss(x: Tensor, k: int) -> Tensor:
    trained = faiss.Kmeans(x.shape[1], k, niter=ITERS, min_points_per_centroid=1, max_points_per_centroid=10**9)
    trained.train(x.numpy())
    return torch.from_numpy(trained.centroids)


def by_peer(x: Tensor, k: int) -> Tensor:
    return peer_kmeans(x[None], k, ITERS)[0][0]


def make(n: int, k: int, d: int, other: Callable[[Tensor, int], Tensor]) -> Work:
    rows = drawn(n, d, sets=2)

    def distortion(x: Tensor, centroids: Tensor) -> float:
        return nearest(x, centroids, return_distances=True)[1].double().mean().item()

    def check() -> None:
        torch.manual_seed(0)
        first, second = (
            distortion(rows[0], kmeans(rows[0], k, iters=ITERS).centroids),
            distortion(rows[0], other(rows[0], k)),
        )
        one_row = rows[0].var(0).sum().item() / n  # of each side's own seeds: one more or less is off its centroid
        if first > 1.01 * second + one_row:
            raise AssertionError(f"distortion {first:.4f}, the peer's is {second:.4f}")

    def ours(turn: int) -> Tensor:
        return kmeans(rows[turn % 2], k, iters=ITERS).centroids

    return Work(check, ours, lambda turn: other(rows[turn % 2], k))


def cases() -> Iterator[Case]:
    for n, k, d in SHAPES:
        name = f"N={n} K={k} D={d}, {ITERS} iterations"
        group = "kmeans-copied" if n == k else "kmeans-faiss"
        yield Case(f"k-means {name}, peer", "kmeans-peer", PEER, partial(make, n, k, d, by_peer))
        yield Case(f"k-means {name}, faiss", group, f"{FAISS} Kmeans", partial(make, n, k, d, by_faiss))
