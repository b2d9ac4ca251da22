"""Every random generator a training step may draw from, as tensors and numbers that load without running code."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_all(seed: int) -> None:
    """Seed Python's, NumPy's and torch's global generators."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def random_state() -> dict[str, Any]:
    """The state of the global generators of this process and of its GPU."""
    name, keys, position, has_normal, normal = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys, dtype=np.int64)), position, has_normal, normal),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def restore_random_state(state: dict[str, Any]) -> None:
    """Put back what :func:`random_state` gave; a GPU that was not there keeps its own state.

    Examples:
        >>> state = random_state()
        >>> drawn = random.random(), float(np.random.rand()), float(torch.rand(()))
        >>> restore_random_state(state)
        >>> drawn == (random.random(), float(np.random.rand()), float(torch.rand(())))
        True
    """
    version, numbers, normal = state["python"]
    random.setstate((version, tuple(numbers), normal))
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
