"""Indices into a ring of the last ones."""

from __future__ import annotations

import torch
from torch import Tensor


def record_(ring: Tensor, cursor: Tensor, indices_HN: Tensor) -> None:
    """Write indices, −1 left out, behind the cursor (H, 1) of a ring (H, length + 1), whose last slot is a spare one,
    and move the cursor.
    """
    length, counted = ring.shape[1] - 1, indices_HN >= 0
    order = counted.cumsum(1) - 1
    total = counted.sum(1, keepdim=True)
    kept = counted & (order >= total - length)
    slot = torch.where(kept, (cursor + order) % length, length)
    ring.scatter_(1, slot, indices_HN.to(ring.dtype))
    cursor.copy_((cursor + total) % length)
