"""One file per method. Every quantizer has ``encode``, ``decode`` and a forward that returns a named tuple."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.config import build
from vqkit.quantizers.dither import Dither
from vqkit.quantizers.estimators import (
    DiVeQ,
    GumbelStraightThrough,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)
from vqkit.quantizers.fsp import FSP
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.latent import LatentQuantize
from vqkit.quantizers.moment_match import MomentMatch
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import (
    LossBreakdown,
    PerturbedInfo,
    Quantized,
    QuantizedIndices,
    QuantizedWithBreakdown,
    QuantizedWithInfo,
)
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "FSP",
    "FSQ",
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Dither",
    "Diversity",
    "GumbelStraightThrough",
    "LatentQuantize",
    "LossBreakdown",
    "MomentMatch",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "PerturbedInfo",
    "Quantized",
    "QuantizedIndices",
    "QuantizedWithBreakdown",
    "QuantizedWithInfo",
    "Quantizer",
    "Rotation",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
