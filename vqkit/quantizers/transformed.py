"""Codes that differ from row to row, made from the table by a caller's function.

Implicit neural codebooks are such (QINCo, Huijben et al. 2024, arXiv:2401.14732).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.errors import ArgumentError
from vqkit.shapes import check_float, check_shape

Transform = Callable[[Tensor], Tensor]


def nearest_transformed(
    transform: Transform, codes_HKD: Tensor, x_HND: Tensor, positions: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """Indices (H, N) of the nearest of each row's own codes, and those codes (H, N, D), with gradient to ``transform``.

    ``transform`` takes the codes (H, K, D) and returns (H, *positions, K, D); being the caller's, it holds all of them.
    """
    H, K, D = codes_HKD.shape
    made = check_float("codebook_transform_fn", transform(codes_HKD))
    made_HNKD = check_shape("codebook_transform_fn", made, (H, *positions, K, D)).reshape(H, x_HND.shape[1], K, D)
    with torch.no_grad():
        distances = (x_HND[:, :, None].double() - made_HNKD.double()).square().sum(-1)
        found_HN = distances.argmin(-1)
    picked = found_HN[..., None, None].expand(H, x_HND.shape[1], 1, D)
    return found_HN, made_HNKD.gather(2, picked)[:, :, 0]


def check_transformable(by_gradient: bool, shared_heads: bool, metric: str) -> None:
    """Raise unless codes learn by gradient, no two heads share a table, and distances are Euclidean."""
    if not by_gradient:
        raise ArgumentError("codebook_transform_fn: expected codes that learn by gradient, got averages of rows")
    if shared_heads:
        raise ArgumentError("codebook_transform_fn: expected one head, or separate codebooks, got heads that share one")
    if metric != "euclidean":
        raise ArgumentError(f"codebook_transform_fn: expected metric 'euclidean', got {metric!r}")
