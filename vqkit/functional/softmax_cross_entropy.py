"""Cross-entropy of softmax assignments, without holding a score per row and code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from vqkit.functional.affinity import Affinity, ScoreBlocks, ScoreGradients, exponentials_


class _CrossEntropy(torch.autograd.Function):
    """Backward: the gradient of −ln p_i is p − onehot(i). Its entry at i is minus the sum of the others, which for a
    sure row p_i − 1 would round to zero.
    """

    @staticmethod
    def forward(ctx: Any, indices_N: Tensor, *parts: Any) -> Tensor:
        with torch.no_grad(), torch.autocast(indices_N.device.type, enabled=False):
            blocks = ScoreBlocks(Affinity(*parts))
            score_NK = blocks.buffer()
            level_N = torch.zeros(blocks.rows, dtype=torch.float64, device=indices_N.device)
            total = level_N.new_zeros(())
            for part in blocks.slices():
                exact_nK = blocks.scores(part)
                most_n1 = exact_nK.amax(1, keepdim=True)
                own_n = exact_nK.gather(1, indices_N[part, None].clamp(min=0))[:, 0]
                sum_n = exponentials_(score_NK[: exact_nK.shape[0]].copy_(exact_nK.sub_(most_n1))).sum(1)
                level_N[part] = most_n1[:, 0] + sum_n.log()
                total += torch.where(indices_N[part] >= 0, level_N[part] - own_n, 0).sum()
        ctx.unit = blocks.parts.unit
        ctx.save_for_backward(indices_N, level_N, *blocks.parts.tensors)
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        indices_N, level_N, rows_ND, table_KD, bias_K, centre_D, scale_N = ctx.saved_tensors
        _, rows, table, bias, _, scale, _ = ctx.needs_input_grad
        with torch.autocast(indices_N.device.type, enabled=False):
            blocks = ScoreBlocks(Affinity(rows_ND, table_KD, bias_K, centre_D, scale_N, ctx.unit))
            found = ScoreGradients(blocks, rows, scale, table or bias)
            weight_N = torch.where(indices_N >= 0, slope, 0)
            p_NK = blocks.buffer()
            for part in blocks.slices():
                exact_nK, own_n1 = blocks.scores(part, level_N), indices_N[part, None].clamp(min=0)
                p_nK = exponentials_(p_NK[: exact_nK.shape[0]].copy_(exact_nK)).scatter_(1, own_n1, 0.0)
                p_nK.scatter_(1, own_n1, -p_nK.sum(1, keepdim=True))
                found.add_(part, p_nK, weight_N[part])
        return None, *found.of_parts()


def softmax_cross_entropy(scores: Affinity, indices_N: Tensor) -> Tensor:
    """Σ −ln p_n(index), p_n = softmax(scores of row n), over rows of index >= 0: () float32."""
    return _CrossEntropy.apply(indices_N, *scores)  # pyright: ignore[reportReturnType]
