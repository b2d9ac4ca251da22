"""What one training step tells a codebook: additive over micro-batches and over ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.kernels import ops
from vqkit.kernels.ops import plain
from vqkit.kernels.reference.draws import NONE

__all__ = ["NONE", "BatchStats", "Candidates", "best_rows", "random_rows", "row_positions"]


@dataclass(frozen=True)
class Candidates:
    """Rows that may become codes: rows (H, R, D) and scores (H, R), −inf where there is none.

    ``per_code``: slot j is the best row for code j; otherwise the R best of all rows, best first.
    """

    rows: Tensor
    scores: Tensor
    per_code: bool = False

    def shared(self) -> Candidates:
        """The candidates of all ranks together: one gather."""
        return self.of_ranks(distributed.gathered([self.rows, self.scores]))

    def of_ranks(self, found: list[Tensor]) -> Candidates:
        """All ranks' candidates together, from their rows (R, H, ·, D) and scores (R, H, ·)."""
        first, *others = [replace(self, rows=rows, scores=scores) for rows, scores in zip(*found, strict=True)]
        for other in others:
            first = first.merged(other)
        return first

    def merged(self, other: Candidates) -> Candidates:
        """The candidates of both sets of rows together."""
        if self.per_code:
            better = (self.scores >= other.scores)[..., None]
            rows = torch.where(better, self.rows, other.rows)
            return replace(self, rows=rows, scores=torch.maximum(self.scores, other.scores))
        rows, scores = torch.cat([self.rows, other.rows], 1), torch.cat([self.scores, other.scores], 1)
        return best_rows(rows, scores, self.scores.shape[1])


@dataclass(frozen=True)
class BatchStats:
    """counts (H, K) and sums (H, K, D) float64 of the rows each code drew, rows that counted (H,) int64.

    moments: what an affine map asked for, and candidates: what a revive policy asked for; None where nobody did.
    """

    counts: Tensor
    sums: Tensor
    rows: Tensor
    moments: Tensor | None = None
    candidates: Candidates | None = None

    def additive(self) -> list[Tensor]:
        """What adds up over micro-batches and ranks."""
        return [self.counts, self.sums, self.rows, *([] if self.moments is None else [self.moments])]

    def merged(self, other: BatchStats) -> BatchStats:
        """The statistics of two micro-batches, without their candidates, as those of one batch."""
        return BatchStats.of([mine + its for mine, its in zip(self.additive(), other.additive(), strict=True)])

    @staticmethod
    def of(additive: list[Tensor]) -> BatchStats:
        """What ``additive`` gave, or its sums, as statistics."""
        counts, sums, rows, *moments = additive
        return BatchStats(counts, sums, rows, moments[0] if moments else None)


def best_rows(rows_HND: Tensor, scores_HN: Tensor, slots: int) -> Candidates:
    """The ``slots`` rows of highest score, best first, padded with empty slots when there are fewer."""
    top = scores_HN.topk(min(slots, scores_HN.shape[1]), dim=1)
    return _padded(_picked(rows_HND, top.indices), top.values, slots)


def _picked(rows_HND: Tensor, numbers_HR: Tensor) -> Tensor:
    """Rows (H, R, D) by their numbers."""
    return rows_HND.gather(1, numbers_HR[..., None].expand(-1, -1, rows_HND.shape[-1]))


def _padded(rows_HRD: Tensor, scores_HR: Tensor, slots: int) -> Candidates:
    """Candidates with empty slots behind them, up to so many."""
    missing = slots - rows_HRD.shape[1]
    if plain(rows_HRD) and not missing:  # traced, where the number of rows may be open, nothing is asked
        return Candidates(rows_HRD, scores_HR)
    scores = torch.nn.functional.pad(scores_HR, (0, missing), value=NONE)
    return Candidates(torch.nn.functional.pad(rows_HRD, (0, 0, 0, missing)), scores)


def row_positions(valid_HN: Tensor, before_H: Tensor | None = None) -> Tensor:
    """The number of each row among the rows that count, ``before_H`` of which (None: none) came before these, in
    earlier micro-batches or on other ranks: its random numbers hang on it.
    """
    order_HN = valid_HN.cumsum(1) - 1
    return order_HN if before_H is None else order_HN + before_H[:, None]


def random_rows(
    rows_HND: Tensor,
    valid_HN: Tensor,
    positions_HN: Tensor,
    seed: Tensor,
    slots: int,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Candidates:
    """``slots`` different rows drawn at random, the same ones however the batch was cut up.

    change: what becomes of the rows drawn (H, R, D), given their numbers (H, R) too.
    """
    scores, numbers = ops.draw(valid_HN, positions_HN, seed, slots)
    picked = _picked(rows_HND, numbers)
    return _padded(picked if change is None else change(picked, numbers), scores, slots)
