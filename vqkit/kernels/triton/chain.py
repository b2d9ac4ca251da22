"""All stages of a residual quantizer on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

from vqkit.kernels.triton.search import nearest


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    """As ``reference.residual_chain``."""
    total_ND, columns = torch.zeros_like(x_ND), []
    for codes_KD in codebooks_QKD:
        index_N = nearest((x_ND - total_ND)[None], codes_KD[None], "euclidean")[0][0, :, 0]
        columns.append(index_N)
        total_ND = total_ND + torch.where((index_N >= 0)[:, None], codes_KD[index_N.clamp(min=0)], 0)
    return torch.stack(columns, 1)
