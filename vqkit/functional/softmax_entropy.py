"""Entropies of softmax assignments: of each row, and of all rows together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit.distributed import summed_with_gradient
from vqkit.functional.logits import code_logits, recomputed, row_blocks
from vqkit.functional.nearest import METRICS
from vqkit.functional.relaxed import Scores
from vqkit.shapes import check_choice, check_float, check_number, check_shape, check_tensor


class Entropies(NamedTuple):
    """per_row: mean over rows of H(p_n). overall: H(mean over rows of p_n). In nats, () float32."""

    per_row: Tensor
    overall: Tensor


def softmax_entropies(
    scores: Scores,
    rows: Sequence[Tensor],
    shared: Sequence[Tensor],
    valid_N: Tensor,
    size: int,
    *,
    over_ranks: bool = False,
) -> Entropies:
    """Entropies of p_n = softmax(scores of row n) over ``size`` codes, rows ``valid`` (N,) alone; zero without rows.

    Args:
        scores, rows, shared: as ``mixtures`` takes them; in blocks, and again in backward, never N×K at once.
        over_ranks: ``overall`` is that of the rows of all ranks, every one of which must call this.
    """
    weight_N = valid_N.float()

    def block(weight_N: Tensor, *inputs: Tensor) -> Tensor:
        log_p_NK = scores(*inputs).log_softmax(1)
        p_NK = log_p_NK.exp()
        log_p_NK = torch.where(p_NK > 0, log_p_NK, 0)  # 0·ln 0 is 0, even where ln 0 is −inf
        # One vector carries both: the mass of every code, and the sum of the rows' entropies.
        return torch.cat([weight_N @ p_NK, -(weight_N @ (p_NK * log_p_NK).sum(1))[None]])

    total = torch.zeros(size + 1, dtype=torch.float32, device=weight_N.device)
    # No rows still make a graph, so that every rank takes part in the backward of what ranks share.
    for part in list(row_blocks(rows[0].shape[0], size)) or [slice(0, 0)]:
        total = total + recomputed(block, weight_N[part], *(r[part] for r in rows), *shared)
    count = weight_N.sum()
    mass_K1 = torch.cat([total[:-1], count[None]])
    mass_K1 = summed_with_gradient([mass_K1])[0] if over_ranks else mass_K1
    share_K = mass_K1[:-1] / mass_K1[-1].detach().clamp(min=1)
    # x·log x has an infinite slope at zero: codes without mass contribute nothing, and no NaN.
    held = share_K > 0
    overall = -torch.where(held, share_K * torch.where(held, share_K, 1).log(), 0).sum()
    return Entropies(total[-1] / count.clamp(min=1), overall)


def code_entropies(
    x: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float = 1.0,
    metric: str = "euclidean",
    over_ranks: bool = False,
) -> Entropies:
    """Entropies of p = softmax(−|x − e|²/τ): small per row where choices are sure, large overall where all codes serve
    (Jansen et al. 2019, arXiv:1911.05894).

    Args:
        x: rows (N, D). codebook: codes (K, D). valid: (N,) bool or None. temperature: τ.
        metric: ``"cosine"`` uses cos(x, e)/τ, ``"dot"`` x·e/τ. over_ranks: ``overall`` is that of the rows of all
            ranks, every one of which must call this.

    Example:
        >>> import torch
        >>> found = code_entropies(torch.tensor([[0.0], [1.0]]), torch.tensor([[0.0], [1.0]]), temperature=0.01)
        >>> round(found.per_row.item(), 4), round(found.overall.item(), 4)  # 0, ln 2
        (0.0, 0.6931)
    """
    check_shape("codebook", check_float("codebook", codebook), ("K", "D"))
    check_shape("x", check_float("x", x), ("N", codebook.shape[1]))
    check_number("temperature", temperature, 0, open_low=True)
    check_choice("metric", metric, METRICS)
    if valid is None:
        valid = torch.ones(x.shape[0], dtype=torch.bool, device=x.device)
    check_shape("valid", check_tensor("valid", valid), x.shape[:1])

    def scores(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
        return code_logits(x_ND, codes_KD, metric) / temperature

    return softmax_entropies(scores, [x], [codebook], valid, codebook.shape[0], over_ranks=over_ranks)
