"""Scores of every code for a block of rows, differentiable, and the means to use them without holding N×K."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from vqkit.kernels.reference.unit import unit

SCORES_PER_BLOCK = 2**21


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


def squared_distances(x_ND: Tensor, codes_KD: Tensor) -> Tensor:
    """|x − e|² of all pairs, (N, K) float64."""
    x_ND, codes_KD = x_ND.double(), codes_KD.double()
    return x_ND.square().sum(1, keepdim=True) + codes_KD.square().sum(1) - 2 * x_ND @ codes_KD.t()


def row_blocks(rows: int, codes: int) -> Iterator[slice]:
    """Slices of rows whose scores against all codes stay in cache."""
    step = max(16, SCORES_PER_BLOCK // codes)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)`` outside autocast; its intermediates are computed again in backward, not kept.

    Random numbers are drawn again alike.
    """

    def in_full_precision(*tensors: Tensor) -> Tensor:
        with torch.autocast(tensors[0].device.type, enabled=False):
            return function(*tensors)

    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        result = checkpoint(in_full_precision, *inputs, use_reentrant=False)
        if isinstance(result, Tensor):
            return result
    return in_full_precision(*inputs)


def gumbel_noise(scores: Tensor) -> Tensor:
    """Gumbel(0, 1) noise in the shape of ``scores``; adding it before an argmax samples from softmax(scores)."""
    return -torch.empty_like(scores).exponential_().log()
