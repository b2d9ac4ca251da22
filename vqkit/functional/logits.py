"""Scores of every code for a block of rows, differentiable, and the means to use them without holding N×K."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

SCORES_PER_BLOCK = 2**21


def code_logits(x_ND: Tensor, codes_KD: Tensor, metric: str) -> Tensor:
    """(N, K) float32: −|x − e|², the log-density of unit Gaussians at the codes up to scale, or cos(x, e)."""
    x_ND, codes_KD = x_ND.float(), codes_KD.float()
    with torch.autocast(x_ND.device.type, enabled=False):
        if metric == "cosine":
            return F.normalize(x_ND, dim=-1) @ F.normalize(codes_KD, dim=-1).t()
        # The same shift on both sides changes no distance and takes the cancellation out of the expanded square.
        centre_D = codes_KD.detach().mean(0)
        x_ND, codes_KD = x_ND - centre_D, codes_KD - centre_D
        return 2 * x_ND @ codes_KD.t() - x_ND.square().sum(1, keepdim=True) - codes_KD.square().sum(1)


def row_blocks(rows: int, codes: int) -> Iterator[slice]:
    """Slices of rows whose scores against all codes stay in cache."""
    step = max(16, SCORES_PER_BLOCK // codes)
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))


def recomputed(function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """``function(*inputs)``, whose intermediates are computed again in backward (random numbers included), not kept."""
    if torch.is_grad_enabled() and any(t.requires_grad for t in inputs):
        result = checkpoint(function, *inputs, use_reentrant=False)
        if isinstance(result, Tensor):
            return result
    return function(*inputs)


def gumbel_noise(scores: Tensor) -> Tensor:
    """Gumbel(0, 1) noise in the shape of ``scores``; adding it before an argmax samples from softmax(scores)."""
    return -torch.empty_like(scores).exponential_().log()
