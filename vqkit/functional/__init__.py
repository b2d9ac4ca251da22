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
from vqkit.functional.resample import area_down, upsample
from vqkit.functional.sampling import gumbel_straight_through, sample_codes
from vqkit.functional.usage import perplexity, usage

__all__ = [
    "CodeSums",
    "KMeans",
    "area_down",
    "code_sums",
    "codebook_loss",
    "commitment_loss",
    "cross_entropy_loss",
    "diveq",
    "diversity_loss",
    "gumbel_straight_through",
    "kmeans",
    "lookup",
    "nearest",
    "noise_substitution",
    "orthogonal_loss",
    "perplexity",
    "rotation_trick",
    "sample_codes",
    "straight_through",
    "synchronous",
    "upsample",
    "usage",
]
