"""Where codes begin. A policy gives the vectors before any data, and may ask for the first batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.kmeans import SEEDINGS, kmeans
from vqkit.shapes import check_choice, check_int, check_number


class Init(Protocol):
    """How a codebook begins."""

    @property
    def needs_rows(self) -> bool:
        """Whether the first training batch places the codes."""
        ...

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        """Vectors (H, K, D) float32 at construction, drawn from torch's global generator."""
        ...

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        """Vectors (K, D) from the first batch's rows (N, D)."""
        ...


@dataclass(frozen=True)
class Uniform:
    """Each value uniform in ±bound; None means √(3/D), which gives codes of expected norm 1 (as Sonnet's)."""

    bound: float | None = None

    def __post_init__(self) -> None:
        if self.bound is not None:
            check_number("bound", self.bound, 0, open_low=True)

    @property
    def needs_rows(self) -> bool:
        return False

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        bound = (3 / dim) ** 0.5 if self.bound is None else self.bound
        return torch.empty(heads, size, dim, dtype=torch.float32).uniform_(-bound, bound)

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        del rows, size, metric
        raise ArgumentError(f"init: {self} takes no rows")


@dataclass(frozen=True)
class Normal:
    """Each value normal with this standard deviation."""

    std: float = 1.0

    def __post_init__(self) -> None:
        check_number("std", self.std, 0, open_low=True)

    @property
    def needs_rows(self) -> bool:
        return False

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        return torch.randn(heads, size, dim, dtype=torch.float32) * self.std

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        del rows, size, metric
        raise ArgumentError(f"init: {self} takes no rows")


@dataclass(frozen=True)
class EvenlySpaced:
    """Scalar codes (D = 1) one step apart in [−½, ½], from −½ on, zero among them: an even number stops a step short of
    ½ (as Hsu et al. 2023, arXiv:2305.18378).
    """

    @property
    def needs_rows(self) -> bool:
        return False

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        if dim != 1:
            raise bad_value("dim", "1 to space codes evenly", dim)
        steps = size - size % 2  # from −½ to ½
        return (torch.arange(size, dtype=torch.float32) / max(steps, 1) - 0.5).expand(heads, -1)[..., None].clone()

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        del rows, size, metric
        raise ArgumentError(f"init: {self} takes no rows")


@dataclass(frozen=True)
class KMeansInit:
    """The centroids of the first training batch (SoundStream, Zeghidour et al. 2021, arXiv:2107.03312).

    The batch must hold at least as many rows as there are codes; to initialise from many batches use ``fit``.
    """

    iters: int = 10
    seeding: str = "random"
    restarts: int = 1

    def __post_init__(self) -> None:
        check_int("iters", self.iters, 0)
        check_int("restarts", self.restarts)
        check_choice("seeding", self.seeding, SEEDINGS)

    @property
    def needs_rows(self) -> bool:
        return True

    def initial(self, heads: int, size: int, dim: int) -> Tensor:
        return Uniform().initial(heads, size, dim)

    def check(self, rows: int, size: int) -> None:
        """Raise unless a first batch of so many rows can place ``size`` codes."""
        if rows < size:
            raise ArgumentError(
                f"init: k-means needs at least {size} rows to place {size} codes, got {rows} in the first "
                "training batch; use a larger batch, fewer codes, or fit(loader)"
            )

    def from_rows(self, rows: Tensor, size: int, metric: str) -> Tensor:
        self.check(rows.shape[0], size)
        # A generator of its own: every rank draws the same seeds, and the user's random numbers stay where they were.
        generator = torch.Generator().manual_seed(0)
        found = kmeans(
            rows,
            size,
            iters=self.iters,
            metric=metric,
            seeding=self.seeding,
            restarts=self.restarts,
            generator=generator,
        )
        return found.centroids
