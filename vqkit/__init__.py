"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import (
    IBQ,
    SQVAE,
    GumbelQuantize,
    ProductQuantize,
    Quantizer,
    RandomProjectionQuantizer,
    SimVQ,
    SinkhornVQ,
    VectorQuantize,
)

__version__ = "0.1.0"

__all__ = [
    "IBQ",
    "SQVAE",
    "Codebook",
    "GumbelQuantize",
    "ProductQuantize",
    "Quantizer",
    "RandomProjectionQuantizer",
    "SimVQ",
    "SinkhornVQ",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
