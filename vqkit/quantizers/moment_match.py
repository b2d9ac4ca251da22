"""A penalty on a batch's moments, as a policy. The moments are ``functional.moments``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.functional.moments import Moments
from vqkit.shapes import check_number


@dataclass(frozen=True)
class MomentMatch:
    """Σ_m w_m · mean_D (moment_m − target_m)², over mean, variance, skewness and excess kurtosis (VP-VAE,
    arXiv:2602.17133).

    Moments without rows to tell them cost nothing: the mean counts from one row on, the others from two.

    Args:
        mean, variance, skewness, kurtosis: the targets. weights: the four w_m.
    """

    mean: float = 0.0
    variance: float = 1.0
    skewness: float = 0.0
    kurtosis: float = 0.0
    weights: tuple[float, float, float, float] = (0.1, 0.07, 0.0, 0.0)

    def __post_init__(self) -> None:
        for name in ("mean", "skewness", "kurtosis"):
            check_number(name, getattr(self, name))
        check_number("variance", self.variance, 0)
        if not isinstance(self.weights, Sequence) or isinstance(self.weights, str):
            raise bad_type("weights", "four numbers", self.weights)
        if len(self.weights) != 4:
            raise bad_value("weights", "four numbers", self.weights)
        for weight in self.weights:
            check_number("weights", weight, 0)

    def __call__(self, found: Moments) -> Tensor:
        """The penalty, () float32."""
        targets = (self.mean, self.variance, self.skewness, self.kurtosis)
        loss = found.mean.new_zeros(())
        for moment, target, weight, needed in zip(found[1:], targets, self.weights, (1, 2, 2, 2), strict=True):
            if weight:
                loss = loss + weight * torch.where(found.rows >= needed, (moment - target).square().mean(), 0)
        return loss.float()


# The variances of the distributions whose CDF squashes: logistic of scale ½, logistic, Laplace; Cauchy has none.
NORMS = {
    "none": MomentMatch(weights=(0.0, 0.0, 0.0, 0.0)),
    "var": MomentMatch(),
    "kurt": MomentMatch(weights=(0.1, 0.07, 0.06, 0.05)),
    "var_tanh": MomentMatch(variance=math.pi**2 / 12),
    "var_sigmoid": MomentMatch(variance=math.pi**2 / 3),
    "var_laplace": MomentMatch(variance=2.0),
}
NORM_OF = {"tanh": "var_tanh", "sigmoid": "var_sigmoid", "normal": "var", "laplace": "var_laplace", "cauchy": "none"}
