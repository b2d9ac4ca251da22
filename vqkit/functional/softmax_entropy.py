"""Entropies of softmax assignments: of each row, and of all rows together."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from vqkit.distributed import summed_with_gradient
from vqkit.functional.affinity import (
    PARTS,
    Affinity,
    ScoreBlocks,
    ScoreGradients,
    affinity,
    every_score,
    exponentials_,
    needed,
    no_gradients,
    wanted,
)
from vqkit.functional.nearest import METRICS
from vqkit.kernels.tracing import exporting
from vqkit.shapes import check_choice, check_float, check_number, check_shape, check_tensor


class Entropies(NamedTuple):
    """per_row: mean over rows of H(p_n). overall: H(mean over rows of p_n). In nats, () float32."""

    per_row: Tensor
    overall: Tensor


@torch.library.custom_op(
    "vqkit::softmax_masses",
    mutates_args=(),
    schema=f"(Tensor weight, bool with_rows, {PARTS}) -> (Tensor, Tensor, Tensor)",
)
def _masses(weight_N: Tensor, with_rows: bool, *parts: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Σ w_n p_n (K,), and of every row H(p_n) (zero unless asked for) and ln Z_n, (N,): float64; p = softmax(s)."""
    with torch.autocast(weight_N.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        score_NK, p_NK = blocks.buffer(), blocks.buffer()
        mass_K = torch.zeros_like(blocks.parts.bias)
        level_N, entropy_N = blocks.level(), blocks.level()
        for part in blocks.slices():
            score_nK, most_n = blocks.relative(part, score_NK)
            p_nK = exponentials_(score_nK, p_NK)
            total_n = p_nK.sum(1)
            mass_K += torch.mv(p_nK.t(), weight_N[part] / total_n)
            level_N[part] = most_n + total_n.double().log()
            if with_rows:  # H = ln Z − Σ p·(s − max)
                entropy_N[part] = total_n.double().log() - score_nK.mul_(p_nK).sum(1) / total_n
    return mass_K, entropy_N, level_N


@torch.library.custom_op(
    "vqkit::softmax_masses_backward",
    mutates_args=(),
    schema="(Tensor mass_slope, Tensor rows_slope, Tensor mass, Tensor entropy, Tensor level, bool[] needs, "
    f"Tensor weight, bool with_rows, {PARTS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _masses_backward(
    mass_slope_K: Tensor,
    rows_slope_N: Tensor,
    mass_K: Tensor,
    entropy_N: Tensor,
    level_N: Tensor,
    needs: list[bool],
    weight_N: Tensor,
    with_rows: bool,
    *parts: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """With g the gradient of the masses and h_n that of H(p_n), L = Σ_n (w_n g·p_n + h_n·H(p_n)), and
    ∂H/∂p_k = −ln p_k − 1. So with t_nk = w_n g_k − h_n (ln p_nk + H_n) the softmax's Jacobian gives
    ∂L/∂s_nk = p_nk (t_nk − Σ_j p_nj t_nj): what t has in common in all codes of a row moves nothing. H_n is put in so
    that t is small where choices are nearly even; scores less ln Z − H_n give it, and p as their exponential times
    exp(−H_n).
    """
    with torch.autocast(weight_N.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        gradients = ScoreGradients(blocks, needs)
        common = (mass_slope_K * mass_K).sum() / mass_K.sum().clamp(min=torch.finfo(torch.float64).tiny)
        slope_K = (mass_slope_K - common).float()
        shift_N, share_N, rows_slope_N = level_N - entropy_N, torch.exp(-entropy_N).float(), rows_slope_N.float()
        log_NK, p_NK = blocks.buffer(), blocks.buffer()
        for part in blocks.slices():
            exact_nK, share_n1 = blocks.scores(part, shift_N[part]), share_N[part, None]
            log_nK = log_NK[: exact_nK.shape[0]].copy_(exact_nK)
            p_nK = exponentials_(log_nK, p_NK)
            if with_rows:
                log_nK.mul_(-rows_slope_N[part, None]).addcmul_(weight_N[part, None], slope_K).mul_(p_nK)
                weight_n = share_N[part]
            else:
                torch.mul(p_nK, slope_K, out=log_nK)
                weight_n = share_N[part] * weight_N[part]
            log_nK.addcmul_(p_nK, log_nK.sum(1, keepdim=True) * share_n1, value=-1)
            gradients.add_(part, log_nK, weight_n)
    return gradients.found()


@_masses.register_fake
def _(weight_N: Tensor, with_rows: bool, rows_ND: Tensor, table_KD: Tensor, bias_K: Tensor, *_: Any) -> Any:  # noqa: ARG001
    N = rows_ND.shape[0]
    return torch.empty_like(bias_K), bias_K.new_empty(N), bias_K.new_empty(N)


@_masses_backward.register_fake
def _(a: Tensor, b: Tensor, c: Tensor, d: Tensor, e: Tensor, needs: list[bool], *given: Any) -> Any:  # noqa: ARG001
    return no_gradients(Affinity(*given[2:]), needs)


def _masses_at_once(weight_N: Tensor, scores: Affinity) -> tuple[Tensor, Tensor]:
    """The masses and entropies of ``_masses`` in plain operations, for export."""
    log_NK = every_score(scores).log_softmax(1)
    p_NK = log_NK.exp()
    return weight_N.double() @ p_NK, -torch.where(p_NK > 0, p_NK * log_NK, 0).sum(1)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    weight_N, ctx.with_rows, *tensors, ctx.unit = inputs
    ctx.mark_non_differentiable(output[2])
    ctx.save_for_backward(*output, weight_N, *tensors)


def _backward(ctx: Any, mass_slope_K: Tensor, rows_slope_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    mass_K, entropy_N, level_N, weight_N, *tensors = ctx.saved_tensors
    needs, slopes = needed(ctx), (mass_slope_K, rows_slope_N)
    found = _masses_backward(*slopes, mass_K, entropy_N, level_N, needs, weight_N, ctx.with_rows, *tensors, ctx.unit)
    return None, None, *wanted(found, needs)


_masses.register_autograd(_backward, setup_context=_remember)


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
    if exporting():
        mass_K, entropy_N = _masses_at_once(weight_N, scores)
        entropy_N = entropy_N if with_rows else torch.zeros_like(entropy_N)
    else:
        mass_K, entropy_N, _ = _masses(weight_N, with_rows, *scores)
    count = weight_N.sum(dtype=torch.float64)
    mass_K1 = torch.cat([mass_K, count[None]])
    mass_K1 = summed_with_gradient([mass_K1])[0] if over_ranks else mass_K1
    share_K = mass_K1[:-1] / mass_K1[-1].detach().clamp(min=1)
    # x·log x has an infinite slope at zero: codes without mass contribute nothing, and no NaN.
    held = share_K > 0
    overall = -torch.where(held, share_K * torch.where(held, share_K, 1).log(), 0).sum()
    return Entropies(((entropy_N * weight_N).sum() / count.clamp(min=1)).float(), overall.float())


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
