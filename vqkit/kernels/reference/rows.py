"""What a training step does to every row besides the search."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.reference.unit import unit


def finite_rows(x_ND: Tensor) -> Tensor:
    """Whether a row holds neither NaN nor inf: (N,) bool."""
    return x_ND.isfinite().all(1)


def pull(x_HND: Tensor, codes_HKD: Tensor, indices_HN: Tensor, by: Tensor) -> Tensor:
    """by·(x − e) with the code e of each row's index, zero where that is negative: (H, N, D); ``by``: ()."""
    H, _, D = x_HND.shape
    taken = codes_HKD.gather(1, indices_HN.clamp(min=0)[..., None].expand(H, -1, D))
    return torch.where((indices_HN >= 0)[..., None], (x_HND - taken) * by, 0).to(x_HND.dtype)


def turned_back(g_ND: Tensor, x_ND: Tensor, q_ND: Tensor) -> Tensor:
    """The gradient of codes ``q`` as the rotation trick sends it to rows ``x``: (N, D), float32 or float64.

    With unit vectors u = x/|x|, v = q/|q| and r = (u + v)/|u + v| it is (|q|/|x|)(I − 2rrᵀ + 2uvᵀ)g. Where there is no
    angle, or |q|/|x| is no number of the dtype, it is g.
    """
    u, v = unit(x_ND), unit(q_ND)
    x_norm = _norm(x_ND)
    ratio = _norm(q_ND) / torch.where(x_norm > 0, x_norm, 1)
    turnable = (x_norm > 0) & (ratio > 0) & ratio.isfinite()
    middle = torch.nn.functional.normalize(u + v, dim=-1)
    along_middle = (g_ND * middle).sum(-1, keepdim=True) * middle
    along_u = (g_ND * v).sum(-1, keepdim=True) * u
    return torch.where(turnable, torch.where(turnable, ratio, 1) * (g_ND - 2 * along_middle + 2 * along_u), g_ND)


def _norm(x_ND: Tensor) -> Tensor:
    """|x| of each row (N, 1); no square leaves the dtype's range."""
    peak = x_ND.abs().amax(-1, keepdim=True)
    peak = torch.where(peak > 0, peak, 1)
    return peak * (x_ND / peak).square().sum(-1, keepdim=True).sqrt()
