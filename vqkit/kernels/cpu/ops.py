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
    wide = torch.float64 in (x_HND.dtype, codebook_HKD.dtype)
    if wide or topk > MAX_TOPK:
        return reference.nearest(x_HND, codebook_HKD, metric, topk)
    H, N, D = x_HND.shape
    x, codes = x_HND.float().contiguous(), codebook_HKD.float().contiguous()
    indices = torch.empty((H, N, topk), dtype=torch.int64)
    distances = torch.empty((H, N, topk), dtype=torch.float64)
    for head in range(H):
        status = library().vqkit_nearest(
            *(x[head].data_ptr(), N, codes[head].data_ptr(), codes.shape[1], D),
            *(int(metric == "cosine"), topk, None if isa is None else isa.encode(), torch.get_num_threads()),
            *(indices[head].data_ptr(), distances[head].data_ptr()),
        )
        if status == NOT_FINITE:
            again = slice(head, head + 1)
            indices[again], distances[again] = reference.nearest(x[again], codes[again], metric, topk)
        elif status:
            raise RuntimeError(f"the native library refused instruction set {isa!r}")
        else:
            _resolve(x[head], codes[head], metric, indices[head], distances[head])
    return indices, distances


def _resolve(x: Tensor, codes: Tensor, metric: str, indices: Tensor, distances: Tensor) -> None:
    """Search again for the rows the library left open: too many codes are as near as its float32 can tell."""
    open_N = indices[:, 0] == UNRESOLVED
    if bool(open_N.any()):
        found = reference.nearest(x[open_N][None], codes[None], metric, indices.shape[1])
        indices[open_N], distances[open_N] = found[0][0], found[1][0]


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
