"""The native library: built from ``native/`` with the package where a C++ compiler is at hand, optional otherwise."""

from vqkit.kernels.cpu.library import instruction_sets, why_not
from vqkit.kernels.cpu.ops import code_sums, nearest

__all__ = ["code_sums", "instruction_sets", "nearest", "why_not"]
