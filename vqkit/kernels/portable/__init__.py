"""Plain aten operations without blocks of rows or Python that reads values: what an exported program is made of."""

from vqkit.kernels.portable.nearest import nearest, nearest_index
from vqkit.kernels.portable.residual_chain import residual_chain

__all__ = ["nearest", "nearest_index", "residual_chain"]
