"""The ops by the native library. What it does not take, the reference does: float64, and codes that are not finite."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.cpu.library import library

MAX_TOPK = 64
NOT_FINITE = 1
METRICS = ["euclidean", "cosine", "dot"]  # as the library numbers them


def nearest(
    x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int, isa: str | None = None
) -> tuple[Tensor, Tensor]:
    """As ``reference.nearest``. ``isa``: an instruction set by name, the fastest by default."""
    if _too_much(x_HND, codebook_HKD, topk):
        return reference.nearest(x_HND, codebook_HKD, metric, topk)
    distances = torch.empty((*x_HND.shape[:2], topk), dtype=torch.float64)
    return _searched(x_HND, codebook_HKD, metric, isa, distances), distances


def nearest_index(x_HND: Tensor, codebook_HKD: Tensor, metric: str, isa: str | None = None) -> Tensor:
    """As ``reference.nearest_index``; a code that the screen leaves alone needs no distance."""
    if _too_much(x_HND, codebook_HKD, 1):
        return reference.nearest_index(x_HND, codebook_HKD, metric)
    return _searched(x_HND, codebook_HKD, metric, isa, None)[..., 0]


def _too_much(x: Tensor, codebook: Tensor, topk: int) -> bool:
    return torch.float64 in (x.dtype, codebook.dtype) or topk > MAX_TOPK


def _searched(
    x_HND: Tensor, codebook_HKD: Tensor, metric: str, isa: str | None, distances_HNT: Tensor | None
) -> Tensor:
    """Indices (H, N, T), and the distances written where there is room for them."""
    H, N, D = x_HND.shape
    topk = 1 if distances_HNT is None else distances_HNT.shape[2]
    x, codes = x_HND.float().contiguous(), codebook_HKD.float().contiguous()
    indices = torch.empty((H, N, topk), dtype=torch.int64)
    for head in range(H):
        distances = None if distances_HNT is None else distances_HNT[head]
        status = library().vqkit_nearest(
            *(x[head].data_ptr(), N, codes[head].data_ptr(), codes.shape[1], D),
            *(METRICS.index(metric), topk, None if isa is None else isa.encode(), torch.get_num_threads()),
            *(indices[head].data_ptr(), None if distances is None else distances.data_ptr()),
        )
        if status == NOT_FINITE:
            found = reference.nearest(x[head : head + 1], codes[head : head + 1], metric, topk)
            indices[head] = found[0][0]
            if distances is not None:
                distances.copy_(found[1][0])
        elif status:
            raise RuntimeError(f"the native library refused instruction set {isa!r}")
    return indices


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    """As ``reference.residual_chain``."""
    if x_ND.dtype != torch.float32 or codebooks_QKD.dtype != torch.float32:
        return reference.residual_chain(x_ND, codebooks_QKD)
    (N, D), (Q, K, _) = x_ND.shape, codebooks_QKD.shape
    x, codebooks, indices = x_ND.contiguous(), codebooks_QKD.contiguous(), torch.empty((N, Q), dtype=torch.int64)
    status = library().vqkit_residual_chain(
        *(x.data_ptr(), N, codebooks.data_ptr(), Q, K, D, torch.get_num_threads(), indices.data_ptr())
    )
    return reference.residual_chain(x, codebooks) if status == NOT_FINITE else indices


def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As ``reference.code_sums``."""
    if x_HND.dtype == torch.float64:
        return reference.code_sums(x_HND, indices_HN, size)
    H, N, D = x_HND.shape
    x, indices = x_HND.float().contiguous(), indices_HN.contiguous()
    counts = torch.empty((H, size), dtype=torch.int64)
    sums = torch.empty((H, size, D), dtype=torch.float64)
    for head in range(H):
        library().vqkit_code_sums(
            *(x[head].data_ptr(), indices[head].data_ptr(), N, size, D, torch.get_num_threads()),
            *(counts[head].data_ptr(), sums[head].data_ptr()),
        )
    return counts, sums
