"""How much of a codebook is in use."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.shapes import check_shape, check_tensor


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
