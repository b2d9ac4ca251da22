"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import (
    FSP,
    FSQ,
    IBQ,
    SQVAE,
    GroupedResidualVQ,
    GumbelQuantize,
    HierarchicalVQ,
    LatentQuantize,
    MultiScale,
    MultiScaleVQ,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SimVQ,
    VectorQuantize,
)

__version__ = "0.1.0"

__all__ = [
    "FSP",
    "FSQ",
    "IBQ",
    "SQVAE",
    "Codebook",
    "GroupedResidualVQ",
    "GumbelQuantize",
    "HierarchicalVQ",
    "LatentQuantize",
    "MultiScale",
    "MultiScaleVQ",
    "Quantizer",
    "RandomProjectionQuantizer",
    "ResidualVQ",
    "SimVQ",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
