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
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.implicit import ImplicitVQ
from vqkit.quantizers.latent import LatentQuantize
from vqkit.quantizers.moment_match import MomentMatch
from vqkit.quantizers.objectives import CodebookFit, Commitment, CrossEntropyCommitment, Diversity, Orthogonal
from vqkit.quantizers.output import (
    LossBreakdown,
    PerturbedInfo,
    Quantized,
    QuantizedIndices,
    QuantizedWithBreakdown,
    QuantizedWithCodes,
    QuantizedWithInfo,
)
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.residual_vq import GroupedResidualVQ, ResidualVQ
from vqkit.quantizers.split_rvq import SplitResidualVQ
from vqkit.quantizers.stage_dropout import StageDropout
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
    "Grouped",
    "GroupedResidualVQ",
    "GumbelStraightThrough",
    "ImplicitVQ",
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
    "QuantizedWithCodes",
    "QuantizedWithInfo",
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
