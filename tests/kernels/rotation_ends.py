"""Rows, and codes made of them, at which the rotation trick ends."""

from __future__ import annotations

import torch
from torch import Tensor

NAMES = ["zero row", "zero code", "opposite", "same", "huge", "tiny"]
MORE_NAMES = [*NAMES, "beyond float32", "NaN"]


def at_the_end(name: str, x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and codes of one of ``MORE_NAMES``, of ordinary rows ``x``."""
    return {
        "zero row": (x * 0, x),
        "zero code": (x, x * 0),
        "opposite": (x, -2 * x),
        "same": (x, x.clone()),
        "huge": (x * 1e37, x.flip(0) * 1e37),
        "tiny": (x * 1e-37, x.flip(0) * 1e-37),
        "beyond float32": (x * 1e-30, x.flip(0) * 1e30),
        "NaN": (x * torch.nan, x.flip(0)),
    }[name]
