"""Scores of all codes for a block of rows at a time, and the way back from the scores' gradient.

Every score of the package is s = a·(u·v + b): a number a for the row, u the row less a centre, v and b of the code. The
products are float64: a softmax sees differences of scores, which a float32 product loses as soon as they are small
beside |u||v|. One product makes everything, [a·u, a, −shift]·[v, b, 1], the shift being what the row's scores are taken
relative to. The way back is float32, on centred rows and codes: what it rounds is relative to the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.functional.logits import row_blocks, rows_per_block
from vqkit.functional.pair_noise import PairNoise
from vqkit.kernels.reference.unit import unit

LEAST = -46.0
"""The least logarithm: e^−46 = 1e-20 is nothing beside one, and what is less would be subnormal, which costs dearly."""


PARTS = "Tensor rows, Tensor table, Tensor bias, Tensor centre, Tensor? scale, bool unit"
"""``Affinity`` as the last arguments of an op's schema."""


class Affinity(NamedTuple):
    """Scores (N, K) as the parts that make them: log-probabilities up to a constant a row.

    rows: (N, D) of any floating dtype. table: v (K, D), bias: b (K,), centre: (D,), all float64. scale: a (N,), or None
    for ones. unit: rows are taken at unit length before the centre is subtracted.
    """

    rows: Tensor
    table: Tensor
    bias: Tensor
    centre: Tensor
    scale: Tensor | None
    unit: bool


def affinity(
    x_ND: Tensor, codes_KD: Tensor, metric: str, temperature: float = 1.0, scale_N: Tensor | None = None
) -> Affinity:
    """−|x − e|²/τ, or cos(x, e)/τ, or x·e/τ, times a number a row if ``scale`` is given; differentiable."""
    codes_KD = codes_KD.double()
    codes_KD = unit(codes_KD) if metric == "cosine" else codes_KD
    centre_D = codes_KD.detach().mean(0)
    table_KD = codes_KD - centre_D
    if metric == "dot":  # about another origin the rows' products with the codes would differ by more than a constant
        return linear_affinity(x_ND, table_KD / temperature, None, scale_N)
    if metric == "euclidean":  # −|x − e|² = 2·((x − c)·(e − c) − |e − c|²/2) − |x − c|²
        bias_K, table_KD = -table_KD.square().sum(1), 2 * table_KD
    else:  # x·e = (x − c)·(e − c) + c·(e − c) + x·c
        bias_K = (table_KD * centre_D).sum(1)
    return Affinity(x_ND, table_KD / temperature, bias_K / temperature, centre_D, scale_N, metric == "cosine")


def linear_affinity(
    x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor | None = None, scale_N: Tensor | None = None
) -> Affinity:
    """x·w + b; differentiable."""
    table_KD = weight_KD.double()
    bias_K = torch.zeros_like(table_KD[:, 0]) if bias_K is None else bias_K.double()
    return Affinity(x_ND, table_KD, bias_K, torch.zeros_like(table_KD[0]), scale_N, False)


def every_score(scores: Affinity) -> Tensor:
    """The scores (N, K) float64 as one tensor, in plain operations: for export, which knows no blocks."""
    u_ND = scores.rows.double()
    u_ND = (unit(u_ND) if scores.unit else u_ND) - scores.centre
    score_NK = u_ND @ scores.table.t() + scores.bias
    return score_NK if scores.scale is None else score_NK * scores.scale[:, None]


def exponentials_(log_NK: Tensor, out_NK: Tensor | None = None) -> Tensor:
    """exp, in place or in the first rows of ``out``; zero up to e^``LEAST``, where also the logarithms are clamped."""
    log_NK.clamp_(min=LEAST)
    out_NK = log_NK.exp_() if out_NK is None else torch.exp(log_NK, out=out_NK[: log_NK.shape[0]])
    return torch.threshold_(out_NK, math.exp(LEAST + 1), 0.0)


class ScoreBlocks:
    """One block of scores after another, in buffers that all blocks share."""

    def __init__(self, parts: Affinity):
        self.parts = parts
        K, D = parts.table.shape
        self.rows, self.size = parts.rows.shape[0], K
        # As columns: of a wide table a block's product reads each once.
        ones_K = torch.ones_like(parts.bias)
        self.codes_CK = torch.cat([parts.table.t(), parts.bias[None], ones_K[None]]).contiguous()
        most = min(self.rows, rows_per_block(max(K, D), parts.rows))
        self.u_ND, self.left_NC = parts.table.new_empty(most, D), parts.table.new_empty(most, D + 2)
        self.exact_NK = parts.table.new_empty(most, K)

    def slices(self) -> Iterator[slice]:
        """Which rows make a block."""
        return row_blocks(self.rows, max(self.parts.table.shape), self.parts.rows)

    def buffer(self) -> Tensor:
        """One more block, float32."""
        return torch.empty_like(self.exact_NK, dtype=torch.float32)

    def level(self) -> Tensor:
        """A zero for every row, (N,) float64."""
        return self.exact_NK.new_zeros(self.rows)

    def noise(self, key: Tensor, positions_N: Tensor | None = None) -> PairNoise:
        """For these rows: by a ``noise_key``, or by a seed () and their positions (N,) int64."""
        if positions_N is None:
            key, first = key.unbind()
            positions_N = first + torch.arange(self.rows, device=key.device)
        return PairNoise(key, positions_N, self.size, self.exact_NK.shape[0])

    def scores(self, part: slice, shift_n: Tensor | None = None) -> Tensor:
        """The scores of a block less the rows' shifts (n,): (n, K) float64, until the next block is asked for."""
        n, D = part.stop - part.start, self.u_ND.shape[1]
        u_ND, left_NC = self.u_ND[:n], self.left_NC[:n]
        u_ND.copy_(self.parts.rows[part])
        if self.parts.unit:
            u_ND.copy_(unit(u_ND))
        u_ND.sub_(self.parts.centre)
        left_NC[:, :D] = u_ND
        left_NC[:, D] = 1
        if self.parts.scale is not None:
            left_NC[:, : D + 1].mul_(self.parts.scale[part, None])
        left_NC[:, D + 1] = 0 if shift_n is None else -shift_n
        return torch.mm(left_NC, self.codes_CK, out=self.exact_NK[:n])

    def relative(self, part: slice, out_NK: Tensor) -> tuple[Tensor, Tensor]:
        """The scores of a block less the largest of each row, (n, K) float32 in ``out``, and these largest, (n,)."""
        exact_NK = self.scores(part)
        most_N = exact_NK.amax(1)
        return out_NK[: exact_NK.shape[0]].copy_(exact_NK.sub_(most_N[:, None])), most_N


