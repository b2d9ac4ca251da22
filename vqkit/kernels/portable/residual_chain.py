"""Residual quantization by nearest codes, for export."""

from __future__ import annotations

from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.portable.nearest import nearest_index


def residual_chain(x_ND: Tensor, codebooks_QKD: Tensor) -> Tensor:
    """``reference.residual_chain`` by the portable search: (N, Q) int64."""
    return reference.residual_chain(x_ND, codebooks_QKD, nearest_index)
