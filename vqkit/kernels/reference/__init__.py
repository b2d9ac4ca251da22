"""Plain PyTorch: the oracle for every other backend. Exact, blockwise, deterministic; not tuned."""

from vqkit.kernels.reference.code_sums import code_sums
from vqkit.kernels.reference.levels import snap_levels, unsquash
from vqkit.kernels.reference.nearest import nearest, nearest_index
from vqkit.kernels.reference.residual_chain import residual_chain
from vqkit.kernels.reference.rows import finite_rows, pull, turned_back
from vqkit.kernels.reference.tables import bit_sums, bit_table

__all__ = [
    "bit_sums",
    "bit_table",
    "code_sums",
    "finite_rows",
    "nearest",
    "nearest_index",
    "pull",
    "residual_chain",
    "snap_levels",
    "turned_back",
    "unsquash",
]
