"""The ops by the native library. What it does not take, the reference does: float64, codes that are not finite, and
rows with more candidates than the library keeps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.cpu.library import library

MAX_TOPK = 64
NOT_FINITE, UNRESOLVED = 1, -2


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
            *(int(metric == "cosine"), topk, None if isa is None else isa.encode(), torch.get_num_threads()),
            *(indices[head].data_ptr(), None if distances is None else distances.data_ptr()),
        )
        if status not in (0, NOT_FINITE):
            raise RuntimeError(f"the native library refused instruction set {isa!r}")
        open_N = indices[head, :, 0] == UNRESOLVED if status == 0 else torch.ones(N, dtype=torch.bool)
        _resolve(x[head], codes[head], metric, open_N, indices[head], distances)
    return indices


def _resolve(x: Tensor, codes: Tensor, metric: str, open_N: Tensor, indices: Tensor, distances: Tensor | None) -> None:
    """Search again for rows the library left open: too many codes are as near as its float32 can tell."""
    if bool(open_N.any()):
        found = reference.nearest(x[open_N][None], codes[None], metric, indices.shape[1])
        indices[open_N] = found[0][0]
        if distances is not None:
            distances[open_N] = found[1][0]


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
