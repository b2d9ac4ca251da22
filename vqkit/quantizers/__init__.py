"""One file per method. Every quantizer has ``encode``, ``decode`` and a forward that returns a named tuple."""

from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.binary_mapper import BinaryMapper
from vqkit.quantizers.bsq import BSQ
from vqkit.quantizers.config import build
from vqkit.quantizers.dither import Dither
from vqkit.quantizers.estimators import (
    DiVeQ,
    GumbelStraightThrough,
    IndexBackpropagation,
    NoGradient,
    NoiseSubstitution,
    Rotation,
    StraightThrough,
)
from vqkit.quantizers.fsp import FSP
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.gumbel import GumbelQuantize
from vqkit.quantizers.ibq import IBQ
from vqkit.quantizers.implicit import ImplicitVQ
from vqkit.quantizers.latent import LatentQuantize
from vqkit.quantizers.lfq import LFQ
from vqkit.quantizers.moment_match import MomentMatch
from vqkit.quantizers.multiscale import MultiScale, NextScale
from vqkit.quantizers.multiscale_vq import HierarchicalVQ, MultiScaleVQ
from vqkit.quantizers.objectives import (
    CodebookFit,
    Commitment,
    CrossEntropyCommitment,
    Diversity,
    Entropy,
    Orthogonal,
    SoftCommitment,
)
from vqkit.quantizers.output import (
    EntropyBreakdown,
    LossBreakdown,
    PerturbedInfo,
    Quantized,
    QuantizedIndices,
    QuantizedIndicesWithCodes,
    QuantizedWithBreakdown,
    QuantizedWithCodes,
    QuantizedWithEntropies,
    QuantizedWithInfo,
)
from vqkit.quantizers.product import ProductQuantize
from vqkit.quantizers.random_projection import RandomProjectionQuantizer
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.residual_fsq import GroupedResidualFSQ, ResidualFSQ
from vqkit.quantizers.residual_lfq import GroupedResidualLFQ, ResidualLFQ
from vqkit.quantizers.residual_sim_vq import ResidualSimVQ
from vqkit.quantizers.residual_vq import GroupedResidualVQ, ResidualVQ
from vqkit.quantizers.sim_vq import SimVQ
from vqkit.quantizers.sinkhorn import SinkhornVQ
from vqkit.quantizers.split_rvq import SplitResidualVQ
from vqkit.quantizers.sq_vae import SQVAE
from vqkit.quantizers.stage_dropout import StageDropout
from vqkit.quantizers.vector import VectorQuantize

__all__ = [
    "BSQ",
    "FSP",
    "FSQ",
    "IBQ",
    "LFQ",
    "SQVAE",
    "BinaryMapper",
    "CodebookFit",
    "Commitment",
    "CrossEntropyCommitment",
    "DiVeQ",
    "Dither",
    "Diversity",
    "Entropy",
    "EntropyBreakdown",
    "Grouped",
    "GroupedResidualFSQ",
    "GroupedResidualLFQ",
    "GroupedResidualVQ",
    "GumbelQuantize",
    "GumbelStraightThrough",
    "HierarchicalVQ",
    "ImplicitVQ",
    "IndexBackpropagation",
    "LatentQuantize",
    "LossBreakdown",
    "MomentMatch",
    "MultiScale",
    "MultiScaleVQ",
    "NextScale",
    "NoGradient",
    "NoiseSubstitution",
    "Orthogonal",
    "PerturbedInfo",
    "ProductQuantize",
    "Quantized",
    "QuantizedIndices",
    "QuantizedIndicesWithCodes",
    "QuantizedWithBreakdown",
    "QuantizedWithCodes",
    "QuantizedWithEntropies",
    "QuantizedWithInfo",
    "Quantizer",
    "RandomProjectionQuantizer",
    "Residual",
    "ResidualFSQ",
    "ResidualLFQ",
    "ResidualSimVQ",
    "ResidualVQ",
    "Rotation",
    "SimVQ",
    "SinkhornVQ",
    "SoftCommitment",
    "SplitResidualVQ",
    "StageDropout",
    "StraightThrough",
    "VectorQuantize",
    "build",
]
