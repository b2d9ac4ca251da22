"""Scores of every code for a block of rows, and which rows make a block."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from vqkit.kernels.reference.unit import unit

SCORES_PER_BLOCK = 2**17
"""A megabyte of float64, and two of float32 halves: what a core's cache holds."""
SCORES_PER_LAUNCH = 2**24


def code_logits(x_ND: Tensor, codes_KD: Tensor, metric: str) -> Tensor:
    """(N, K) float32: −|x − e|², the log-density of unit Gaussians at the codes up to scale; or cos(x, e), or x·e.

    Less the best of each row, which no softmax sees: the best code scores zero however far away the row lies.
    """
    with torch.autocast(x_ND.device.type, enabled=False):
        # In float64, where the expanded square cancels nothing that a float32 distance would show.
        x_ND, codes_KD = x_ND.double(), codes_KD.double()
        if metric == "cosine":
            x_ND, codes_KD = unit(x_ND), unit(codes_KD)
        scores_NK = x_ND @ codes_KD.t()
        if metric == "euclidean":
            scores_NK = 2 * scores_NK - codes_KD.square().sum(1)
        return (scores_NK - scores_NK.detach().amax(1, keepdim=True)).float()


def rows_per_block(codes: int, like: Tensor | None = None) -> int:
    """So many that their scores against all codes stay in cache; on a GPU (where ``like`` is) so many as fill it."""
    scores = SCORES_PER_BLOCK if like is None or like.device.type == "cpu" else SCORES_PER_LAUNCH
    return max(32, scores // codes)


def row_blocks(rows: int, codes: int, like: Tensor | None = None) -> Iterator[slice]:
    """Slices of rows, each a block."""
    if torch.compiler.is_compiling():  # the number of rows is open
        yield slice(0, rows)
        return
    step = rows_per_block(codes, like)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
