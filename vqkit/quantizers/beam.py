"""Beam search over stages: the sums of codes nearest to each row, instead of the nearest code stage by stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.quantizers.base import Quantizer

VALUES_PER_BLOCK = 2**22


@torch.no_grad()
def beam_search(
    stages: Sequence[Quantizer], rows: Tensor, valid: Tensor, beam: int, kept: Tensor | None = None
) -> Tensor:
    """Indices (N, ΣI) of the best sum of codes found for rows (N, D), by its distance to the row.

    After each stage the ``beam`` sums nearest to the row go on (Babenko and Lempitsky 2014, "Additive quantization";
    Liu et al. 2015). ``kept``: (N,) how many stages a row has; it then gets the best sum of that many. Columns beyond
    hold indices that nobody should use.
    """
    step = max(1, VALUES_PER_BLOCK // (beam * beam * rows.shape[1]))
    blocks = [
        _search(stages, rows[start : start + step], valid[start : start + step], beam, _part(kept, start, step))
        for start in range(0, rows.shape[0], step)
    ]
    width = sum(len(stage.index_sizes) for stage in stages)
    return torch.cat(blocks) if blocks else torch.empty(0, width, dtype=torch.int64, device=rows.device)


def _part(kept: Tensor | None, start: int, step: int) -> Tensor | None:
    return None if kept is None else kept[start : start + step]


def _search(stages: Sequence[Quantizer], rows: Tensor, valid: Tensor, beam: int, kept: Tensor | None) -> Tensor:
    N, D = rows.shape
    totals_NBD = rows.new_zeros(N, 1, D)
    paths_NBI = torch.empty(N, 1, 0, dtype=torch.int64, device=rows.device)
    best_NI = torch.zeros(N, sum(len(s.index_sizes) for s in stages), dtype=torch.int64, device=rows.device)
    for number, stage in enumerate(stages):
        B = totals_NBD.shape[1]
        residual = (rows[:, None] - totals_NBD).flatten(0, 1)
        context = {"context": totals_NBD.flatten(0, 1)} if stage.conditioned else {}
        codes, indices = stage.proposals(residual, valid.repeat_interleave(B), beam, **context)
        T = codes.shape[1]
        error_NC = (residual[:, None] - codes).square().sum(-1).reshape(N, B * T)
        # A stable sort, so that ties go to the better beam and the lower index.
        order_NB = error_NC.sort(dim=1, stable=True).indices[:, : min(beam, B * T)]
        sums = totals_NBD[:, :, None] + codes.reshape(N, B, T, D)
        totals_NBD = _picked(sums.flatten(1, 2), order_NB)
        grown = torch.cat([paths_NBI[:, :, None].expand(-1, -1, T, -1), indices.reshape(N, B, T, -1)], -1)
        paths_NBI = _picked(grown.flatten(1, 2), order_NB)
        done = torch.ones(N, dtype=torch.bool, device=rows.device) if kept is None else kept == number + 1
        width = paths_NBI.shape[-1]
        best_NI[:, :width] = torch.where(done[:, None], paths_NBI[:, 0], best_NI[:, :width])
    return best_NI


def _picked(values_NCX: Tensor, order_NB: Tensor) -> Tensor:
    return values_NCX.gather(1, order_NB[..., None].expand(-1, -1, values_NCX.shape[-1]))
