"""Cross-entropy of softmax assignments, without holding a score per row and code."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.functional.affinity import (
    PARTS,
    Affinity,
    ScoreBlocks,
    ScoreGradients,
    every_score,
    exponentials_,
    needed,
    no_gradients,
    wanted,
)
from vqkit.kernels.tracing import exporting


@torch.library.custom_op(
    "vqkit::softmax_cross_entropy", mutates_args=(), schema=f"(Tensor indices, {PARTS}) -> (Tensor, Tensor)"
)
def _cross_entropy(indices_N: Tensor, *parts: Any) -> tuple[Tensor, Tensor]:
    """−ln p_n(index) of every row, zero for index −1, and ln Z_n: (N,) float64."""
    with torch.autocast(indices_N.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        score_NK = blocks.buffer()
        loss_N, level_N = blocks.level(), blocks.level()
        for part in blocks.slices():
            exact_nK, index_n = blocks.scores(part), indices_N[part]
            own_n = exact_nK.gather(1, index_n[:, None].clamp(min=0))[:, 0]
            most_n1 = exact_nK.amax(1, keepdim=True)
            p_nK = exponentials_(score_NK[: exact_nK.shape[0]].copy_(exact_nK.sub_(most_n1)))
            level_N[part] = most_n1[:, 0] + p_nK.sum(1).double().log()
            loss_N[part] = torch.where(index_n >= 0, level_N[part] - own_n, 0)
    return loss_N, level_N


@torch.library.custom_op(
    "vqkit::softmax_cross_entropy_backward",
    mutates_args=(),
    schema=f"(Tensor slope, Tensor level, bool[] needs, Tensor indices, {PARTS}) -> (Tensor, Tensor, Tensor, Tensor)",
)
def _cross_entropy_backward(
    slope_N: Tensor, level_N: Tensor, needs: list[bool], indices_N: Tensor, *parts: Any
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient of −ln p_i is p − onehot(i). Its entry at i is made as minus the sum of the others: of a sure row
    p_i − 1 would round to zero.
    """
    with torch.autocast(indices_N.device.type, enabled=False):
        blocks = ScoreBlocks(Affinity(*parts))
        gradients = ScoreGradients(blocks, needs)
        weight_N = torch.where(indices_N >= 0, slope_N.float(), 0)
        p_NK = blocks.buffer()
        for part in blocks.slices():
            exact_nK, own_n1 = blocks.scores(part, level_N[part]), indices_N[part, None].clamp(min=0)
            p_nK = exponentials_(p_NK[: exact_nK.shape[0]].copy_(exact_nK)).scatter_(1, own_n1, 0.0)
            p_nK.scatter_(1, own_n1, -p_nK.sum(1, keepdim=True))
            gradients.add_(part, p_nK, weight_N[part])
    return gradients.found()


@_cross_entropy.register_fake
def _(indices_N: Tensor, rows_ND: Tensor, table_KD: Tensor, *_: Any) -> Any:  # noqa: ARG001
    N = rows_ND.shape[0]
    return table_KD.new_empty(N), table_KD.new_empty(N)


@_cross_entropy_backward.register_fake
def _(slope_N: Tensor, level_N: Tensor, needs: list[bool], indices_N: Tensor, *parts: Any) -> Any:  # noqa: ARG001
    return no_gradients(Affinity(*parts), needs)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    *tensors, ctx.unit = inputs
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1], *tensors)


def _backward(ctx: Any, slope_N: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    level_N, *tensors = ctx.saved_tensors
    needs = needed(ctx)
    return None, *wanted(_cross_entropy_backward(slope_N, level_N, needs, *tensors, ctx.unit), needs)


_cross_entropy.register_autograd(_backward, setup_context=_remember)


def softmax_cross_entropy(scores: Affinity, indices_N: Tensor) -> Tensor:
    """Σ −ln p_n(index), p_n = softmax(scores of row n), over rows of index >= 0: () float32."""
    if exporting():
        log_NK = every_score(scores).log_softmax(1)
        own_N = log_NK.gather(1, indices_N[:, None].clamp(min=0))[:, 0]
        return torch.where(indices_N >= 0, -own_N, 0).sum().float()
    return _cross_entropy(indices_N, *scores)[0].sum().float()
