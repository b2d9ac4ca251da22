"""Finite scalar perturbation: coordinates as probabilities under a distribution, rounded to bins of equal probability,
and in training perturbed within a bin's width in place of it (VP-VAE, arXiv:2602.17133).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.shapes import check_choice, check_float, check_indices, check_number, check_shape

DISTRIBUTIONS = ("tanh", "sigmoid", "normal", "laplace", "cauchy")


def cdf(x: Tensor, distribution: str) -> Tensor:
    """P(X <= x) under a distribution: any shape to numbers in [0, 1] of that shape and dtype.

    ``"tanh"`` (tanh x + 1)/2, the logistic distribution of scale ½; ``"sigmoid"``, the logistic; ``"normal"``,
    ``"laplace"`` and ``"cauchy"`` in their standard forms.

    >>> import torch
    >>> cdf(torch.tensor([-1.0, 0.0, 1.0]), "cauchy").tolist()
    [0.25, 0.5, 0.75]
    """
    check_float("x", x)
    check_choice("distribution", distribution, DISTRIBUTIONS)
    if distribution == "tanh":
        return (2 * x).sigmoid()
    if distribution == "sigmoid":
        return x.sigmoid()
    if distribution == "normal":
        return torch.special.ndtr(x)
    if distribution == "laplace":
        # Each side's exponent is kept from overflowing on the other, where its gradient would be inf · 0.
        return torch.where(x < 0, x.clamp(max=0).exp() / 2, 1 - (-x.clamp(min=0)).exp() / 2)
    return x.atan() / math.pi + 0.5


def inverse_cdf(p: Tensor, distribution: str) -> Tensor:
    """The x with P(X <= x) = p, the inverse of ``cdf``; at 0 and 1 ∓inf, or for Cauchy ∓1/ε.

    >>> import torch
    >>> round(inverse_cdf(torch.tensor(0.25), "laplace").item(), 4)  # −ln 2
    -0.6931
    """
    check_float("p", p)
    check_choice("distribution", distribution, DISTRIBUTIONS)
    if distribution == "tanh":
        return p.logit() / 2
    if distribution == "sigmoid":
        return p.logit()
    if distribution == "normal":
        return torch.special.ndtri(p)
    if distribution == "laplace":
        return torch.where(p < 0.5, (2 * p).log(), -(2 * (1 - p)).log())
    # π/2 rounds up to beyond the pole, where the tangent has the other sign.
    return ((p - 0.5) * math.pi).tan().abs().copysign(p - 0.5)


def bin_levels(p: Tensor, levels: Tensor) -> Tensor:
    """The numbers of the bins that probabilities (..., D) fall into, int64 in [0, L), of L of equal width each.

    >>> import torch
    >>> bin_levels(torch.tensor([[0.0, 0.5], [0.3, 1.0]]), torch.tensor([4, 4])).tolist()
    [[0, 2], [1, 3]]
    """
    _check(p, levels)
    numbers = (p.detach() * levels).floor().clamp(min=0)
    return torch.minimum(numbers, (levels - 1).to(numbers.dtype)).long()


def bin_centres(numbers: Tensor, levels: Tensor) -> Tensor:
    """The probabilities in the middle of bins (..., D): (l + ½)/L, float32.

    >>> import torch
    >>> bin_centres(torch.tensor([[0, 3]]), torch.tensor([4, 4])).tolist()
    [[0.125, 0.875]]
    """
    check_shape("levels", check_indices("levels", levels), ("D",))
    check_shape("numbers", check_indices("numbers", numbers), ("...", levels.shape[0]))
    return (numbers.float() + 0.5) / levels


def perturb(p: Tensor, levels: Tensor, quantize_rate: float = 0.0) -> tuple[Tensor, Tensor]:
    """Probabilities to train with in place of bin centres (arXiv:2602.17133).

    With probability ``quantize_rate`` the centre of the bin; else p + U(−½, ½)/L, of the width of a bin and as near to
    p as its centre is, or p as it is where that leaves (0, 1).

    Args:
        p: probabilities (..., D). levels: (D,) int64, bins of each coordinate. quantize_rate: in [0, 1].

    Returns:
        probabilities (..., D) without gradient, and bool (..., D), whether the perturbation stayed within (0, 1).

    Example:
        >>> import torch
        >>> p, levels = torch.tensor([[0.3, 0.9]]), torch.tensor([4, 2])
        >>> perturb(p, levels, quantize_rate=1.0)[0].tolist()
        [[0.375, 0.75]]
        >>> (perturb(p, levels)[0] - p).abs() <= 0.5 / levels
        tensor([[True, True]])
    """
    _check(p, levels)
    check_number("quantize_rate", quantize_rate, 0, 1)
    p = p.detach()
    moved = p + (torch.rand_like(p) - 0.5) / levels
    accepted = (moved > 0) & (moved < 1)
    centre = bin_centres(bin_levels(p, levels), levels).to(p.dtype)
    kept = torch.rand_like(p) >= quantize_rate
    return torch.where(kept, torch.where(accepted, moved, p), centre), accepted


def _check(p: Tensor, levels: Tensor) -> None:
    check_shape("levels", check_indices("levels", levels), ("D",))
    check_shape("p", check_float("p", p), ("...", levels.shape[0]))
