"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import FSP, FSQ, LatentQuantize, Quantizer, VectorQuantize

__version__ = "0.1.0"

__all__ = [
    "FSP",
    "FSQ",
    "Codebook",
    "LatentQuantize",
    "Quantizer",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
