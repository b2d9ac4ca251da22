"""What happens to dead codes. A policy watches which codes draw rows, and puts those that do not somewhere better.

Every policy acts after the update, so a revived code is not overwritten by it, and tells the update where the code now
is, so that it survives the next one. Rows are drawn by position, not by the batch they came in: micro-batches and
ranks agree.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from vqkit.codebook.stats import NONE, BatchStats, Candidates, random_rows
from vqkit.errors import ArgumentError
from vqkit.functional.hashing import hashed_normal
from vqkit.functional.row_anchors import closest_rows, drawn_rows
from vqkit.kernels import ops
from vqkit.shapes import check_choice, check_int, check_number

if TYPE_CHECKING:
    from vqkit.codebook.codebook import Codebook

ANCHORS = ("random", "closest", "probability")


class Revive(Protocol):
    """What becomes of codes that draw no rows."""

    def state(self, heads: int, size: int) -> dict[str, Tensor]:
        """Buffers, by name."""
        ...

    def candidates(self, book: Codebook, rows: Tensor, indices: Tensor, positions: Tensor) -> Candidates:
        """What may become codes, from the step's rows (H, N, D) and their indices (H, N), −1 where a row does not
        count.
        """
        ...

    def step_(self, book: Codebook, stats: BatchStats) -> None:
        """Watch one step, and revive."""
        ...


class _FromRandomRows:
    """Candidates are different rows of the step, drawn at random, as many as there are codes."""

    def candidates(self, book: Codebook, rows: Tensor, indices: Tensor, positions: Tensor) -> Candidates:
        """Up to K rows, in random order."""
        return random_rows(rows, indices >= 0, positions, book.clock, book.size)


def replace_(book: Codebook, dead: Tensor, urgency: Tensor, candidates: Candidates, weight: float) -> Tensor:
    """Put each dead code (H, K) on a candidate of its own, the most urgent first; returns which were placed.

    Codes beyond the number of candidates stay dead until the next step: two codes on one row would be one code.
    """
    # Of two flags a > b is a and not b, in one pass.
    placed, slot = ops.assigned(dead > book.frozen, urgency, candidates.scores)
    rows = candidates.rows.gather(1, slot[..., None].expand(-1, -1, book.dim))
    book.place_(placed, rows, weight)
    return placed


def _if_due(dead: Tensor, book: Codebook, every: int) -> Tensor:
    """The dead codes (H, K) of each so many steps, else none."""
    return dead if every == 1 else dead & (book.clock % every == 0)


@dataclass(frozen=True)
class ReplaceStale(_FromRandomRows):
    """A code whose moving count of rows per step falls below ``threshold`` becomes a random row of the step
    (SoundStream).

    The threshold is absolute, so it depends on the batch size: with N rows a step and K codes the average count is N/K.
    A replaced code starts again at the threshold. ``every``: look only each so many steps.
    """

    threshold: float = 2.0
    decay: float = 0.8
    every: int = 1

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, 0, open_low=True)
        check_number("decay", self.decay, 0, 1)
        check_int("every", self.every)

    def state(self, heads: int, size: int) -> dict[str, Tensor]:
        return {"revive_counts": torch.full((heads, size), self.threshold, dtype=torch.float32)}

    def step_(self, book: Codebook, stats: BatchStats) -> None:
        rate = (1 - self.decay) * (stats.rows > 0)[:, None].float()
        book.revive_counts.lerp_(stats.counts.float(), rate)
        dead = _if_due(book.revive_counts < self.threshold, book, self.every)
        placed = replace_(book, dead, -book.revive_counts, _candidates(stats), self.threshold)
        book.revive_counts.masked_fill_(placed, self.threshold)


@dataclass(frozen=True)
class ReplaceRare:
    """A code that draws less than ``share`` of an even share of the rows splits the cell of a random row.

    The share is a moving average over rows, not steps: its memory is ``window`` rows per code, so neither the batch
    size nor the number of codes changes what counts as dead. A replaced code starts again at an even share.

    It is put on the way from the row's code e to the row x, at e + reach·(x − e). On the row itself (reach 1) a code
    in many dimensions draws nothing: other rows are nearer to their centroid than to each other. At 2/√D (None, at
    most 1) the border lies about one standard deviation from the centroid, and it draws about a sixth of the cell.
    """

    share: float = 0.1
    window: float = 8.0
    reach: float | None = None
    every: int = 1

    def __post_init__(self) -> None:
        if self.reach is not None:
            check_number("reach", self.reach, 0, 1, open_low=True)
        check_number("share", self.share, 0, 1, open_low=True)
        check_number("window", self.window, 0, open_low=True)
        check_int("every", self.every)

    def state(self, heads: int, size: int) -> dict[str, Tensor]:
        return {"revive_shares": torch.ones(heads, size, dtype=torch.float32)}

    def candidates(self, book: Codebook, rows: Tensor, indices: Tensor, positions: Tensor) -> Candidates:
        reach = min(1.0, 2 / book.dim**0.5) if self.reach is None else self.reach

        def split(drawn: Tensor, numbers: Tensor) -> Tensor:
            return torch.lerp(book.take(indices.gather(1, numbers)).detach().to(drawn.dtype), drawn, reach)

        return random_rows(rows, indices >= 0, positions, book.clock, book.size, split)

    def step_(self, book: Codebook, stats: BatchStats) -> None:
        ops.fade_shares_(book.revive_shares, stats.counts, stats.rows, self.window)
        dead = _if_due(book.revive_shares < self.share, book, self.every)
        placed = replace_(book, dead, -book.revive_shares, _candidates(stats), 1.0)
        book.revive_shares.masked_fill_(placed, 1.0)


@dataclass(frozen=True)
class ReplaceUnused(_FromRandomRows):
    """A code unused for ``after`` steps becomes a random row plus noise of ``noise`` times its length (vqtorch's
    least recently used).
    """

    after: int = 100
    noise: float = 0.01

    def __post_init__(self) -> None:
        check_int("after", self.after)
        check_number("noise", self.noise, 0)

    def state(self, heads: int, size: int) -> dict[str, Tensor]:
        return {"revive_idle": torch.zeros(heads, size, dtype=torch.int64)}

    def step_(self, book: Codebook, stats: BatchStats) -> None:
        idle = book.revive_idle + (stats.rows > 0)[:, None]
        book.revive_idle.copy_(torch.where(stats.counts > 0, 0, idle))
        found = _candidates(stats)
        position = torch.arange(found.rows.numel(), device=found.rows.device).reshape(found.rows.shape)
        # Spread over the axes, so that the expected length of the noise is the stated share of the row's.
        spread = self.noise * found.rows.double().norm(dim=-1, keepdim=True) / book.dim**0.5
        noisy = found.rows + (spread * hashed_normal(book.clock, position)).to(found.rows.dtype)
        dead = book.revive_idle >= self.after
        placed = replace_(book, dead, book.revive_idle, replace(found, rows=noisy), 1.0)
        book.revive_idle.masked_fill_(placed, 0)


@dataclass(frozen=True)
class OnlineClustering:
    """Every step each code moves towards an anchor row, the further the less it is used (CVQ-VAE, Zheng and Vedaldi
    2023, arXiv:2307.15139).

    With p the moving share of rows a code draws, α = exp(−10·p·K/(1 − γ) − 10⁻³) and e ← (1 − α)e + α·anchor. The
    anchor of a code is a random row, the closest row, or a row drawn with probability ∝ exp(−|x − e|²).
    """

    anchor: str = "probability"
    decay: float = 0.99

    def __post_init__(self) -> None:
        check_choice("anchor", self.anchor, ANCHORS)
        if check_number("decay", self.decay, 0, 1) == 1:
            check_number("decay", self.decay, 0, 0.999999)

    def state(self, heads: int, size: int) -> dict[str, Tensor]:
        return {"revive_shares": torch.zeros(heads, size, dtype=torch.float32)}

    def candidates(self, book: Codebook, rows: Tensor, indices: Tensor, positions: Tensor) -> Candidates:
        valid = indices >= 0
        if self.anchor == "random":
            return replace(random_rows(rows, valid, positions, book.clock, book.size), per_code=False)
        codes = book.codes().detach()
        heads = []
        for code_KD, row_ND, counted_N, position_N in zip(codes, rows, valid, positions, strict=True):
            if self.anchor == "closest":
                heads.append(closest_rows(code_KD, row_ND, counted_N))
            else:
                heads.append(drawn_rows(code_KD, row_ND, counted_N, position_N, book.clock))
        return Candidates(torch.stack([r for r, _ in heads]), torch.stack([s for _, s in heads]), per_code=True)

    def step_(self, book: Codebook, stats: BatchStats) -> None:
        share = stats.counts / stats.rows[:, None].clamp(min=1)
        rate = (1 - self.decay) * (stats.rows > 0)[:, None].float()
        book.revive_shares.lerp_(share.float(), rate)
        alpha = torch.exp(-10 * book.revive_shares * book.size / (1 - self.decay) - 1e-3)[..., None]
        found = _candidates(stats)
        moved = torch.lerp(book.codes().detach(), found.rows.to(book.vectors.dtype), alpha)
        book.place_(found.scores > NONE, moved, None)


def _candidates(stats: BatchStats) -> Candidates:
    if stats.candidates is None:
        raise ArgumentError("revive: the step statistics carry no candidates")
    return stats.candidates
