"""Random numbers that are a function of (seed, position) alone; the bits and the uniform ones are the kernels'."""

from __future__ import annotations

import math

from torch import Tensor

from vqkit.kernels.reference.hashing import hashed_bits, hashed_uniform

__all__ = ["hashed_bits", "hashed_normal", "hashed_uniform"]


def hashed_normal(seed: Tensor, position: Tensor) -> Tensor:
    """Standard normal float64, one per ``position`` (Box and Muller 1958).

    >>> import torch
    >>> round(hashed_normal(torch.tensor(7), torch.arange(100000)).std().item(), 1)
    1.0
    """
    radius = (-2 * hashed_uniform(seed, position, 1).log()).sqrt()
    return radius * (2 * math.pi * hashed_uniform(seed, position, 2)).cos()
