"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import (
    BSQ,
    FSP,
    FSQ,
    IBQ,
    LFQ,
    SQVAE,
    BinaryMapper,
    GroupedResidualVQ,
    GumbelQuantize,
    HierarchicalVQ,
    LatentQuantize,
    MultiScale,
    MultiScaleVQ,
    ProductQuantize,
    Quantizer,
    RandomProjectionQuantizer,
    ResidualVQ,
    SimVQ,
    SinkhornVQ,
    VectorQuantize,
)

__version__ = "0.1.0"

__all__ = [
    "BSQ",
    "FSP",
    "FSQ",
    "IBQ",
    "LFQ",
    "SQVAE",
    "BinaryMapper",
    "Codebook",
    "GroupedResidualVQ",
    "GumbelQuantize",
    "HierarchicalVQ",
    "LatentQuantize",
    "MultiScale",
    "MultiScaleVQ",
    "ProductQuantize",
    "Quantizer",
    "RandomProjectionQuantizer",
    "ResidualVQ",
    "SimVQ",
    "SinkhornVQ",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
