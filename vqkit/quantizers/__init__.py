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
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.implicit import ImplicitVQ
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import LossBreakdown, Quantized, QuantizedWithBreakdown, QuantizedWithCodes
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.residual_vq import GroupedResidualVQ, ResidualVQ
from vqkit.quantizers.split_rvq import SplitResidualVQ
from vqkit.quantizers.stage_dropout import StageDropout
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Diversity",
    "Grouped",
    "GroupedResidualVQ",
    "GumbelStraightThrough",
    "ImplicitVQ",
    "LossBreakdown",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "Quantized",
    "QuantizedWithBreakdown",
    "QuantizedWithCodes",
    "Quantizer",
    "Residual",
    "ResidualVQ",
    "Rotation",
    "SplitResidualVQ",
    "StageDropout",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
