"""Random numbers that are a function of (seed, position) alone.

The same on every device and every rank, whatever the batch was cut into: what a codebook revives is then a function of
the data, not of how many processes or micro-batches saw it. The mixer is the 32-bit finaliser of MurmurHash3.
"""

from __future__ import annotations

from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(value: Tensor) -> Tensor:
    value = value ^ (value >> 16)
    value = (value * 0x85EBCA6B) & _MASK
    value = value ^ (value >> 13)
    value = (value * 0xC2B2AE35) & _MASK
    return value ^ (value >> 16)


def hashed_bits(seed: Tensor, position: Tensor, stream: int = 0) -> Tensor:
    """32 random bits as an int64, one per ``position`` (int64, any shape); ``seed`` is a 0-dim int64 tensor."""
    key = _mix(_mix((seed + 0x9E3779B9 * (stream + 1)) & _MASK) ^ ((position >> 32) & _MASK))
    bits = _mix((position ^ key) & _MASK)
    # A second pass keyed anew: one pass of the finaliser alone is a bijection and so never repeats a number.
    return _mix((bits + key + 0x6A09E667) & _MASK)


def hashed_uniform(seed: Tensor, position: Tensor, stream: int = 0) -> Tensor:
    """Uniform float64 in (0, 1), one per ``position`` (int64, any shape); ``seed`` is a 0-dim int64 tensor.

    >>> import torch
    >>> u = hashed_uniform(torch.tensor(7), torch.arange(10000))
    >>> bool((u > 0).all() and (u < 1).all()), round(u.mean().item(), 1)
    (True, 0.5)
    """
    return (hashed_bits(seed, position, stream).double() + 0.5) / 2**32
