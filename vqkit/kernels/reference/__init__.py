"""Plain PyTorch: the oracle for every other backend. Exact, blockwise, deterministic; not tuned."""

from vqkit.kernels.reference.code_sums import code_sums
from vqkit.kernels.reference.nearest import nearest
from vqkit.kernels.reference.residual_chain import residual_chain

__all__ = ["code_sums", "nearest", "residual_chain"]
