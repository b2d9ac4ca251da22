"""Codes that are put elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.reference.draws import NONE


def fade_shares_(shares_HK: Tensor, counts_HK: Tensor, rows_H: Tensor, window: float) -> None:
    """Move shares (float32) towards those of a step that drew ``counts`` of ``rows``, an even share being one: what was
    before fades by exp(−rows/(window·K)).
    """
    size = shares_HK.shape[1]
    rows = rows_H[:, None].double()
    even = counts_HK * size / rows.clamp(min=1)
    keep = torch.exp(-rows / (window * size))
    shares_HK.copy_(shares_HK * keep + even * (1 - keep))


def assigned(dead_HK: Tensor, urgency_HK: Tensor, scores_HR: Tensor) -> tuple[Tensor, Tensor]:
    """A slot of its own for every dead code, the most urgent first, of equals the first: which codes get one (H, K)
    bool, and which one (H, K) int64, in [0, R) everywhere. Slots of score −inf are none.
    """
    first = torch.where(dead_HK, urgency_HK.double(), -torch.inf).argsort(dim=1, descending=True, stable=True)
    place = torch.arange(first.shape[1], device=first.device).expand_as(first)
    turn = torch.empty_like(first).scatter_(1, first, place)  # the inverse permutation: each code's place in the queue
    slots = scores_HR.shape[1]
    slot = turn.clamp(max=slots - 1)
    return dead_HK & (turn < slots) & (scores_HR.gather(1, slot) > NONE), slot


def overwrite_(vectors_HKD: Tensor, where_HK: Tensor, rows_HKD: Tensor) -> None:
    """Write rows where ``where`` is true."""
    vectors_HKD.copy_(torch.where(where_HK[..., None], rows_HKD.to(vectors_HKD.dtype), vectors_HKD))
