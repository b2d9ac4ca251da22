"""Tables of bits by the native library; it takes float32."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.cpu.library import library
from vqkit.kernels.cpu.rows import all_float32


def bit_table(bits_Nk2: Tensor, least: float) -> Tensor:
    """As ``reference.bit_table``."""
    if not all_float32(bits_Nk2):
        return reference.bit_table(bits_Nk2, least)
    (N, k, _), bits = bits_Nk2.shape, bits_Nk2.contiguous()
    table = torch.empty(N, 2**k, dtype=torch.float32)
    library().vqkit_bit_table(bits.data_ptr(), N, k, least, torch.get_num_threads(), table.data_ptr())
    return table


def bit_sums(table_NK: Tensor, slope_NK: Tensor) -> tuple[Tensor, Tensor]:
    """As ``reference.bit_sums``."""
    if not all_float32(table_NK, slope_NK):
        return reference.bit_sums(table_NK, slope_NK)
    table, slope = table_NK.contiguous(), slope_NK.contiguous()
    N, k = table.shape[0], table.shape[1].bit_length() - 1
    ones, zeros = (torch.empty(N, k, dtype=torch.float32) for _ in range(2))
    library().vqkit_bit_sums(
        table.data_ptr(), slope.data_ptr(), N, k, torch.get_num_threads(), ones.data_ptr(), zeros.data_ptr()
    )
    return ones, zeros
