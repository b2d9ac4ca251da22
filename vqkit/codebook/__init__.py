"""The stateful table and its policies: how it begins, learns, and what becomes of dead codes."""

from vqkit.codebook.accumulate import accumulating
from vqkit.codebook.affine import LearnedAffine, RunningAffine
from vqkit.codebook.codebook import Codebook
from vqkit.codebook.fit import codebook_warmup
from vqkit.codebook.in_place import InPlace
from vqkit.codebook.init import EvenlySpaced, KMeansInit, Normal, Uniform
from vqkit.codebook.revive import OnlineClustering, ReplaceRare, ReplaceStale, ReplaceUnused
from vqkit.codebook.update import EMA, Fixed, Gradient
from vqkit.codebook.window import UsageWindow, load_usage_state, usage_state

__all__ = [
    "EMA",
    "Codebook",
    "EvenlySpaced",
    "Fixed",
    "Gradient",
    "InPlace",
    "KMeansInit",
    "LearnedAffine",
    "Normal",
    "OnlineClustering",
    "ReplaceRare",
    "ReplaceStale",
    "ReplaceUnused",
    "RunningAffine",
    "Uniform",
    "UsageWindow",
    "accumulating",
    "codebook_warmup",
    "load_usage_state",
    "usage_state",
]
