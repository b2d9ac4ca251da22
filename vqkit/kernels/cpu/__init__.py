"""The native library: built from ``native/`` with the package where a C++ compiler is at hand, optional otherwise."""

from vqkit.kernels.cpu.levels import snap_levels, unsquash
from vqkit.kernels.cpu.library import instruction_sets, why_not
from vqkit.kernels.cpu.ops import code_sums, nearest, nearest_index, residual_chain
from vqkit.kernels.cpu.rows import finite_rows, pull, turned_back
from vqkit.kernels.cpu.tables import bit_sums, bit_table

__all__ = [
    "bit_sums",
    "bit_table",
    "code_sums",
    "finite_rows",
    "instruction_sets",
    "nearest",
    "nearest_index",
    "pull",
    "residual_chain",
    "snap_levels",
    "turned_back",
    "unsquash",
    "why_not",
]
