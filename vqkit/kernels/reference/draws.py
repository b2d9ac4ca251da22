"""Rows drawn at random."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.reference.hashing import hashed_uniform

NONE = -torch.inf  # the score of a slot that holds no row


def draw(valid_HN: Tensor, positions_HN: Tensor, seed: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """The rows of highest score among those that count, best first: scores (H, R) float64 and numbers (H, R) int64,
    R the lesser of ``slots`` and N.

    A score is a random number in (0, 1) that hangs on ``seed`` and the row's position alone; it is −inf where there is
    no further row, whatever number stands there.
    """
    scores_HN = torch.where(valid_HN, hashed_uniform(seed, positions_HN), NONE)
    top = scores_HN.topk(min(slots, scores_HN.shape[1]), dim=1)
    return top.values, top.indices
