"""One file per method. Every quantizer has ``encode``, ``decode`` and a forward that returns a named tuple."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.binary_mapper import BinaryMapper
from vqkit.quantizers.bsq import BSQ
from vqkit.quantizers.config import build
from vqkit.quantizers.estimators import (
    DiVeQ,
    GumbelStraightThrough,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)
from vqkit.quantizers.lfq import LFQ
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import (
    EntropyBreakdown,
    LossBreakdown,
    Quantized,
    QuantizedWithBreakdown,
    QuantizedWithEntropies,
)
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "BSQ",
    "LFQ",
    "BinaryMapper",
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Diversity",
    "EntropyBreakdown",
    "GumbelStraightThrough",
    "LossBreakdown",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "Quantized",
    "QuantizedWithBreakdown",
    "QuantizedWithEntropies",
    "Quantizer",
    "Rotation",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
