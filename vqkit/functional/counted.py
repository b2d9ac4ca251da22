"""Rows that count and rows that do not, without a copy where all of them do."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vqkit.kernels.ops import plain


def at_hand(tensor: Tensor) -> bool:
    """Whether its values can be read without waiting for a device: in eager code on a CPU."""
    return tensor.device.type == "cpu" and plain(tensor)


def all_known(flags: Tensor) -> bool:
    """Whether all flags are known to be true: in eager code on a CPU they are read, elsewhere nobody waits for them.

    >>> import torch
    >>> all_known(torch.tensor([True, True])), all_known(torch.tensor([True, False]))
    (True, False)
    """
    # Numpy answers ten times as fast, and its own ``all`` asks this.
    return at_hand(flags) and bool(np.logical_and.reduce(flags.numpy(), axis=None))


def none_known(flags: Tensor) -> bool:
    """Whether all flags are known to be false; as ``all_known``.

    >>> import torch
    >>> none_known(torch.tensor([False, False])), none_known(torch.tensor([True, False]))
    (True, False)
    """
    return at_hand(flags) and not flags.numpy().any()


def zero_unless(counted: Tensor, rows: Tensor, otherwise: Tensor | int = 0) -> Tensor:
    """Rows (..., D), or (..., T, D), where ``counted`` (...) is true, zeros (or ``otherwise``) elsewhere; the rows
    themselves where all count.

    >>> import torch
    >>> zero_unless(torch.tensor([True, False]), torch.ones(2, 1)).tolist()
    [[1.0], [0.0]]
    """
    if all_known(counted):
        return rows
    return torch.where(counted.reshape(counted.shape + (1,) * (rows.ndim - counted.ndim)), rows, otherwise)