class ScoreGradients:
    """Gradients of rows, codes (table and bias) and scales, gathered from those of the scores, block by block.

    ``needs``: which of the three are wanted.
    """

    def __init__(self, blocks: ScoreBlocks, needs: Sequence[bool]):
        self.blocks = blocks
        self.rows_ND, table_KD, bias_K, self.scale_N = no_gradients(blocks.parts, needs)
        D = blocks.parts.table.shape[1]
        self.needs = needs
        self.sum_KC = torch.zeros(len(bias_K), table_KD.shape[1] + 1, dtype=torch.float32, device=table_KD.device)
        # A bias beyond float32 belongs to a code that no row takes.
        limit = torch.finfo(torch.float32).max
        self.codes_KC = blocks.codes_CK[: D + 1].t().clamp(-limit, limit).float().contiguous()
        self.left_NC = torch.empty_like(blocks.left_NC[:, : D + 1], dtype=torch.float32)

    def add_(self, part: slice, slope_NK: Tensor, weight_N: Tensor) -> None:
        """Of the block whose scores were made last; their gradient is weight·slope (n, K) float32."""
        parts, n = self.blocks.parts, slope_NK.shape[0]
        D = parts.table.shape[1]
        of_rows, of_codes, of_scales = self.needs
        if of_codes:
            left_NC = self.left_NC[:n].copy_(self.blocks.left_NC[:n, : D + 1]).mul_(weight_N[:, None])
            torch.addmm(self.sum_KC, slope_NK.t(), left_NC, out=self.sum_KC)
        if not (of_rows or of_scales):
            return
        back_NC = torch.mm(slope_NK, self.codes_KC).double() * weight_N[:, None]
        u_ND, back_ND = self.blocks.u_ND[:n], back_NC[:, :D]
        if of_scales:
            self.scale_N[part] = ((back_ND * u_ND).sum(1) + back_NC[:, D]).to(self.scale_N.dtype)
        if of_rows:
            back_ND = back_ND if parts.scale is None else back_ND * parts.scale[part, None]
            if parts.unit:
                back_ND = _through_unit(parts.rows[part].double(), u_ND + parts.centre, back_ND)
            self.rows_ND[part] = back_ND.to(self.rows_ND.dtype)

    def found(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Of rows, table, bias, scale; without entries where not wanted."""
        return self.rows_ND, self.sum_KC[:, :-1].double(), self.sum_KC[:, -1].double(), self.scale_N


def no_gradients(parts: Affinity, needs: Sequence[bool]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Zeros of the shapes and dtypes that ``ScoreGradients.found`` has."""
    of_rows, of_codes, of_scales = needs
    scale = parts.table.new_empty(0) if parts.scale is None else parts.scale
    return (
        parts.rows.new_zeros(parts.rows.shape if of_rows else (0, 0)),
        parts.table.new_zeros(parts.table.shape if of_codes else (0, 0)),
        parts.bias.new_zeros(parts.bias.shape if of_codes else (0,)),
        scale.new_zeros(scale.shape if of_scales else (0,)),
    )


def wanted(found: Sequence[Tensor], needs: Sequence[bool]) -> tuple[Tensor | None, ...]:
    """``found`` as gradients of the fields of ``Affinity``, None where not wanted."""
    of_rows, of_codes, of_scales = needs
    rows, table, bias, scale = found
    codes = (table, bias) if of_codes else (None, None)
    return rows if of_rows else None, *codes, None, scale if of_scales else None, None


def needed(ctx: Any) -> list[bool]:
    """Whether rows, codes and scales want gradients, of an op whose last arguments are the fields of ``Affinity``."""
    rows, table, bias, _, scale, _ = ctx.needs_input_grad[-6:]
    return [rows, table or bias, scale]


def _through_unit(x_ND: Tensor, unit_ND: Tensor, slope_ND: Tensor) -> Tensor:
    """The gradient of x from that of x/|x|: (g − x̂(x̂·g))/|x|; zero for a zero row."""
    length_N1 = (x_ND * unit_ND).sum(1, keepdim=True)
    across_ND = slope_ND - unit_ND * (unit_ND * slope_ND).sum(1, keepdim=True)
    return torch.where(length_N1 > 0, across_ND / torch.where(length_N1 > 0, length_N1, 1), 0)
