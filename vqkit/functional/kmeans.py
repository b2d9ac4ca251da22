"""Lloyd's k-means on the exact nearest codes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.code_sums import CodeSums, code_sums
from vqkit.functional.nearest import nearest
from vqkit.kernels.reference.unit import unit
from vqkit.shapes import check_choice, check_float, check_int, check_shape

SEEDINGS = ("random", "k-means++")
MEANS = ("euclidean", "cosine")  # a mean does not maximise inner products: the longest row would draw all


class KMeans(NamedTuple):
    """Centroids (K, D) in the rows' dtype, rows per centroid (K,) int64, mean distance () float64."""

    centroids: Tensor
    counts: Tensor
    distortion: Tensor


@torch.no_grad()
def kmeans(
    x: Tensor,
    size: int,
    *,
    iters: int = 10,
    metric: str = "euclidean",
    seeding: str = "random",
    restarts: int = 1,
    generator: torch.Generator | None = None,
) -> KMeans:
    """Cluster rows (Lloyd 1982), every assignment exact, no cluster left empty while rows differ.

    An empty cluster restarts from the row farthest from every centroid. With ``metric="cosine"`` rows and centroids are
    unit vectors (spherical k-means, Dhillon and Modha 2001). The best of ``restarts`` runs is returned.

    Args:
        x: rows (N, D), finite, float32 or float64 (half types are computed in float32).
        size: clusters K, at most N. iters: Lloyd iterations, >= 0; fewer where no centroid moves any more.
        seeding: ``"random"`` rows, or ``"k-means++"`` (Arthur and Vassilvitskii 2007; K passes over the rows).
        generator: of the CPU; decides the seeds. None uses torch's global one.

    Raises:
        ArgumentError: more clusters than rows, or a row that is not finite, or an unknown name.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.0], [0.2], [10.0], [10.2]])
        >>> kmeans(x, 2, seeding="k-means++").centroids.flatten().sort().values
        tensor([ 0.1000, 10.1000])
    """
    check_shape("x", check_float("x", x), ("N", "D"))
    check_int("size", size)
    check_int("iters", iters, 0)
    check_int("restarts", restarts)
    check_choice("metric", metric, MEANS)
    check_choice("seeding", seeding, SEEDINGS)
    if size > x.shape[0]:
        raise bad_value("size", f"at most the {x.shape[0]} rows there are", size)
    if not bool(x.isfinite().all()):
        raise bad_value("x", "finite rows", "NaN or inf in it")
    rows = x if x.dtype == torch.float64 else x.float()
    if metric == "cosine":
        rows = unit(rows)
    runs = [_run(rows, size, iters, metric, seeding, generator) for _ in range(restarts)]
    return min(runs, key=lambda run: run.distortion.item())


def _run(x: Tensor, size: int, iters: int, metric: str, seeding: str, generator: torch.Generator | None) -> KMeans:
    seeds = _plus_plus(x, size, metric, generator) if seeding == "k-means++" else _random(x, size, generator)
    centroids = x[seeds]
    (counts, sums), distances = _assigned(x, centroids, metric)
    for _ in range(iters):
        means = (sums / counts[:, None].clamp(min=1)).to(x.dtype)
        moved = _refilled(x, unit(means) if metric == "cosine" else means, counts, distances, metric)
        if torch.equal(moved, centroids):
            break  # and so would every iteration after
        centroids = moved
        (counts, sums), distances = _assigned(x, centroids, metric)
    for _ in range(3):  # the last means may have left a cluster empty, and filling it another
        if bool((counts > 0).all()):
            break
        centroids = _refilled(x, centroids, counts, distances, metric)
        (counts, _), distances = _assigned(x, centroids, metric)
    return KMeans(centroids, counts, distances.double().mean())


def _assigned(x: Tensor, centroids: Tensor, metric: str) -> tuple[CodeSums, Tensor]:
    """Counts and sums of the rows per cluster, and every row's distance (N,)."""
    indices, distances = nearest(x, centroids, metric=metric, return_distances=True)
    return code_sums(x, indices, centroids.shape[0]), distances


def _refilled(x: Tensor, centroids: Tensor, counts: Tensor, distances: Tensor, metric: str) -> Tensor:
    """Put each empty cluster on the row then farthest from every centroid, while there is one that is on none."""
    far = distances.double()
    if metric == "cosine":
        far = torch.where(x.any(1), far, 0)  # a zero row has no direction to be a centroid of
    for cluster in (counts == 0).nonzero().flatten().tolist():
        farthest = far.argmax()
        if not bool(far[farthest] > 0):
            break
        centroids[cluster] = x[farthest]
        far = torch.minimum(far, nearest(x, x[farthest][None], metric=metric, return_distances=True)[1].double())
    return centroids


def _random(x: Tensor, size: int, generator: torch.Generator | None) -> Tensor:
    return torch.randperm(x.shape[0], generator=generator)[:size].to(x.device)


def _plus_plus(x: Tensor, size: int, metric: str, generator: torch.Generator | None) -> Tensor:
    """Seeds drawn one by one, each with probability proportional to its distance from those before."""
    chosen = torch.randint(x.shape[0], (1,), generator=generator).to(x.device)
    closest = x.new_full((x.shape[0],), torch.inf, dtype=torch.float64)
    seeds = [chosen]
    for draw in torch.rand(size - 1, generator=generator, dtype=torch.float64).tolist():
        distance = nearest(x, x[chosen], metric=metric, return_distances=True)[1]
        closest = torch.minimum(closest, distance.double())
        closest[chosen] = 0
        mass = closest.cumsum(0)
        # All rows covered (fewer distinct rows than clusters): any row does, the last one is as good.
        chosen = torch.searchsorted(mass, mass[-1:] * draw, right=True).clamp(max=x.shape[0] - 1)
        seeds.append(chosen)
    return torch.cat(seeds)
