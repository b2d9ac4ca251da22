"""Beam search over stages: the sums of codes nearest to each row, instead of the nearest code stage by stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.kernels.tracing import blocks, least
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.stage_codes import context_of

VALUES_PER_BLOCK = 2**22


class Beams(NamedTuple):
    """The sums of codes that a search follows, best first: totals (N, B, D), and their indices (N, B, I)."""

    totals: Tensor
    paths: Tensor


def start_of(rows: Tensor) -> Beams:
    """One empty sum for each row (N, D)."""
    paths = torch.empty(rows.shape[0], 1, 0, dtype=torch.int64, device=rows.device)
    return Beams(torch.zeros_like(rows)[:, None], paths)


@torch.no_grad()
def extended(beams: Beams, stage: Quantizer, rows: Tensor, valid: Tensor, width: int) -> Beams:
    """Every sum with the ``width`` codes of ``stage`` nearest to what it leaves of its row; of all these, the best
    ``width``.
    """
    step = max(1, VALUES_PER_BLOCK // (width * rows.shape[1]))
    parts = [
        _extended(Beams(beams.totals[block], beams.paths[block]), stage, rows[block], valid[block], width)
        for block in blocks(rows.shape[0], step)
    ]
    return Beams(torch.cat([part.totals for part in parts]), torch.cat([part.paths for part in parts]))


def _extended(beams: Beams, stage: Quantizer, rows: Tensor, valid: Tensor, width: int) -> Beams:
    N, B, _ = beams.totals.shape
    residual = (rows[:, None] - beams.totals).flatten(0, 1)
    context = context_of(stage, beams.totals.flatten(0, 1))
    error, indices = stage.proposals(residual, valid.repeat_interleave(B), width, **context)
    T = error.shape[1]
    # Ties go to the better beam and the lower index.
    _, order_NB = least(error.reshape(N, B * T), min(width, B * T))
    totals, paths = _picked(beams.totals, order_NB // T), _picked(beams.paths, order_NB // T)
    chosen = _picked(indices.reshape(N, B * T, indices.shape[-1]), order_NB)
    codes = stage.decode_rows(chosen.flatten(0, 1), **context_of(stage, totals.flatten(0, 1))).float()
    return Beams(totals + codes.reshape(totals.shape), torch.cat([paths, chosen], -1))


def _picked(values_NCX: Tensor, order_NB: Tensor) -> Tensor:
    return values_NCX.gather(1, order_NB[..., None].expand(-1, -1, values_NCX.shape[-1]))


@torch.no_grad()
def beam_search(
    stages: Sequence[Quantizer], rows: Tensor, valid: Tensor, width: int, kept: Tensor | None = None
) -> Tensor:
    """Indices (N, ΣI) of the best sum of codes found for rows (N, D), by its distance to the row.

    After each stage the ``width`` sums nearest to the row go on (Babenko and Lempitsky 2014, "Additive quantization").
    ``kept``: (N,) how many stages a row has; it then gets the best sum of that many, and its columns beyond hold
    indices that nobody should use.
    """
    columns = sum(len(stage.index_sizes) for stage in stages)
    best_NI = torch.zeros(rows.shape[0], columns, dtype=torch.int64, device=rows.device)
    beams = start_of(rows)
    for number, stage in enumerate(stages):
        beams = extended(beams, stage, rows, valid, width)
        done = torch.ones_like(valid) if kept is None else kept == number + 1
        column = beams.paths.shape[-1]
        best_NI[:, :column] = torch.where(done[:, None], beams.paths[:, 0], best_NI[:, :column])
    return best_NI
