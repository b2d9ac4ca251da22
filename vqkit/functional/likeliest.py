"""The choice that a linear classifier makes, in blocks of rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.functional.logits import row_blocks
from vqkit.kernels.ops import plain
from vqkit.kernels.tracing import exporting


def likeliest(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    """The class of largest score Wx + b of every row, taken in float32, of equals the first: (N,) int64; −1 where a
    score is not finite.

    >>> import torch
    >>> likeliest(torch.tensor([[1.0], [-1.0], [torch.nan]]), torch.tensor([[1.0], [-1.0]]), torch.zeros(2))
    tensor([ 0,  1, -1])
    """
    # Compiled, one node, whose blocks no number of rows unrolls.
    return (_likeliest if plain(x_ND) or exporting() else _likeliest_op)(x_ND, weight_KD, bias_K)


def _likeliest(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    parts = [torch.empty(0, dtype=torch.int64, device=x_ND.device)]
    for part in row_blocks(x_ND.shape[0], weight_KD.shape[0]):
        with torch.autocast(x_ND.device.type, enabled=False):
            scores_NK = F.linear(x_ND[part], weight_KD, bias_K).float()
        parts.append(torch.where(scores_NK.isfinite().all(1), scores_NK.argmax(1), -1))
    return torch.cat(parts)


@torch.library.custom_op("vqkit::likeliest", mutates_args=())
def _likeliest_op(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:
    return _likeliest(x_ND, weight_KD, bias_K)


@_likeliest_op.register_fake
def _(x_ND: Tensor, weight_KD: Tensor, bias_K: Tensor) -> Tensor:  # noqa: ARG001
    return x_ND.new_empty(x_ND.shape[0], dtype=torch.int64)
