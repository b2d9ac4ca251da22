"""How much of a codebook is in use."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.shapes import check_shape, check_tensor


def count_codes(indices: Tensor, size: int) -> Tensor:
    """How often each of ``size`` codes occurs along the last axis: (..., N) integers to (..., K) int64; −1 is left out.

    >>> import torch
    >>> count_codes(torch.tensor([2, 0, -1, 2]), 3).tolist()
    [1, 0, 2]
    """
    # One slot more than there are codes takes what does not count: no branch, no data-dependent shape.
    slots = torch.where(indices < 0, size, indices).long()
    counts = torch.zeros((*indices.shape[:-1], size + 1), dtype=torch.int64, device=indices.device)
    return counts.scatter_add_(-1, slots, torch.ones_like(slots))[..., :size]


def usage(counts: Tensor) -> Tensor:
    """Share of codes that were hit: (..., K) counts to (...) float64 in [0, 1].

    >>> import torch
    >>> usage(torch.tensor([3, 0, 1, 0])).item()
    0.5
    """
    check_shape("counts", check_tensor("counts", counts), ("...", "K"))
    return (counts > 0).double().mean(-1)


def perplexity(counts: Tensor) -> Tensor:
    """The exponential of the entropy of code frequencies: (..., K) counts to (...) float64 in [1, K]; 1 for no counts.

    >>> import torch
    >>> round(perplexity(torch.tensor([5, 5, 5, 5, 0])).item(), 6)
    4.0
    """
    check_shape("counts", check_tensor("counts", counts), ("...", "K"))
    total = counts.sum(-1, keepdim=True).double()
    share = counts.double() / torch.where(total > 0, total, 1)
    return torch.special.entr(share).sum(-1).exp()
