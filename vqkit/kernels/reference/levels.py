"""Coordinates to the values of their nearest levels, and to indices."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.tracing import exact_sum


def snap_levels(
    x_ND: Tensor, shift_D: Tensor, reach_D: Tensor, half_D: Tensor, top_D: Tensor, middle_D: Tensor, basis_D: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Values (N, D), in the dtype of the coordinates, indices (N,) int64, and t = tanh(x + shift) (N, D).

    A position is t·reach + half, a level its nearest integer in [0, top], halfway the upper one; its value is
    (level − middle) / middle, and it counts ``basis`` (int64) in the index.
    """
    squashed_ND = (x_ND + shift_D).tanh()
    rounded = (squashed_ND * reach_D + half_D + 0.5).floor().clamp(min=0)
    level_ND = torch.minimum(rounded, top_D)
    return (level_ND - middle_D) / middle_D, exact_sum(level_ND.long() * basis_D), squashed_ND


def unsquash(g_ND: Tensor, squashed_ND: Tensor, slope_D: Tensor) -> Tensor:
    """The gradient through tanh and a slope: g·(1 − t²)·slope, (N, D)."""
    return g_ND * (1 - squashed_ND.square()) * slope_D
