"""Pure, validated, documented ops: the maths of vqkit. One idea per file."""

from vqkit.functional.code_sums import CodeSums, code_sums
from vqkit.functional.estimators import diveq, noise_substitution, rotation_trick, straight_through, synchronous
from vqkit.functional.kmeans import KMeans, kmeans
from vqkit.functional.lookup import lookup
from vqkit.functional.losses import codebook_loss, commitment_loss, cross_entropy_loss, diversity_loss, orthogonal_loss
from vqkit.functional.moments import Moments, moments
from vqkit.functional.nearest import nearest
from vqkit.functional.packing import pack_levels, unpack_levels
from vqkit.functional.perturbation import bin_centres, bin_levels, cdf, inverse_cdf, perturb
from vqkit.functional.resample import area_down, upsample
from vqkit.functional.sampling import gumbel_straight_through, index_backpropagation, sample_codes
from vqkit.functional.scalar import dither, level_positions, level_values, nearest_levels
from vqkit.functional.softmax_entropy import Entropies, code_entropies
from vqkit.functional.usage import perplexity, usage

__all__ = [
    "CodeSums",
    "Entropies",
    "KMeans",
    "Moments",
    "area_down",
    "bin_centres",
    "bin_levels",
    "cdf",
    "code_entropies",
    "code_sums",
    "codebook_loss",
    "commitment_loss",
    "cross_entropy_loss",
    "dither",
    "diveq",
    "diversity_loss",
    "gumbel_straight_through",
    "index_backpropagation",
    "inverse_cdf",
    "kmeans",
    "level_positions",
    "level_values",
    "lookup",
    "moments",
    "nearest",
    "nearest_levels",
    "noise_substitution",
    "orthogonal_loss",
    "pack_levels",
    "perplexity",
    "perturb",
    "rotation_trick",
    "sample_codes",
    "straight_through",
    "synchronous",
    "unpack_levels",
    "upsample",
    "usage",
]
