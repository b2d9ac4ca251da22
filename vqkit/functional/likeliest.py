"""The choice that a linear classifier makes, in blocks of rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.functional.logits import row_blocks, rows_per_block
from vqkit.kernels import ops
from vqkit.kernels.ops import one_node, plain


def likeliest(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    """The class of largest score Wx + b of every row, taken in float32, of equals the first: (N,) int64; −1 where a
    score is not finite.

    >>> import torch
    >>> likeliest(torch.tensor([[1.0], [-1.0], [torch.nan]]), torch.tensor([[1.0], [-1.0]]), torch.zeros(2))
    tensor([ 0,  1, -1])
    """
    return (_likeliest_op if one_node(x_ND) else _likeliest)(x_ND, weight_KD, bias_K)


def _likeliest(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    N, K = x_ND.shape[0], weight_KD.shape[0]
    parts = [torch.empty(0, dtype=torch.int64, device=x_ND.device)]
    # One buffer: where large blocks come and go beside small results that stay, glibc's heap grows with every block.
    buffer_NK = x_ND.new_empty(min(N, rows_per_block(K)), K) if plain(x_ND) else None
    for part in row_blocks(N, K):
        with torch.autocast(x_ND.device.type, enabled=False):
            scores_NK = _scores(x_ND[part], weight_KD, bias_K, buffer_NK)
        parts.append(torch.where(ops.finite_rows(scores_NK), scores_NK.argmax(1), -1))
    return torch.cat(parts)


def _scores(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor, buffer_NK: Tensor | None) -> Tensor:
    """Wx + b (N, K) float32, in the first rows of the buffer where there is one."""
    if buffer_NK is None:
        return F.linear(x_ND, weight_KD, bias_K).float()
    return torch.addmm(bias_K, x_ND, weight_KD.t(), out=buffer_NK[: x_ND.shape[0]]).float()


@torch.library.custom_op("vqkit::likeliest", mutates_args=())
def _likeliest_op(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    return _likeliest(x_ND, weight_KD, bias_K)


@_likeliest_op.register_fake
def _(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:  # noqa: ARG001
    return x_ND.new_empty(x_ND.shape[0], dtype=torch.int64)
