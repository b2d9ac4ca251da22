"""Choices relaxed to mixtures: Gumbel-softmax and index backpropagation, without holding a score per row and code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.functional.affinity import (
    PARTS,
    Affinity,
    ScoreBlocks,
    ScoreGradients,
    exponentials_,
    needed,
    no_gradients,
    wanted,
)
from vqkit.functional.lookup import take
from vqkit.functional.pair_noise import PairNoise, noise_key


@torch.library.custom_op(
    "vqkit::softmax_mixtures",
    mutates_args=(),
    schema=f"(Tensor centred, Tensor temperature, Tensor? key, {PARTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _mixtures(
    centred_KD: Tensor, temperature: Tensor, key: Tensor | None, *parts: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """y = softmax((s + g)/τ)·E (N, D) float32 and its largest term (N,); and of every row what backward needs, (N,)
    each: the largest score, then after noise and temperature the largest again, and the sum of exponentials.
    """
    with torch.autocast(centred_KD.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        score_NK, noise = blocks.buffer(), None if key is None else blocks.noise(key)
        soft_ND = centred_KD.new_empty(blocks.rows, centred_KD.shape[1])
        index_N = torch.empty(blocks.rows, dtype=torch.int64, device=soft_ND.device)
        level_N = blocks.level()
        peak_N, total_N = soft_ND.new_empty(blocks.rows), soft_ND.new_empty(blocks.rows)
        for part in blocks.slices():
            score_nK, level_N[part] = blocks.relative(part, score_NK)
            _warm(score_nK, noise, part, temperature)
            peak_N[part], index_N[part] = score_nK.max(1)
            p_nK = exponentials_(score_nK.sub_(peak_N[part, None]))
            total_N[part] = p_nK.sum(1)
            soft_ND[part] = torch.mm(p_nK, centred_KD) / total_N[part, None]
    return soft_ND, index_N, level_N, peak_N, total_N


@torch.library.custom_op(
    "vqkit::softmax_mixtures_backward",
    mutates_args=(),
    schema="(Tensor slope, Tensor soft, Tensor level, Tensor peak, Tensor total, bool[] needs, bool of_codes, "
    f"Tensor centred, Tensor temperature, Tensor? key, {PARTS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
)
def _mixtures_backward(
    slope_ND: Tensor,
    soft_ND: Tensor,
    level_N: Tensor,
    peak_N: Tensor,
    total_N: Tensor,
    needs: list[bool],
    of_codes: bool,
    centred_KD: Tensor,
    temperature: Tensor,
    key: Tensor | None,
    *parts: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """With p the softmax and r the gradient of y: ∂L/∂s_k = p_k (r·e_k − r·y)/τ, and E gets Σ_n p_n rᵀ_n."""
    with torch.autocast(slope_ND.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        gradients = ScoreGradients(blocks, needs)
        p_NK, back_NK, noise = blocks.buffer(), blocks.buffer(), None if key is None else blocks.noise(key)
        sum_KD = centred_KD.new_zeros(centred_KD.shape if of_codes else (0, 0))
        for part in blocks.slices():
            exact_nK, slope_nD = blocks.scores(part, level_N[part]), slope_ND[part]
            p_nK = _warm(p_NK[: exact_nK.shape[0]].copy_(exact_nK), noise, part, temperature)
            exponentials_(p_nK.sub_(peak_N[part, None]))  # times total: the rows' weights divide by it
            if of_codes:
                torch.addmm(sum_KD, p_nK.t(), slope_nD / total_N[part, None], out=sum_KD)
            if any(needs):
                back_nK = torch.mm(slope_nD, centred_KD.t(), out=back_NK[: exact_nK.shape[0]])
                back_nK.sub_((slope_nD * soft_ND[part]).sum(1, keepdim=True)).mul_(p_nK)
                gradients.add_(part, back_nK, 1 / (total_N[part] * temperature))
    return sum_KD, *gradients.found()


@_mixtures.register_fake
def _(centred_KD: Tensor, temperature: Tensor, key: Tensor | None, rows_ND: Tensor, table_KD: Tensor, *_: Any) -> Any:  # noqa: ARG001
    N = rows_ND.shape[0]
    index_N = torch.empty(N, dtype=torch.int64, device=centred_KD.device)
    soft_ND, row_N = centred_KD.new_empty(N, centred_KD.shape[1]), centred_KD.new_empty(N)
    return soft_ND, index_N, table_KD.new_empty(N), row_N, torch.empty_like(row_N)


@_mixtures_backward.register_fake
def _(*given: Any) -> Any:
    needs, of_codes, centred_KD = given[5:8]
    codes = centred_KD.new_empty(centred_KD.shape if of_codes else (0, 0))
    return codes, *no_gradients(Affinity(*given[10:]), needs)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, ctx.unit = inputs
    soft_ND, index_N, *saved = output
    ctx.mark_non_differentiable(index_N, *saved)
    ctx.save_for_backward(soft_ND, *saved, *tensors)


def _backward(ctx: Any, slope_ND: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
    soft_ND, level_N, peak_N, total_N, *tensors = ctx.saved_tensors
    needs, of_codes = needed(ctx), ctx.needs_input_grad[0]
    rows = (soft_ND, level_N, peak_N, total_N)
    codes, *found = _mixtures_backward(slope_ND, *rows, needs, of_codes, *tensors, ctx.unit)
    return codes if of_codes else None, None, None, *wanted(found, needs)


_mixtures.register_autograd(_backward, setup_context=_remember)


def _warm(scores_NK: Tensor, noise: PairNoise | None, part: slice, temperature: Tensor) -> Tensor:
    """(s + g)/τ, in place."""
    if noise is not None:
        noise.add_to_(scores_NK, part)
    return scores_NK.div_(temperature)


def mixtures(
    scores: Affinity,
    codes_KD: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    noise: bool = True,
    over_ranks: bool = False,
) -> tuple[Tensor, Tensor]:
    """softmax((s + g)/τ)·E for every row, with Gumbel noise g, and its largest term.

    Jang et al. 2017, arXiv:1611.01144. The largest term is distributed as softmax(s), the mixture tends to it
    as τ → 0. Scores are computed in blocks of rows and again in backward, the noise drawn again alike, so N×K is never
    held.

    Args:
        scores: s. codes_KD: the table E (K, D).
        temperature: τ > 0, a number or a 0-dim tensor, which gets no gradient. noise: False for g = 0.
        over_ranks: draw as one process would for the rows of all ranks, every one of which must call this.

    Returns:
        mixtures (N, D) float32, with gradients to scores and table, and indices (N,) int64 of the largest term.

    Example:
        >>> import torch
        >>> from vqkit.functional.affinity import affinity
        >>> x, codes = torch.tensor([[0.1], [2.0]]), torch.tensor([[0.0], [1.0]])
        >>> soft, index = mixtures(affinity(x, codes, "dot"), codes, 1e-3, noise=False)
        >>> soft.flatten().tolist(), index.tolist()
        ([1.0, 1.0], [1, 1])
    """
    temperature = torch.as_tensor(temperature, dtype=torch.float32, device=codes_KD.device).detach()
    key = noise_key(codes_KD, scores.rows.shape[0], over_ranks) if noise else None
    # Less its mean, so that differences of its products are differences of small numbers.
    mean_D = codes_KD.detach().double().mean(0)
    soft_ND, index_N, *_ = _mixtures((codes_KD - mean_D).float(), temperature, key, *scores)
    return soft_ND + mean_D.float(), index_N


def one_hot_straight_through(codes_KD: Tensor, indices_N: Tensor, soft_ND: Tensor) -> Tensor:
    """The codes of ``indices`` to the bit, with the gradient of a hard one-hot at the table and of ``soft`` elsewhere.

    With ``soft`` a mixture of the detached table this is (onehot + p − sg(p))·E.

    >>> import torch
    >>> codes = torch.tensor([[1.0], [2.0]], requires_grad=True)
    >>> one_hot_straight_through(codes, torch.tensor([1, 1]), torch.zeros(2, 1)).sum().backward()
    >>> codes.grad.flatten().tolist()
    [0.0, 2.0]
    """
    return take(codes_KD[None], indices_N[None])[0] + (soft_ND - soft_ND.detach())
