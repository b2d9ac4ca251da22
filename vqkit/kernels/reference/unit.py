"""Unit vectors, safely."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(x: Tensor) -> Tensor:
    """Rows (..., D) at unit length, in their dtype; a zero row stays zero and gets gradient zero.

    Scaled by the largest entry first, so that no square leaves the dtype's range.

    >>> import torch
    >>> unit(torch.tensor([[3e30, 4e30], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    peak = x.detach().abs().amax(-1, keepdim=True)
    directed = peak > 0
    scaled = x / torch.where(directed, peak, 1)
    squared = scaled.square().sum(-1, keepdim=True)
    return torch.where(directed, scaled / torch.where(directed, squared, 1).sqrt(), 0)
