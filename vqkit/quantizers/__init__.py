"""One file per method. Every quantizer has ``encode``, ``decode`` and a forward that returns a named tuple."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.config import build
from vqkit.quantizers.estimators import (
    DiVeQ,
    GumbelStraightThrough,
    IndexBackpropagation,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)
from vqkit.quantizers.gumbel import GumbelQuantize
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.objectives import (
    CodebookFit,
    Commitment,
    CrossEntropyCommitment,
    Diversity,
    Entropy,
    Orthogonal,
    SoftCommitment,
)
from vqkit.quantizers.output import LossBreakdown, Quantized, QuantizedWithBreakdown
from vqkit.quantizers.product import ProductQuantize
from vqkit.quantizers.random_projection import RandomProjectionQuantizer
from vqkit.quantizers.sim_vq import SimVQ
from vqkit.quantizers.sinkhorn import SinkhornVQ
from vqkit.quantizers.sq_vae import SQVAE
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "IBQ",
    "SQVAE",
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Diversity",
    "Entropy",
    "GumbelQuantize",
    "GumbelStraightThrough",
    "IndexBackpropagation",
    "LossBreakdown",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "ProductQuantize",
    "Quantized",
    "QuantizedWithBreakdown",
    "Quantizer",
    "RandomProjectionQuantizer",
    "Rotation",
    "SimVQ",
    "SinkhornVQ",
    "SoftCommitment",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
