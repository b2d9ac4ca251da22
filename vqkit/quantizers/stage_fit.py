"""Codes of residual stages from a sample of rows, stage after stage."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.beam import Beams, extended, start_of
from vqkit.quantizers.stage_codes import nearest_added


@torch.no_grad()
def fit_stages_(
    stages: Sequence[Quantizer], rows: Tensor, *, shared: bool, width: int, method: str, iters: int
) -> None:
    """Place the codes of each stage from what the stages before leave of rows (N, D).

    What the ``width`` best sums leave, not the best alone, so that a beam search finds codes for what it follows. A
    shared table: from the rows, then from what it leaves of them at every stage.
    """
    valid = torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
    beams, entering, generator = start_of(rows), [], torch.Generator().manual_seed(0)

    def fit_(stage: Quantizer, left: Tensor) -> None:
        drawn = torch.randperm(len(left), generator=generator)[: len(rows)].to(rows.device)
        stage.fit_rows_(left[drawn], method=method, iters=iters)

    for number, stage in enumerate(stages):
        left = (rows[:, None] - beams.totals).flatten(0, 1)
        if shared:
            entering.append(left)
        if number == 0 or not shared:
            fit_(stage, left)
        if number + 1 < len(stages):
            beams = _grown(beams, stage, rows, valid, width)
    if shared:
        fit_(stages[0], torch.cat(entering))


def _grown(beams: Beams, stage: Quantizer, rows: Tensor, valid: Tensor, width: int) -> Beams:
    """One stage more: a beam where it is to be searched, the stage's own choice where not."""
    if width > 1:
        return extended(beams, stage, rows, valid, width)
    indices, total = nearest_added(stage, rows, valid, beams.totals[:, 0])
    return Beams(total[:, None], indices[:, None])
