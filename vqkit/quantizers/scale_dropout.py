"""Which scales of a pyramid a training step leaves out: policies, drawn from a counter alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vqkit.functional.hashing import hashed_uniform
from vqkit.shapes import check_int, check_number


class Dropout(Protocol):
    """Which scales a training step keeps."""

    def kept(self, clock: Tensor, scales: int) -> Tensor:
        """Whether step ``clock`` (() int64) keeps each scale, (S,) bool: the same on every rank."""
        ...


@dataclass(frozen=True)
class ScaleDropout:
    """In training leave each scale out with a probability, but the first and last few (Infinity, Han et al. 2024,
    arXiv:2412.04431).
    """

    probability: float
    keep_first: int = 1
    keep_last: int = 0

    def __post_init__(self) -> None:
        check_number("probability", self.probability, 0, 1)
        check_int("keep_first", self.keep_first)
        check_int("keep_last", self.keep_last, 0)

    def kept(self, clock: Tensor, scales: int) -> Tensor:
        scale_S = torch.arange(scales, device=clock.device)
        spared_S = (scale_S < self.keep_first) | (scale_S >= scales - self.keep_last)
        return spared_S | (hashed_uniform(clock, scale_S) >= self.probability)


@dataclass(frozen=True)
class NestedDropout:
    """In training, with a probability, keep only some first scales, at least ``keep_first``, as many as are drawn."""

    probability: float
    keep_first: int = 1

    def __post_init__(self) -> None:
        check_number("probability", self.probability, 0, 1)
        check_int("keep_first", self.keep_first)

    def kept(self, clock: Tensor, scales: int) -> Tensor:
        scale_S = torch.arange(scales, device=clock.device)
        whether, where = hashed_uniform(clock, torch.arange(2, device=clock.device)).unbind()
        cut = self.keep_first + (where * max(scales - self.keep_first, 0)).floor()
        return (scale_S < cut) | (whether >= self.probability)
