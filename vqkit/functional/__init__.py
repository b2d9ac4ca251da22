"""Pure, validated, documented ops: the maths of vqkit. One idea per file."""

from vqkit.functional.code_sums import CodeSums, code_sums
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
from vqkit.functional.product import RotatedCodes, balanced_rotation, optimised_product
from vqkit.functional.sampling import gumbel_straight_through, index_backpropagation, sample_codes
from vqkit.functional.sinkhorn import sinkhorn_assignment
from vqkit.functional.softmax_entropy import Entropies, code_entropies
from vqkit.functional.usage import perplexity, usage

__all__ = [
    "CodeSums",
    "Entropies",
    "KMeans",
    "RotatedCodes",
    "balanced_rotation",
    "code_entropies",
    "code_sums",
    "codebook_loss",
    "commitment_loss",
    "cross_entropy_loss",
    "diveq",
    "diversity_loss",
    "gumbel_straight_through",
    "index_backpropagation",
    "kmeans",
    "lookup",
    "nearest",
    "noise_substitution",
    "optimised_product",
    "orthogonal_loss",
    "perplexity",
    "rotation_trick",
    "sample_codes",
    "sinkhorn_assignment",
    "straight_through",
    "synchronous",
    "usage",
]
