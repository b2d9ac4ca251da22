"""Plain PyTorch: the oracle for every other backend. Exact, blockwise, deterministic; not tuned."""

from vqkit.kernels.reference.averages import ema_moved_, ema_step_, ema_write_
from vqkit.kernels.reference.code_sums import code_sums
from vqkit.kernels.reference.draws import draw
from vqkit.kernels.reference.levels import snap_levels, unsquash
from vqkit.kernels.reference.nearest import nearest, nearest_index
from vqkit.kernels.reference.places import assigned, fade_shares_, overwrite_
from vqkit.kernels.reference.residual_chain import residual_chain
from vqkit.kernels.reference.rows import finite_rows, pull, turned_back
from vqkit.kernels.reference.tables import bit_sums, bit_table
from vqkit.kernels.reference.window import record_

__all__ = [
    "assigned",
    "bit_sums",
    "bit_table",
    "code_sums",
    "draw",
    "ema_moved_",
    "ema_step_",
    "ema_write_",
    "fade_shares_",
    "finite_rows",
    "nearest",
    "nearest_index",
    "overwrite_",
    "pull",
    "record_",
    "residual_chain",
    "snap_levels",
    "turned_back",
    "unsquash",
]
