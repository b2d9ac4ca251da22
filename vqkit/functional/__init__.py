"""Pure, validated, documented ops: the maths of vqkit. One idea per file."""

from vqkit.functional.bits import pack_bits, unpack_bits
from vqkit.functional.code_sums import CodeSums, code_sums
from vqkit.functional.entropy import bit_entropy, code_bit_logits, code_mass, code_probabilities, entropy
from vqkit.functional.estimators import diveq, noise_substitution, rotation_trick, straight_through, synchronous
from vqkit.functional.kmeans import KMeans, kmeans
from vqkit.functional.lookup import lookup
from vqkit.functional.losses import codebook_loss, commitment_loss, cross_entropy_loss, diversity_loss, orthogonal_loss
from vqkit.functional.moments import Moments, moments
from vqkit.functional.nearest import nearest
from vqkit.functional.packing import pack_levels, unpack_levels
from vqkit.functional.perturbation import bin_centres, bin_levels, cdf, inverse_cdf, perturb
from vqkit.functional.product import RotatedCodes, balanced_rotation, optimised_product
from vqkit.functional.resample import area_down, upsample
from vqkit.functional.sampling import gumbel_straight_through, index_backpropagation, sample_codes
from vqkit.functional.scalar import dither, level_positions, level_values, nearest_levels, snap_to_levels
from vqkit.functional.sinkhorn import sinkhorn_assignment
from vqkit.functional.softmax_entropy import Entropies, code_entropies
from vqkit.functional.usage import perplexity, usage

__all__ = [
    "CodeSums",
    "Entropies",
    "KMeans",
    "Moments",
    "RotatedCodes",
    "area_down",
    "balanced_rotation",
    "bin_centres",
    "bin_levels",
    "bit_entropy",
    "cdf",
    "code_bit_logits",
    "code_entropies",
    "code_mass",
    "code_probabilities",
    "code_sums",
    "codebook_loss",
    "commitment_loss",
    "cross_entropy_loss",
    "dither",
    "diveq",
    "diversity_loss",
    "entropy",
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
    "optimised_product",
    "orthogonal_loss",
    "pack_bits",
    "pack_levels",
    "perplexity",
    "perturb",
    "rotation_trick",
    "sample_codes",
    "sinkhorn_assignment",
    "snap_to_levels",
    "straight_through",
    "synchronous",
    "unpack_bits",
    "unpack_levels",
    "upsample",
    "usage",
]
