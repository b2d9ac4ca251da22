"""One file per method. Every quantizer has ``encode``, ``decode`` and a forward that returns a named tuple."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.config import build
from vqkit.quantizers.estimators import (
    DiVeQ,
    GumbelStraightThrough,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)
from vqkit.quantizers.multiscale import MultiScale, NextScale
from vqkit.quantizers.multiscale_vq import HierarchicalVQ, MultiScaleVQ
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import LossBreakdown, Quantized, QuantizedWithBreakdown
from vqkit.quantizers.scale_dropout import NestedDropout, ScaleDropout
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Diversity",
    "GumbelStraightThrough",
    "HierarchicalVQ",
    "LossBreakdown",
    "MultiScale",
    "MultiScaleVQ",
    "NestedDropout",
    "NextScale",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "Quantized",
    "QuantizedWithBreakdown",
    "Quantizer",
    "Rotation",
    "ScaleDropout",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
