"""Residual quantization by nearest codes: every stage takes what the stages before left."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vqkit.kernels.reference.nearest import nearest_index


def residual_chain(
    x_ND: Tensor, codebooks_QKD: Tensor, search: Callable[[Tensor, Tensor, str], Tensor] = nearest_index
) -> Tensor:
    """Return indices (N, Q) int64 of float32 rows by Q float32 codebooks; −1 in all stages where a row is not finite.

    At each stage the residual is x − t, the index is that of its exact nearest code, and t, which begins at zero, grows
    by that code: both in float32, rounded once. A residual that overflows gets −1, and adds nothing. ``search``: the
    ``nearest_index`` to use.
    """
    total_ND, columns = torch.zeros_like(x_ND), []
    for codes_KD in codebooks_QKD.unbind(0):
        index_N = search((x_ND - total_ND)[None], codes_KD[None], "euclidean")[0]
        columns.append(index_N)
        total_ND = total_ND + torch.where((index_N >= 0)[:, None], codes_KD[index_N.clamp(min=0)], 0)
    return torch.stack(columns, 1)
