"""The quantizers of vector-quantize-pytorch 1.32, from their weights."""

from vqkit.interop.checkpoints.vector_quantize_pytorch.frozen import (
    load_random_projection,
    load_residual_sim_vq,
    load_sim_vq,
)
from vqkit.interop.checkpoints.vector_quantize_pytorch.hierarchical import load_hierarchical_vq
from vqkit.interop.checkpoints.vector_quantize_pytorch.scalars import (
    load_fsp,
    load_fsq,
    load_grouped_residual_fsq,
    load_latent,
    load_residual_fsq,
)
from vqkit.interop.checkpoints.vector_quantize_pytorch.signs import (
    load_binary_mapper,
    load_grouped_residual_lfq,
    load_lfq,
    load_residual_lfq,
)
from vqkit.interop.checkpoints.vector_quantize_pytorch.tables import (
    load_grouped_residual_vq,
    load_residual_vq,
    load_vector_quantize,
)

__all__ = [
    "load_binary_mapper",
    "load_fsp",
    "load_fsq",
    "load_grouped_residual_fsq",
    "load_grouped_residual_lfq",
    "load_grouped_residual_vq",
    "load_hierarchical_vq",
    "load_latent",
    "load_lfq",
    "load_random_projection",
    "load_residual_fsq",
    "load_residual_lfq",
    "load_residual_sim_vq",
    "load_residual_vq",
    "load_sim_vq",
    "load_vector_quantize",
]
