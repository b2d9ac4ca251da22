"""Entropies of softmax assignments: of each row, and of all rows together."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.distributed import summed_with_gradient
from vqkit.functional.affinity import Affinity, ScoreBlocks, ScoreGradients, affinity, exponentials_
from vqkit.functional.nearest import METRICS
from vqkit.shapes import check_choice, check_float, check_number, check_shape, check_tensor


class Entropies(NamedTuple):
    """per_row: mean over rows of H(p_n). overall: H(mean over rows of p_n). In nats, () float32."""

    per_row: Tensor
    overall: Tensor


class _Masses(torch.autograd.Function):
    """Σ w_n p_n over rows, (K,) float64, and Σ w_n H(p_n), () float64 (zero unless asked for), p = softmax(s).

    Backward. With g the gradient of the masses and h that of the entropies' sum, L = Σ_n w_n (g·p_n + h·H(p_n)), and
    ∂H/∂p_k = −ln p_k − 1. So with t_nk = g_k − h·(ln p_nk + H_n) the softmax's Jacobian gives
    ∂L/∂s_nk = w_n p_nk (t_nk − Σ_j p_nj t_nj): what t has in common in all codes of a row moves nothing. H_n is put in
    so that t is small where choices are nearly even; scores less ln Z − H_n give it, and p as their exponential times
    exp(−H_n).
    """

    @staticmethod
    def forward(ctx: Any, weight_N: Tensor, with_rows: bool, *parts: Any) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(weight_N.device.type, enabled=False):
            blocks = ScoreBlocks(Affinity(*parts))
            score_NK, p_NK = blocks.buffer(), blocks.buffer()
            mass_K = torch.zeros(blocks.size, dtype=torch.float64, device=weight_N.device)
            level_N, entropy_N = mass_K.new_zeros(blocks.rows), mass_K.new_zeros(blocks.rows)
            for part in blocks.slices():
                score_nK, most_n = blocks.relative(part, score_NK)
                p_nK = exponentials_(score_nK, p_NK)
                total_n = p_nK.sum(1)
                mass_K += torch.mv(p_nK.t(), weight_N[part] / total_n)
                level_N[part] = most_n + total_n.double().log()
                if with_rows:  # H = ln Z − Σ p·(s − max)
                    entropy_N[part] = total_n.double().log() - (score_nK.mul_(p_nK).sum(1) / total_n)
        ctx.unit = blocks.parts.unit
        ctx.with_rows = with_rows
        ctx.save_for_backward(weight_N, level_N, entropy_N, mass_K, *blocks.parts.tensors)
        return mass_K.clone(), (entropy_N * weight_N).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, mass_slope_K: Tensor, rows_slope: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        weight_N, level_N, entropy_N, mass_K, rows_ND, table_KD, bias_K, centre_D, scale_N = ctx.saved_tensors
        _, _, rows, table, bias, _, scale, _ = ctx.needs_input_grad
        with torch.autocast(weight_N.device.type, enabled=False):
            blocks = ScoreBlocks(Affinity(rows_ND, table_KD, bias_K, centre_D, scale_N, ctx.unit))
            found = ScoreGradients(blocks, rows, scale, table or bias)
            common = (mass_slope_K * mass_K).sum() / mass_K.sum().clamp(min=torch.finfo(torch.float64).tiny)
            slope_K = (mass_slope_K - common).float()
            shift_N, share_N = level_N - entropy_N, torch.exp(-entropy_N).float()
            log_NK, p_NK = blocks.buffer(), blocks.buffer()
            for part in blocks.slices():
                exact_nK, share_n1 = blocks.scores(part, shift_N), share_N[part, None]
                log_nK = log_NK[: exact_nK.shape[0]].copy_(exact_nK)
                p_nK = exponentials_(log_nK, p_NK)
                if ctx.with_rows:
                    slope_nK = log_nK.mul_(-rows_slope).add_(slope_K).mul_(p_nK)
                else:
                    slope_nK = torch.mul(p_nK, slope_K, out=log_nK)
                slope_nK.addcmul_(p_nK, slope_nK.sum(1, keepdim=True) * share_n1, value=-1)
                found.add_(part, slope_nK, weight_N[part] * share_N[part])
        return None, None, *found.of_parts()


def softmax_entropies(
    scores: Affinity, valid_N: Tensor, *, over_ranks: bool = False, with_rows: bool = True
) -> Entropies:
    """Entropies of p_n = softmax(scores of row n), rows ``valid`` (N,) alone; zero without rows.

    Args:
        scores: in blocks, and again in backward, never N×K at once.
        over_ranks: ``overall`` is that of the rows of all ranks, every one of which must call this.
        with_rows: False leaves ``per_row`` zero.
    """
    weight_N = valid_N.float()
    mass_K, entropies = _Masses.apply(weight_N, with_rows, *scores)  # pyright: ignore[reportGeneralTypeIssues]
    count = weight_N.sum(dtype=torch.float64)
    mass_K1 = torch.cat([mass_K, count[None]])
    mass_K1 = summed_with_gradient([mass_K1])[0] if over_ranks else mass_K1
    share_K = mass_K1[:-1] / mass_K1[-1].detach().clamp(min=1)
    # x·log x has an infinite slope at zero: codes without mass contribute nothing, and no NaN.
    held = share_K > 0
    overall = -torch.where(held, share_K * torch.where(held, share_K, 1).log(), 0).sum()
    return Entropies((entropies / count.clamp(min=1)).float(), overall.float())


def code_entropies(
    x: Tensor,
    codebook: Tensor,
    valid: Tensor | None = None,
    *,
    temperature: float = 1.0,
    metric: str = "euclidean",
    over_ranks: bool = False,
    with_rows: bool = True,
) -> Entropies:
    """Entropies of p = softmax(−|x − e|²/τ): small per row where choices are sure, large overall where all codes serve
    (Jansen et al. 2019, arXiv:1911.05894).

    Args:
        x: rows (N, D). codebook: codes (K, D). valid: (N,) bool or None. temperature: τ.
        metric: ``"cosine"`` uses cos(x, e)/τ, ``"dot"`` x·e/τ. over_ranks: ``overall`` is that of the rows of all
            ranks, every one of which must call this. with_rows: False leaves ``per_row`` zero, and is faster.

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

    scores = affinity(x, codebook, metric, temperature)
    return softmax_entropies(scores, valid, over_ranks=over_ranks, with_rows=with_rows)
