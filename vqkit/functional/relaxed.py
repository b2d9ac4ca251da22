"""Choices relaxed to mixtures: Gumbel-softmax and index backpropagation, without holding a score per row and code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.functional.affinity import Affinity, ScoreBlocks, ScoreGradients, exponentials_
from vqkit.functional.lookup import take
from vqkit.functional.pair_noise import PairNoise, noise_seed


class _Mixtures(torch.autograd.Function):
    """y = softmax((s + g)/τ)·E, of each row.

    Backward. With p the softmax and r the gradient of y: ∂L/∂s_k = p_k (r·e_k − r·y)/τ, and E gets Σ_n p_n rᵀ_n. The
    table is taken less its mean, which y gets back, so r·e_k − r·y is a difference of small numbers.
    """

    @staticmethod
    def forward(
        ctx: Any, codes_KD: Tensor, temperature: Tensor, seed: Tensor | None, *parts: Any
    ) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), torch.autocast(codes_KD.device.type, enabled=False):
            blocks, mean_D = ScoreBlocks(Affinity(*parts)), codes_KD.double().mean(0)
            centred_KD = (codes_KD - mean_D).float()
            score_NK, noise = blocks.buffer(), None if seed is None else blocks.noise(seed)
            soft_ND = centred_KD.new_empty(blocks.rows, codes_KD.shape[1])
            index_N = torch.empty(blocks.rows, dtype=torch.int64, device=soft_ND.device)
            level_N = blocks.exact_NK.new_empty(blocks.rows)  # the largest score
            peak_N, total_N = soft_ND.new_empty(blocks.rows), soft_ND.new_empty(blocks.rows)
            for part in blocks.slices():
                score_nK, level_N[part] = blocks.relative(part, score_NK)
                _warm(score_nK, noise, part, temperature)
                peak_N[part], index_N[part] = score_nK.max(1)
                p_nK = exponentials_(score_nK.sub_(peak_N[part, None]))
                total_N[part] = p_nK.sum(1)
                soft_ND[part] = torch.mm(p_nK, centred_KD) / total_N[part, None]
        ctx.unit, ctx.dtype = blocks.parts.unit, codes_KD.dtype
        ctx.save_for_backward(centred_KD, temperature, seed, soft_ND, level_N, peak_N, total_N, *blocks.parts.tensors)
        ctx.mark_non_differentiable(index_N)
        return (soft_ND + mean_D).float(), index_N

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope_ND: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        centred_KD, temperature, seed, soft_ND, level_N, peak_N, total_N, *saved = ctx.saved_tensors
        rows_ND, table_KD, bias_K, centre_D, scale_N = saved
        of_codes, _, _, rows, table, bias, _, scale, _ = ctx.needs_input_grad
        with torch.autocast(slope_ND.device.type, enabled=False):
            blocks = ScoreBlocks(Affinity(rows_ND, table_KD, bias_K, centre_D, scale_N, ctx.unit))
            found = ScoreGradients(blocks, rows, scale, table or bias)
            p_NK, back_NK, noise = blocks.buffer(), blocks.buffer(), None if seed is None else blocks.noise(seed)
            sum_KD = torch.zeros_like(centred_KD) if of_codes else None
            for part in blocks.slices():
                exact_nK = blocks.scores(part, level_N)
                p_nK = _warm(p_NK[: exact_nK.shape[0]].copy_(exact_nK), noise, part, temperature)
                exponentials_(p_nK.sub_(peak_N[part, None]))  # times total: the rows' weights divide by it
                if sum_KD is not None:
                    torch.addmm(sum_KD, p_nK.t(), slope_ND[part] / total_N[part, None], out=sum_KD)
                back_nK = torch.mm(slope_ND[part], centred_KD.t(), out=back_NK[: exact_nK.shape[0]])
                back_nK.sub_((slope_ND[part] * soft_ND[part]).sum(1, keepdim=True)).mul_(p_nK)
                found.add_(part, back_nK, 1 / (total_N[part] * temperature))
        of_table = None if sum_KD is None else sum_KD.to(ctx.dtype)
        return of_table, None, None, *found.of_parts()


def _warm(scores_NK: Tensor, noise: PairNoise | None, part: slice, temperature: Tensor) -> Tensor:
    """(s + g)/τ, in place."""
    if noise is not None:
        noise.add_to_(scores_NK, part)
    return scores_NK.div_(temperature)


def mixtures(
    scores: Affinity, codes_KD: Tensor, temperature: float | Tensor = 1.0, *, noise: bool = True
) -> tuple[Tensor, Tensor]:
    """softmax((s + g)/τ)·E for every row, with Gumbel noise g, and its largest term.

    Jang et al. 2017, arXiv:1611.01144, eq. 2. The largest term is distributed as softmax(s), the mixture tends to it
    as τ → 0. Scores are computed in blocks of rows and again in backward, the noise drawn again alike, so N×K is never
    held.

    Args:
        scores: s. codes_KD: the table E (K, D).
        temperature: τ > 0, a number or a 0-dim tensor, which gets no gradient. noise: False for g = 0.

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
    seed = noise_seed(codes_KD) if noise else None
    return _Mixtures.apply(codes_KD, temperature, seed, *scores)  # pyright: ignore[reportReturnType]


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
