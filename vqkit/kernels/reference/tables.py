"""Tables of 2^k numbers, one for each value of k bits, the first bit the most significant."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def bit_table(bits_Nk2: Tensor, least: float) -> Tensor:
    """Products over the bits of every code, (N, 2^k), of what each bit gives as zero and as one; what is not above
    ``least`` becomes zero.
    """
    table = bits_Nk2.new_ones(bits_Nk2.shape[0], 1)
    # From the last bit on, so that every new bit doubles the table in whole runs.
    for bit_N2 in reversed(bits_Nk2.unbind(1)):
        table = F.threshold((bit_N2[:, :, None] * table[:, None, :]).flatten(1), least, 0)
    return table


def bit_sums(table_NK: Tensor, slope_NK: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of table·slope over the codes whose bit is one, and over those where it is zero: (N, k) each."""
    codes = torch.arange(table_NK.shape[1], device=table_NK.device)
    k = table_NK.shape[1].bit_length() - 1
    bits_Kk = (codes[:, None] >> torch.arange(k - 1, -1, -1, device=codes.device) & 1).to(table_NK.dtype)
    part_NK = table_NK * slope_NK
    return part_NK @ bits_Kk, part_NK @ (1 - bits_Kk)
