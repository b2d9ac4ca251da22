"""Whether another choice of codes is a near tie: one that rounding alone decides."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn

WEIGHTED = (nn.Linear, nn.modules.conv._ConvNd)
AROUND = 8  # roundings that no layer counts: squashing, a norm, the residual's subtractions
LARGEST = 1 / 64  # where so many terms of half precision meet that the bound says nothing
TRIES = 64  # moved copies of an item at each width
WIDTHS = 32  # from that of the bound downwards, each half of the one before


def rounding_bound(module: nn.Module) -> float:
    """γ_n = nu / (1 − nu), u = 2⁻²⁴: how far float32 may put what comes out of a chain of inner products, relative to
    the sum of their terms' magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, §3.1); n is the number
    of terms along the chain, all layers of the module taken for one. Layers of another dtype count with its u.
    """
    rounded = AROUND * 2.0**-24
    for layer in module.modules():
        if isinstance(layer, WEIGHTED):
            rounded += (math.prod(layer.weight.shape[1:]) + 1) * torch.finfo(layer.weight.dtype).eps / 2
    return min(rounded / (1 - rounded), LARGEST) if rounded < 1 else LARGEST


class Ties:
    """A module in float64, which is asked whether a small move of an input makes it choose otherwise.

    Attributes:
        bound: the largest move that counts as rounding, relative to the largest number of the item: ``rounding_bound``.
    """

    def __init__(self, module: nn.Module):
        self.bound = rounding_bound(module)
        self.exact: Any = copy.deepcopy(module).double()
        self.axis = getattr(module, "batch_axis", 0)

    @torch.no_grad()
    def width(self, item: Tensor, *choices: Tensor) -> float | None:
        """The least move tried, at most ``bound``, within which the module makes each of the choices; None: there is
        none.

        Args:
            item: an input of the module without the batch axis. choices: indices of it, likewise.
        """
        generator = torch.Generator().manual_seed(0)
        exact = item.double()
        moves = torch.rand((TRIES, *item.shape), generator=generator, dtype=torch.float64) * 2 - 1
        moves[0] = 0
        scale, left, widest = exact.abs().amax(), list(choices), None
        for halvings in reversed(range(WIDTHS)):
            width = self.bound / 2**halvings
            found = self.exact.encode(exact + width * scale * moves).movedim(self.axis, 0).reshape(TRIES, -1)
            remaining = [choice for choice in left if not (found == choice.flatten()).all(1).any()]
            widest = width if len(remaining) < len(left) else widest
            left = remaining
            if not left:
                return widest
        return None
