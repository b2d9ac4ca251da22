"""The names of vqtorch, those of its documentation and those of its source, over ``vqkit.VectorQuantize``.

``from vqkit.interop.vqtorch import VectorQuantize`` in place of ``from vqtorch import VectorQuantize``.
"""

from vqkit.interop.vqtorch.bypass import get_vq_layers, is_vq, no_vq
from vqkit.interop.vqtorch.inits import codebook_warmup
from vqkit.interop.vqtorch.layers import GroupVectorQuant, VectorQuant, VectorQuantize
from vqkit.interop.vqtorch.pool import MaxVecPool2d, SoftMaxVecPool2d
from vqkit.interop.vqtorch.residual import ResidualVectorQuant

__all__ = [
    "GroupVectorQuant",
    "MaxVecPool2d",
    "ResidualVectorQuant",
    "SoftMaxVecPool2d",
    "VectorQuant",
    "VectorQuantize",
    "codebook_warmup",
    "get_vq_layers",
    "is_vq",
    "no_vq",
]
