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
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.latent import LatentQuantize
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import LossBreakdown, Quantized, QuantizedIndices, QuantizedWithBreakdown
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
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
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "Quantized",
    "QuantizedIndices",
    "QuantizedWithBreakdown",
    "Quantizer",
    "Rotation",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
