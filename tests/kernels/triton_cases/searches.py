"""What the cases of a search share: rows and codes, and what is true of them by float64."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.reference.unit import unit
from vqkit.kernels.triton.search import nearest as search

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
METRICS = ["euclidean", "cosine", "dot"]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def found(
    x: Tensor, codes: Tensor, metric: str = "euclidean", screen: str | None = None, topk: int = 1
) -> tuple[Tensor, Tensor]:
    indices, distances = search(x.to(DEVICE), codes.to(DEVICE), metric, topk, screen)
    return indices.cpu(), distances.cpu()


def assert_same(x: Tensor, codes: Tensor, metric: str = "euclidean", screen: str | None = None, topk: int = 1) -> None:
    """The exact distances to the rounding of float64, and different codes that lie at these distances."""
    indices, distances = found(x, codes, metric, screen, topk)
    expected, scale = exact(x, codes, metric, topk)
    assert indices.min() >= 0
    assert indices.max() < codes.shape[1]
    slack = 1e-12 * scale + (1e-14 * expected.sqrt() + 1e-30 if metric == "cosine" else 0)
    assert bool(((distances - expected).abs() <= slack).all())
    assert bool(((measured(x, codes, indices, metric) - expected).abs() <= slack).all())
    assert bool((distances.diff(dim=2) >= 0).all())
    assert bool((indices.sort(2).values.diff(dim=2) > 0).all())


def exact(x: Tensor, codes: Tensor, metric: str, topk: int) -> tuple[Tensor, Tensor]:
    """The least distances (H, N, T) of every row, float64, and the size of the numbers that rounded on the way."""
    if metric == "dot":
        lengths = x.double().norm(dim=2)[..., None] * codes.double().norm(dim=2).amax(1)[:, None, None]
        return -(x.double() @ codes.double().mT).topk(topk, 2).values, lengths
    expected = reference.nearest(x, codes, metric, topk)[1]
    return expected, expected


def measured(x: Tensor, codes: Tensor, indices: Tensor, metric: str) -> Tensor:
    """The distances (H, N, T) of the codes named, float64."""
    rows, table = x.double(), codes.double()
    if metric == "cosine":
        rows, table = unit(rows), unit(table)
    named = torch.stack([e[i] for e, i in zip(table, indices, strict=True)])
    if metric == "dot":
        return -(rows[:, :, None] * named).sum(3)
    squared = (rows[:, :, None] - named).square().sum(3)
    if metric == "euclidean":
        return squared
    return torch.where(rows.any(2)[..., None] & named.any(3), squared / 2, 1.0)
