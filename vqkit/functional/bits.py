"""Bits as integers and back, the most significant first."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.kernels.tracing import exact_sum
from vqkit.shapes import check_indices, check_int, check_tensor

INDEX_BITS = 62
"""Bits of the widest index: 2^62, the number of its codes, is itself an int64."""


def _places(bits: int, device: torch.device) -> Tensor:
    return torch.arange(bits - 1, -1, -1, device=device)


def _check_bits(name: str, bits: int) -> int:
    if check_int(name, bits) > INDEX_BITS:
        raise bad_value(name, f"at most {INDEX_BITS}, what an int64 index holds", bits)
    return bits


def pack_bits(bits: Tensor) -> Tensor:
    """Bits (..., d) bool, the most significant first, to the integers (...) int64 in [0, 2^d) they write; d in [1, 62].

    >>> import torch
    >>> pack_bits(torch.tensor([[True, False, True], [False, False, True]]))
    tensor([5, 1])
    """
    if check_tensor("bits", bits).dtype != torch.bool:
        raise bad_type("bits", "a bool tensor", bits.dtype)
    if bits.ndim == 0:
        raise bad_value("bits", "shape (..., d)", "shape ()")
    _check_bits("bits", bits.shape[-1])
    # By name and not by sign, for which ONNX has no translation.
    return exact_sum(torch.bitwise_left_shift(bits.long(), _places(bits.shape[-1], bits.device)))


def unpack_bits(indices: Tensor, bits: int) -> Tensor:
    """Integers (...) in [0, 2^bits) to their bits (..., bits) bool, the most significant first; ``pack_bits`` undone.

    >>> import torch
    >>> unpack_bits(torch.tensor([5, 1]), 3).int().tolist()
    [[1, 0, 1], [0, 0, 1]]
    """
    check_indices("indices", indices)
    places = _places(_check_bits("bits", bits), indices.device)
    return torch.bitwise_right_shift(indices.long()[..., None], places).bitwise_and(1).bool()
