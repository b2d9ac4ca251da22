"""vqkit: discrete representations in PyTorch."""

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.errors import VqkitError
from vqkit.quantizers import GroupedResidualVQ, Quantizer, ResidualVQ, VectorQuantize

__version__ = "0.1.0"

__all__ = [
    "Codebook",
    "GroupedResidualVQ",
    "Quantizer",
    "ResidualVQ",
    "VectorQuantize",
    "VqkitError",
    "__version__",
    "codebook_warmup",
]
