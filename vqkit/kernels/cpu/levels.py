"""Coordinates to the values of their nearest levels by the native library; it takes float32."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.cpu.library import library
from vqkit.kernels.cpu.rows import all_float32, one_row


def snap_levels(
    x_ND: Tensor, shift_D: Tensor, reach_D: Tensor, half_D: Tensor, top_D: Tensor, middle_D: Tensor, basis_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """As ``reference.snap_levels``."""
    grid = (reach_D, half_D, top_D, middle_D)
    if not all_float32(x_ND, shift_D, *grid):
        return reference.snap_levels(x_ND, shift_D, *grid, basis_D)
    (N, D), x, threads = x_ND.shape, x_ND.contiguous(), torch.get_num_threads()
    squashed, values, indices = torch.empty_like(x), torch.empty_like(x), torch.empty(N, dtype=torch.int64)
    numbers = [t.contiguous() for t in (shift_D, *grid, basis_D)]
    at = [t.data_ptr() for t in numbers]
    library().vqkit_shift(x.data_ptr(), at[0], N, D, threads, squashed.data_ptr())
    squashed.tanh_()
    library().vqkit_snap_levels(squashed.data_ptr(), *at[1:], N, D, threads, values.data_ptr(), indices.data_ptr())
    return values, indices, squashed


def unsquash(g_ND: Tensor, squashed_ND: Tensor, slope_D: Tensor) -> Tensor:
    """As ``reference.unsquash``."""
    if not all_float32(g_ND, squashed_ND, slope_D):
        return reference.unsquash(g_ND, squashed_ND, slope_D)
    (N, D), out, slope = g_ND.shape, torch.empty_like(squashed_ND), slope_D.contiguous()
    g, stride = one_row(g_ND)
    library().vqkit_unsquash(
        *(g.data_ptr(), stride, squashed_ND.data_ptr(), slope.data_ptr()),
        *(N, D, torch.get_num_threads(), out.data_ptr()),
    )
    return out
