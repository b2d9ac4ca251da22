"""Counts and sums of rows by index: no one-hot, accumulated in float64."""

from __future__ import annotations

import torch
from torch import Tensor

VALUES_PER_BLOCK = 2**21


def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Return counts (H, K) int64 and sums (H, K, D) float64 of the rows of each index; index −1 is left out."""
    H, N, D = x_HND.shape
    # One slot more than there are codes takes the rows that do not count: no branch, no data-dependent shape.
    slot_HN = torch.where(indices_HN < 0, size, indices_HN)
    counts = torch.zeros((H, size + 1), dtype=torch.int64, device=x_HND.device)
    counts.scatter_add_(1, slot_HN, torch.ones_like(slot_HN))
    sums = torch.zeros((H, size + 1, D), dtype=torch.float64, device=x_HND.device)
    step = max(16, VALUES_PER_BLOCK // max(1, D))
    for head in range(H):
        for start in range(0, N, step):
            rows = slice(start, start + step)
            counted_N1 = (indices_HN[head, rows] >= 0)[:, None]
            block_ND = torch.where(counted_N1, x_HND[head, rows], 0).double()
            sums[head].index_add_(0, slot_HN[head, rows], block_ND)
    return counts[:, :size].contiguous(), sums[:, :size].contiguous()
