"""Choices relaxed to mixtures: Gumbel-softmax and index backpropagation, without holding a score per row and code."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from vqkit.functional.logits import gumbel_noise, recomputed, row_blocks
from vqkit.functional.lookup import take

Scores = Callable[..., Tensor]
"""(blocks of rows, what all rows share) to scores (n, K) float32: the log-probabilities up to a constant a row."""


def mixtures(
    scores: Scores,
    rows: Sequence[Tensor],
    shared: Sequence[Tensor],
    codes_KD: Tensor,
    temperature: float | Tensor = 1.0,
    *,
    noise: bool = True,
) -> tuple[Tensor, Tensor]:
    """softmax((s + g)/τ)·E for every row, with Gumbel noise g, and its largest term.

    Jang et al. 2017, arXiv:1611.01144. The largest term is distributed as softmax(s), the mixture tends to it
    as τ → 0. Scores are computed in blocks of rows and again in backward, the noise drawn again alike, so N×K is never
    held.

    Args:
        scores: s, of blocks of each of ``rows`` and all of ``shared``. rows: (N, …) each. shared: whatever gets a
            gradient besides. codes_KD: the table E (K, D).
        temperature: τ > 0, a number or a 0-dim tensor. noise: False for g = 0.

    Returns:
        mixtures (N, D) float32, with gradients to scores and table, and indices (N,) int64 of the largest term.

    Example:
        >>> import torch
        >>> x, codes = torch.tensor([[0.1], [2.0]]), torch.tensor([[0.0], [1.0]])
        >>> soft, index = mixtures(lambda x, e: x @ e.t(), [x], [codes], codes, 1e-3, noise=False)
        >>> soft.flatten().tolist(), index.tolist()
        ([1.0, 1.0], [1, 1])
    """
    N, K = rows[0].shape[0], codes_KD.shape[0]

    def block(table_KD: Tensor, *inputs: Tensor) -> Tensor:
        scores_NK = scores(*inputs)
        scores_NK = scores_NK - scores_NK.detach().amax(1, keepdim=True)  # what τ divides must not overflow
        scores_NK = (scores_NK + gumbel_noise(scores_NK) if noise else scores_NK) / temperature
        soft = scores_NK.softmax(1) @ table_KD
        # The index rides along as a last column: one recomputed block, one draw of noise.
        return torch.cat([soft, scores_NK.argmax(1, keepdim=True).to(soft.dtype)], 1)

    blocks = list(row_blocks(N, K)) or [slice(0, 0)]  # no rows still reach every input, with a gradient of zero
    result = torch.cat([recomputed(block, codes_KD.float(), *(r[part] for r in rows), *shared) for part in blocks])
    return result[:, :-1], result[:, -1].detach().long()


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
