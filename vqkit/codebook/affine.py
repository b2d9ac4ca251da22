"""Affine reparameterisation: the codes seen by the search are a learned or running affine image of the stored vectors.

A shift of the encoder's distribution then moves all codes at once, used or not (Huh et al. 2023, arXiv:2305.08842).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from vqkit.errors import bad_value
from vqkit.shapes import check_int, check_number


class Affine(Protocol):
    """A choice of affine map; ``build`` makes the module that holds its numbers."""

    def build(self, heads: int, size: int, dim: int) -> AffineMap: ...


def _within_range(values: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 ``values`` in another dtype, the largest number of it where they exceed its range."""
    largest = torch.finfo(dtype).max
    return values.clamp(-largest, largest).to(dtype)


class AffineMap(nn.Module):
    """codes = scale ⊙ vectors + shift, with scale and shift broadcast to (H, K, D)."""

    needs_gradient = False

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        """Both (H or 1, K or 1, D)."""
        raise NotImplementedError  # abstract: each map below has its own

    def forward(self, vectors: Tensor) -> Tensor:
        """Stored vectors (H, K, D) to codes (H, K, D)."""
        scale, shift = self.scale_and_shift()
        return _within_range(vectors.double() * scale + shift, vectors.dtype)

    def inverse(self, codes: Tensor) -> Tensor:
        """Codes (H, K, D), or rows (H, N, D) where one map serves all codes, to where the stored vectors live."""
        scale, shift = self.scale_and_shift()
        return _within_range((codes.double() - shift) / scale, codes.dtype)

    def moments(self, rows: Tensor, valid: Tensor) -> Tensor | None:
        """What ``follow_`` needs of rows (H, N, D), those valid (H, N): additive over micro-batches and ranks."""
        del rows, valid
        return None

    def follow_(self, moments: Tensor | None, rows: Tensor, vectors: Tensor, held: Tensor) -> None:
        """Learn from a step: moments, how many rows counted (H,), the stored vectors, whether all codes are frozen."""


@dataclass(frozen=True)
class LearnedAffine:
    """codes = (1 + lr·s) ⊙ vectors + lr·b with s, b learned by gradient from zero, one pair per group of K/groups
    codes.
    """

    lr: float = 1.0
    groups: int = 1

    def __post_init__(self) -> None:
        check_number("lr", self.lr, 0, open_low=True)
        check_int("groups", self.groups)

    def build(self, heads: int, size: int, dim: int) -> AffineMap:
        if size % self.groups:
            raise bad_value("groups", f"a divisor of the {size} codes", self.groups)
        return _LearnedMap(self.lr, self.groups, heads, size, dim)


class _LearnedMap(AffineMap):
    needs_gradient = True

    def __init__(self, lr: float, groups: int, heads: int, size: int, dim: int):
        super().__init__()
        self.lr, self.repeats = lr, size // groups
        self.scale = nn.Parameter(torch.zeros(heads, groups, dim, dtype=torch.float32))
        self.shift = nn.Parameter(torch.zeros(heads, groups, dim, dtype=torch.float32))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        scale, shift = 1 + self.lr * self.scale, self.lr * self.shift
        return scale.repeat_interleave(self.repeats, 1), shift.repeat_interleave(self.repeats, 1)


@dataclass(frozen=True)
class RunningAffine:
    """codes = (vectors − μ_c)·σ_x/σ_c + μ_x with running means and deviations of the rows (x) and the vectors (c)."""

    row_decay: float = 0.99
    code_decay: float = 0.9
    eps: float = 1e-5

    def __post_init__(self) -> None:
        check_number("row_decay", self.row_decay, 0, 1)
        check_number("code_decay", self.code_decay, 0, 1)
        check_number("eps", self.eps, 0, open_low=True)

    def build(self, heads: int, size: int, dim: int) -> AffineMap:
        del size
        return _RunningMap(self, heads, dim)


class _RunningMap(AffineMap):
    row_mean: Tensor
    row_var: Tensor
    code_mean: Tensor
    code_var: Tensor
    seen: Tensor

    def __init__(self, policy: RunningAffine, heads: int, dim: int):
        super().__init__()
        self.policy = policy
        for name in ("row", "code"):
            self.register_buffer(f"{name}_mean", torch.zeros(heads, 1, dim, dtype=torch.float32))
            self.register_buffer(f"{name}_var", torch.ones(heads, 1, dim, dtype=torch.float32))
        self.register_buffer("seen", torch.zeros(heads, 1, 1, dtype=torch.bool))

    def scale_and_shift(self) -> tuple[Tensor, Tensor]:
        scale = ((self.row_var.double() + self.policy.eps) / (self.code_var.double() + self.policy.eps)).sqrt()
        return scale, self.row_mean.double() - self.code_mean.double() * scale

    def moments(self, rows: Tensor, valid: Tensor) -> Tensor | None:
        # Offsets from the running mean: squares of raw values would cancel for data far from zero.
        offset = torch.where(valid[..., None], rows.double() - self.row_mean.double(), 0)
        return torch.stack([offset.sum(1), offset.square().sum(1)], 1)

    @torch.no_grad()
    def follow_(self, moments: Tensor | None, rows: Tensor, vectors: Tensor, held: Tensor) -> None:
        if moments is None:
            return
        count = rows[:, None, None].double()
        mean, square = (moments / count.clamp(min=1)).split(1, dim=1)
        moves = (count > 0) & ~held[:, None, None]
        row_mean, row_var = mean + self.row_mean.double(), (square - mean.square()).clamp(min=0)
        self._blend(self.row_mean, self.row_var, row_mean, row_var, self.policy.row_decay, moves)
        stored = vectors.double()
        code_mean, code_var = stored.mean(1, keepdim=True), stored.var(1, correction=0, keepdim=True)
        self._blend(self.code_mean, self.code_var, code_mean, code_var, self.policy.code_decay, moves)
        self.seen.logical_or_(moves)

    def _blend(self, mean: Tensor, var: Tensor, new_mean: Tensor, new_var: Tensor, decay: float, moves: Tensor) -> None:
        rate = moves.float() * ((1 - decay) * self.seen.float() + (~self.seen).float())
        largest = torch.finfo(torch.float32).max  # which the squares of finite rows may exceed
        for average, new in ((mean, new_mean), (var, new_var)):
            average.lerp_(new.clamp(-largest, largest).float(), rate)
