"""Pure, validated, documented ops: the maths of vqkit. One idea per file."""

from vqkit.functional.bits import pack_bits, unpack_bits
from vqkit.functional.code_sums import CodeSums, code_sums
from vqkit.functional.entropy import bit_entropy, code_bit_logits, code_mass, code_probabilities, entropy
from vqkit.functional.estimators import diveq, noise_substitution, rotation_trick, straight_through, synchronous
from vqkit.functional.kmeans import KMeans, kmeans
from vqkit.functional.lookup import lookup
from vqkit.functional.losses import (
    codebook_loss,
    commitment_loss,
    cross_entropy_loss,
    diversity_loss,
    orthogonal_loss,
)
from vqkit.functional.nearest import nearest
from vqkit.functional.sampling import gumbel_straight_through, sample_codes
from vqkit.functional.usage import perplexity, usage

__all__ = [
    "CodeSums",
    "KMeans",
    "bit_entropy",
    "code_bit_logits",
    "code_mass",
    "code_probabilities",
    "code_sums",
    "codebook_loss",
    "commitment_loss",
    "cross_entropy_loss",
    "diveq",
    "diversity_loss",
    "entropy",
    "gumbel_straight_through",
    "kmeans",
    "lookup",
    "nearest",
    "noise_substitution",
    "orthogonal_loss",
    "pack_bits",
    "perplexity",
    "rotation_trick",
    "sample_codes",
    "straight_through",
    "synchronous",
    "unpack_bits",
    "usage",
]
