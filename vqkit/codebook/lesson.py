"""A training step of one table, between the rows it saw and what it learns once all ranks have told theirs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.codebook.stats import BatchStats, Candidates, row_positions
from vqkit.codebook.update import Weight

if TYPE_CHECKING:
    from vqkit.codebook.codebook import Codebook


class Lesson:
    """One micro-batch's part in what a step shares (``distributed.Part``).

    Args:
        rows, indices: (H, N, D) and (H, N). stats: of these rows. before: the micro-batches of the same step until now.
        weight: for the update. more: further micro-batches are to come, and nothing moves yet.
    """

    def __init__(
        self,
        book: Codebook,
        rows: Tensor,
        indices: Tensor,
        stats: BatchStats,
        before: Lesson | None,
        weight: Weight,
        more: bool,
    ):
        self.book, self.rows, self.indices, self.weight, self.more = book, rows, indices, weight, more
        self.before, self.counted = before, stats.rows
        self.stats = stats if before is None else before.stats.merged(stats)
        self.candidates: Candidates | None = None

    def addends(self) -> list[Tensor]:
        """How many rows every rank has, and had before; and the statistics, when all micro-batches are there."""
        numbers = distributed.by_rank(torch.stack([self.counted, self._earlier()]))
        return [numbers] if self.more else [numbers, *self.stats.additive()]

    def offers(self, sums: list[Tensor]) -> list[Tensor]:
        """What may become codes, when all micro-batches are there."""
        rows_RH, earlier_RH = sums[0].unbind(1)
        self._look_for_candidates(earlier_RH.sum(0) + distributed.before(rows_RH))
        if self.more:
            return []
        self.stats = BatchStats.of(sums[1:])
        return [] if self.candidates is None else [self.candidates.rows, self.candidates.scores]

    def finish_(self, offers: list[Tensor]) -> None:
        """Learn, when all micro-batches are there."""
        if self.candidates is not None and not self.more:
            self.candidates = self.candidates.of_ranks(offers)
        self._step_()

    def alone_(self) -> None:
        """Learn from this rank alone, when all micro-batches are there."""
        self._look_for_candidates(None if self.before is None else self._earlier())
        self._step_()

    def _earlier(self) -> Tensor:
        """How many rows counted in the micro-batches before: (H,)."""
        return self.stats.rows - self.counted

    def _look_for_candidates(self, before_H: Tensor | None) -> None:
        """Among these rows and those of the micro-batches before; the rows are then no longer needed."""
        if self.book.revive is not None:
            positions = row_positions(self.indices >= 0, before_H)
            found = self.book.revive.candidates(self.book, self.rows, self.indices, positions)
            earlier = None if self.before is None else self.before.candidates
            self.candidates = found if earlier is None else earlier.merged(found)
        self.rows, self.before = self.rows.new_empty(0), None  # not a view, which would keep them

    def _step_(self) -> None:
        if not self.more:
            self.book.step_(replace(self.stats, candidates=self.candidates), self.weight)
