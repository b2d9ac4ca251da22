"""A row for every code: the search turned round."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.functional.affinity import PARTS, Affinity, ScoreBlocks, affinity
from vqkit.functional.nearest import search


def closest_rows(codes_KD: Tensor, x_ND: Tensor, valid_N: Tensor) -> tuple[Tensor, Tensor]:
    """Of the rows that count the closest to each code, (K, D) in the codes' dtype, and −|x − e|² (K,) float64; without
    a row, or for a code that is not finite, the code itself at −inf.

    >>> import torch
    >>> rows, scores = closest_rows(torch.tensor([[0.0]]), torch.tensor([[0.5], [2.0]]), torch.tensor([False, True]))
    >>> rows.tolist(), scores.tolist()
    ([[2.0]], [-4.0])
    """
    if x_ND.shape[0] == 0:
        return codes_KD.clone(), torch.full_like(codes_KD[:, 0], -torch.inf, dtype=torch.float64)
    # Rows that do not count become copies of one that does: they win only where it does.
    stand_in_D = torch.where(valid_N.any(), x_ND.index_select(0, valid_N.long().argmax()[None])[0], 0)
    counted_ND = torch.where(valid_N[:, None], x_ND, stand_in_D)
    indices, distances = search(codes_KD[None], counted_ND[None], "euclidean")
    index_K = indices[0, :, 0]
    found_K = (index_K >= 0) & valid_N.any()
    rows_KD = counted_ND[index_K.clamp(min=0)].to(codes_KD.dtype)
    return torch.where(found_K[:, None], rows_KD, codes_KD), torch.where(found_K, -distances[0, :, 0], -torch.inf)


def drawn_rows(
    codes_KD: Tensor, x_ND: Tensor, valid_N: Tensor, positions_N: Tensor, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """For each code a row that counts with probability ∝ exp(−|x − e|²), (K, D) in the codes' dtype, and the score
    (K,) float64 that it won by, −|x − e|² and its luck; without a row the code itself at −inf.

    Luck is a function of the seed () int64 and the row's position (N,) int64, so the best of several batches' winners
    is that of all their rows together. In blocks, never N×K at once.

    >>> import torch
    >>> x, every, numbers = torch.tensor([[0.5], [99.0]]), torch.tensor([True, True]), torch.arange(2)
    >>> drawn_rows(torch.tensor([[0.0]]), x, every, numbers, torch.tensor(0))[0]
    tensor([[0.5000]])
    """
    if x_ND.shape[0] == 0:
        return codes_KD.clone(), torch.full_like(codes_KD[:, 0], -torch.inf, dtype=torch.float64)
    x_ND = torch.where(valid_N[:, None], x_ND, 0)
    index_K, best_K = _drawn(seed, positions_N, valid_N, *affinity(x_ND, codes_KD, "euclidean"))
    rows_KD = x_ND[index_K].to(codes_KD.dtype)
    return torch.where((best_K > -torch.inf)[:, None], rows_KD, codes_KD), best_K


@torch.library.custom_op(
    "vqkit::drawn_rows",
    mutates_args=(),
    schema=f"(Tensor seed, Tensor positions, Tensor valid, {PARTS}) -> (Tensor, Tensor)",
)
def _drawn(seed: Tensor, positions_N: Tensor, valid_N: Tensor, *parts: Any) -> tuple[Tensor, Tensor]:
    """Of each code the number of the row of most score and luck, and their sum: (K,) int64 and float64."""
    with torch.autocast(seed.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        noise = blocks.noise(seed, positions_N)
        best_K = torch.full_like(blocks.parts.bias, -torch.inf)
        index_K = torch.zeros_like(best_K, dtype=torch.int64)
        for part in blocks.slices():
            # What affinities leave out, a number a row, tells rows apart.
            length_n = (blocks.parts.rows[part] - blocks.parts.centre).square().sum(1)
            shift_n = torch.where(valid_N[part], length_n, torch.inf)
            top = noise.add_to_(blocks.scores(part, shift_n), part).max(0)
            better_K = top.values > best_K
            index_K = torch.where(better_K, top.indices + part.start, index_K)
            best_K = torch.where(better_K, top.values, best_K)
    return index_K, best_K


@_drawn.register_fake
def _(seed: Tensor, positions_N: Tensor, valid_N: Tensor, rows_ND: Tensor, table_KD: Tensor, *_: Any) -> Any:  # noqa: ARG001
    best_K = table_KD.new_empty(table_KD.shape[0])
    return torch.empty_like(best_K, dtype=torch.int64), best_K
