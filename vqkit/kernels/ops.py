"""The ops as PyTorch custom ops, so that compile and export see one node each. Inputs are checked by ``functional``."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.dispatch import choose


@torch.library.custom_op("vqkit::nearest", mutates_args=())
def nearest(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, backend: str) -> tuple[Tensor, Tensor]:
    """Indices (H, N, T) int64 and distances (H, N, T) float64; ``backend`` "" lets dispatch choose."""
    return choose("nearest", x_HND, backend or None).function(x_HND, codebook_HKD, metric, topk)


@nearest.register_fake
def _(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, backend: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    shape = (*x_HND.shape[:2], topk)
    return x_HND.new_empty(shape, dtype=torch.int64), x_HND.new_empty(shape, dtype=torch.float64)


@torch.library.custom_op("vqkit::code_sums", mutates_args=())
def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int, backend: str) -> tuple[Tensor, Tensor]:
    """Counts (H, K) int64 and sums (H, K, D) float64 of the rows of each index."""
    return choose("code_sums", x_HND, backend or None).function(x_HND, indices_HN, size)


@code_sums.register_fake
def _(x_HND: Tensor, indices_HN: Tensor, size: int, backend: str) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    H, _, D = x_HND.shape
    return x_HND.new_empty((H, size), dtype=torch.int64), x_HND.new_empty((H, size, D), dtype=torch.float64)


@torch.library.custom_op("vqkit::residual_chain", mutates_args=())
def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor, backend: str) -> Tensor:
    """Indices (N, Q) int64 of float32 rows by the nearest codes of Q float32 codebooks, each of what the last left."""
    return choose("residual_chain", x_ND, backend or None).function(x_ND, codebooks_QKD)


@residual_chain.register_fake
def _(x_ND: Tensor, codebooks_QKD: Tensor, backend: str) -> Tensor:  # noqa: ARG001
    return x_ND.new_empty((x_ND.shape[0], codebooks_QKD.shape[0]), dtype=torch.int64)
