"""Codes as moving averages of the rows they draw: counts n (H, K) and sums m (H, K, D), float32 both."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.reference.unit import unit


def ema_step_(
    n_HK: Tensor,
    m_HKD: Tensor,
    start_HK: Tensor,
    hit_HK: Tensor,
    counts_HK: Tensor,
    sums_HKD: Tensor,
    rows_H: Tensor,
    decay: float,
    factor: Tensor | None,
) -> None:
    """n ← γn + (1 − γ)·count, m ← γm + (1 − γ)·sum, of a step of ``rows``, in place.

    start: the share of the start still in the averages, fades alike; hit: whether a code drew any row, is set.
    factor: weighs (1 − γ), up to one; broadcasts to (H, K).
    """
    largest = torch.finfo(torch.float32).max
    counts, sums = counts_HK.float(), sums_HKD.clamp(-largest, largest).float()
    rate = (1 - decay) * (torch.ones_like(counts[:1, :1]) if factor is None else factor)
    # A step without a single row teaches nothing, not even that codes went unused.
    rate = torch.where((rows_H > 0)[:, None], rate, 0).clamp(max=1)
    n_HK.lerp_(counts, rate)
    m_HKD.lerp_(sums, rate[..., None])
    start_HK.mul_(1 - rate)
    hit_HK.logical_or_(counts > 0)


def ema_write_(
    vectors_HKD: Tensor,
    n_HK: Tensor,
    m_HKD: Tensor,
    start_HK: Tensor,
    hit_HK: Tensor,
    frozen_HK: Tensor,
    eps: float,
    everywhere: bool,
    unit_codes: bool,
) -> None:
    """Write m/ñ with ñ = (n + ε)/(Σn + Kε)·Σn where a code was hit since the last writing (or ``everywhere``), is not
    frozen, and that is finite.
    """
    learned = (1 - start_HK).clamp(min=torch.finfo(torch.float32).tiny)
    n, m = n_HK / learned, m_HKD / learned[..., None]
    total, K = n.sum(1, keepdim=True), n.shape[1]
    smoothed = (n + eps) / (total + K * eps) * total
    averages = m / torch.where(smoothed > 0, smoothed, 1)[..., None]
    if unit_codes:
        averages = unit(averages)
    where = averages.isfinite().all(-1) & ~frozen_HK
    if not everywhere:
        where = where & hit_HK
    vectors_HKD.copy_(torch.where(where[..., None], averages, vectors_HKD))
    hit_HK.zero_()


def ema_moved_(
    vectors_HKD: Tensor, n_HK: Tensor, m_HKD: Tensor, start_HK: Tensor, where_HK: Tensor, weight: float | None
) -> None:
    """Codes were put elsewhere: m = n·e, with n of that ``weight`` in rows, or as it was."""
    if weight is not None:
        n_HK.copy_(torch.where(where_HK, weight * (1 - start_HK), n_HK))
    m_HKD.copy_(torch.where(where_HK[..., None], vectors_HKD * n_HK[..., None], m_HKD))
