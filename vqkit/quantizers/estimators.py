"""Estimators as policies: how gradients cross the rounding. The maths is in ``functional.estimators``.

``stochastic`` ones return something else than a code, so they act in training alone; in eval the value is the code and
the gradient goes straight through.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, cast

import torch
from torch import Tensor

from vqkit import functional
from vqkit.errors import bad_type, bad_value
from vqkit.shapes import check_flag, check_number


class Estimator(Protocol):
    """How gradients cross the rounding."""

    @property
    def stochastic(self) -> bool:
        """Whether the training output is something else than the code."""
        ...

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        """Encoder vectors and their codes, (..., D) each, to the quantized vectors."""
        ...


def check_estimator(name: str, value: object) -> Estimator:
    """Return ``value`` if it is an estimator, and not the class of one."""
    if isinstance(value, type) or not callable(value) or not hasattr(value, "stochastic"):
        raise bad_type(name, "an estimator of vqkit.quantizers, such as Rotation()", value)
    return cast("Estimator", value)


def estimate(estimator: Estimator, x: Tensor, q: Tensor, *, training: bool) -> Tensor:
    """The quantized vectors with the estimator's gradient; outside training the code itself, the gradient of a
    stochastic estimator going straight through.
    """
    if training:
        return estimator(x, q)
    if not (torch.is_grad_enabled() and x.requires_grad):
        return q
    return functional.straight_through(x, q) if estimator.stochastic else estimator(x, q)


def refuse_estimator(estimator: object, why: str) -> None:
    """Raise for a quantizer whose gradient is its own, saying why."""
    if estimator is not None:
        raise bad_value("estimator", f"None, since {why}", estimator)


@dataclass(frozen=True)
class StraightThrough:
    """The gradient passes unchanged."""

    stochastic = False

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return functional.straight_through(x, q.detach())


@dataclass(frozen=True)
class Rotation:
    """The gradient is turned and scaled as the vector was (the rotation trick)."""

    stochastic = False

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return functional.rotation_trick(x, q.detach())


@dataclass(frozen=True)
class DiVeQ:
    """The distance to the code along a noisy direction; the codebook learns from the task's own loss."""

    variance: float = 5e-3
    stochastic = True

    def __post_init__(self) -> None:
        check_number("variance", self.variance, 0)

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return functional.diveq(x, q, self.variance)


@dataclass(frozen=True)
class NoiseSubstitution:
    """The error replaced by noise of its length (NSVQ); the codebook learns from the task's own loss."""

    stochastic = True

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        return functional.noise_substitution(x, q)


@dataclass(frozen=True)
class GumbelStraightThrough:
    """The code drawn (with ``noise``) or nearest, the gradient of the softmax over all codes; reaches x and learned
    codes.
    """

    temperature: float = 1.0
    noise: bool = True
    stochastic = False

    def __post_init__(self) -> None:
        check_flag("noise", self.noise)
        check_number("temperature", self.temperature, 0, open_low=True)

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        """Outside training there is nothing to draw: straight through."""
        return functional.straight_through(x, q.detach())


@dataclass(frozen=True)
class IndexBackpropagation:
    """The best code; the gradient of its one-hot at the codes, of the softmax over all codes elsewhere (IBQ)."""

    temperature: float = 1.0
    stochastic = False

    def __post_init__(self) -> None:
        check_number("temperature", self.temperature, 0, open_low=True)

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        """Outside training: straight through."""
        return functional.straight_through(x, q.detach())


@dataclass(frozen=True)
class NoGradient:
    """The bare code: nothing reaches the encoder but the loss terms."""

    stochastic = False

    def __call__(self, x: Tensor, q: Tensor) -> Tensor:
        del x
        return q
