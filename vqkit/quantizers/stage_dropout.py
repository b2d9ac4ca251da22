"""Quantizer dropout: train with a random number of stages, so that every prefix of them is worth decoding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqkit import distributed
from vqkit.errors import bad_type, bad_value
from vqkit.functional.hashing import hashed_uniform
from vqkit.shapes import check_flag, check_int, check_number


@dataclass(frozen=True)
class StageDropout:
    """Keep a random number of the first stages in training (SoundStream, Zeghidour et al. 2021, arXiv:2107.03312).

    With Q stages, n of them are kept, ``cutoff`` < n ≤ Q, uniformly, rounded up to a multiple of ``multiple_of``. The
    draw is a function of the training step and, ``per_sample``, of the item's number in the batch over all ranks (DAC,
    Kumar et al. 2023, arXiv:2306.06546): every rank decides alike.

    Args:
        rate: share of the batches, or of the items, that are cut at all. cutoff: stages that are always kept, less one.
        multiple_of: numbers of stages that occur. per_sample: a draw for each item of the first axis.
    """

    rate: float = 1.0
    cutoff: int = 0
    multiple_of: int = 1
    per_sample: bool = False

    def __post_init__(self) -> None:
        check_number("rate", self.rate, 0, 1)
        check_int("cutoff", self.cutoff, 0)
        check_int("multiple_of", self.multiple_of)
        check_flag("per_sample", self.per_sample)

    def check(self, stages: int) -> None:
        """Raise unless there are stages left to cut."""
        if self.cutoff >= stages:
            raise bad_value("quantize_dropout_cutoff_index", f"less than the {stages} stages", self.cutoff)

    def kept(self, clock: Tensor, stages: int, samples: int, earlier: Tensor) -> Tensor:
        """How many stages each of ``samples`` items keeps: (samples,) int64; ``earlier``: items of the same step that
        came before, on this rank.
        """
        position = torch.arange(samples, device=clock.device)
        if self.per_sample:
            position = position + _before(samples, earlier)
        else:
            position = torch.zeros_like(position)
        spread = stages - self.cutoff
        drawn = self.cutoff + (hashed_uniform(clock, position) * spread).long().clamp(max=spread - 1)
        kept = ((drawn + self.multiple_of) // self.multiple_of * self.multiple_of).clamp(max=stages)
        return torch.where(hashed_uniform(clock, position, stream=3) < self.rate, kept, stages)


class DropoutClock(nn.Module):
    """What a ``StageDropout`` draws, step after step; micro-batches under ``accumulating`` are one step."""

    clock: Tensor

    def __init__(self, dropout: StageDropout, stages: int):
        super().__init__()
        if not isinstance(dropout, StageDropout):
            raise bad_type("dropout", "a StageDropout or None", dropout)
        dropout.check(stages)
        self.dropout, self.stages = dropout, stages
        self.register_buffer("clock", torch.zeros((), dtype=torch.int64))
        self.accumulating = False
        self._earlier: Tensor | None = None

    @torch.no_grad()
    def kept_(self, samples: int, *, tick: bool) -> Tensor:
        """How many stages each of ``samples`` items keeps, (samples,) int64; no ``tick``: the next call draws alike."""
        earlier = torch.zeros_like(self.clock) if self._earlier is None else self._earlier
        kept = self.dropout.kept(self.clock, self.stages, samples, earlier)
        if tick:
            self._earlier = earlier + samples if self.accumulating else None
            self.clock.add_(0 if self.accumulating else 1)
        return kept

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._earlier = None  # of a step that the loaded state knows nothing of


def _before(samples: int, earlier: Tensor) -> Tensor:
    """How many items of this step come before these: those of earlier micro-batches, and of the ranks before."""
    if distributed.world_size() == 1:
        return earlier
    samples_R, earlier_R = distributed.gathered([torch.full_like(earlier, samples), earlier])
    return earlier_R.sum() + distributed.before(samples_R)
