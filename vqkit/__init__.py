"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import BSQ, LFQ, BinaryMapper, Quantizer, VectorQuantize

__version__ = "0.1.0"

__all__ = [
    "BSQ",
    "LFQ",
    "BinaryMapper",
    "Codebook",
    "Quantizer",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
