"""What one training step tells a codebook: additive over micro-batches and over ranks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.functional.hashing import hashed_uniform

NONE = -torch.inf  # the score of a candidate slot that holds no row


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
        if distributed.world_size() == 1:
            return self
        packed = torch.cat([self.rows.double(), self.scores[..., None]], -1)
        first, *others = [
            replace(self, rows=p[..., :-1].to(self.rows.dtype), scores=p[..., -1]) for p in distributed.gathered(packed)
        ]
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

    def merged(self, other: BatchStats) -> BatchStats:
        """The statistics of two micro-batches as those of one batch."""
        candidates, moments = self.candidates, self.moments
        if candidates is not None and other.candidates is not None:
            candidates = candidates.merged(other.candidates)
        if moments is not None and other.moments is not None:
            moments = moments + other.moments
        sums, rows = self.sums + other.sums, self.rows + other.rows
        return BatchStats(self.counts + other.counts, sums, rows, moments, candidates)

    def shared(self) -> BatchStats:
        """The statistics over all ranks: one all-reduce, and one gather when there are candidates."""
        if distributed.world_size() == 1:
            return self
        additive = [self.counts, self.sums, self.rows, *([] if self.moments is None else [self.moments])]
        counts, sums, rows, *moments = distributed.summed(additive)
        candidates = None if self.candidates is None else self.candidates.shared()
        return BatchStats(counts, sums, rows, moments[0] if moments else None, candidates)


def best_rows(
    rows_HND: Tensor, scores_HN: Tensor, slots: int, change: Callable[[Tensor, Tensor], Tensor] | None = None
) -> Candidates:
    """The ``slots`` rows of highest score, best first, padded with empty slots when there are fewer.

    change: what becomes of the rows picked (H, R, D), given their numbers (H, R) too.
    """
    top = scores_HN.topk(min(slots, scores_HN.shape[1]), dim=1)
    picked = rows_HND.gather(1, top.indices[..., None].expand(-1, -1, rows_HND.shape[-1]))
    picked = picked if change is None else change(picked, top.indices)
    missing = slots - picked.shape[1]
    scores = torch.nn.functional.pad(top.values, (0, missing), value=NONE)
    return Candidates(torch.nn.functional.pad(picked, (0, 0, 0, missing)), scores)


def row_positions(valid_HN: Tensor, earlier_H: Tensor, sync: bool = True) -> Tensor:
    """The number of each row among the rows that count, over micro-batches and ranks: its random numbers hang on it."""
    if sync and distributed.world_size() > 1:
        counts_RH, earlier_RH = distributed.gathered(torch.stack([valid_HN.sum(1), earlier_H])).unbind(1)
        earlier_H = earlier_RH.sum(0) + counts_RH[: distributed.rank()].sum(0)
    return valid_HN.cumsum(1) - 1 + earlier_H[:, None]


def random_rows(
    rows_HND: Tensor,
    valid_HN: Tensor,
    positions_HN: Tensor,
    seed: Tensor,
    slots: int,
    change: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Candidates:
    """``slots`` different rows drawn at random, the same ones however the batch was cut up; ``change``: of
    ``best_rows``.
    """
    scores = torch.where(valid_HN, hashed_uniform(seed, positions_HN), NONE)
    return best_rows(rows_HND, scores, slots, change)
