"""What a quantizer's forward returns."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from vqkit.functional.moments import Moments


class Quantized(NamedTuple):
    """quantized: the shape and dtype of the input. indices: int64, −1 where a row does not count. loss: () float32."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor


class QuantizedIndices(NamedTuple):
    """``Quantized`` without a loss. indices: None where the quantizer was told to return none."""

    quantized: Tensor
    indices: Tensor | Any  # not ``| None``: who asked for indices need not rule None out


class QuantizedIndicesWithCodes(NamedTuple):
    """``QuantizedIndices`` with each stage's code, (Q, ...) before the projection out."""

    quantized: Tensor
    indices: Tensor
    all_codes: Tensor


class PerturbedInfo(NamedTuple):
    """What FSP knows of a step besides its output.

    level_indices: int64, the shape of the indices with a last axis of coordinates. moments: of the coordinates.
    accept_rate: () float32, the share of perturbations that stayed within the range; 1 where nothing is perturbed.
    """

    level_indices: Tensor
    moments: Moments
    accept_rate: Tensor


class QuantizedWithInfo(NamedTuple):
    """``Quantized`` with what else FSP knows of the step."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    info: PerturbedInfo


class LossBreakdown(NamedTuple):
    """The terms of the loss before their weights, each () float32; zero for a term that is off."""

    commitment: Tensor
    codebook: Tensor
    codebook_diversity: Tensor
    orthogonal_reg: Tensor
    cross_entropy: Tensor


class QuantizedWithBreakdown(NamedTuple):
    """``Quantized`` with the loss terms by name."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    loss_breakdown: LossBreakdown


class QuantizedWithCodes(NamedTuple):
    """``Quantized`` with each stage's code, (Q, ...) before the projection out."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    all_codes: Tensor


class EntropyBreakdown(NamedTuple):
    """The terms of a binary quantizer's loss before their weights, each () float32; zero for a term that is off.

    per_sample_entropy: mean entropy, in nats, of a row's codes. batch_entropy: that of the codes of all rows together.
    """

    per_sample_entropy: Tensor
    batch_entropy: Tensor
    commitment: Tensor


class QuantizedWithEntropies(NamedTuple):
    """``Quantized`` with a binary quantizer's loss terms by name."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor
    loss_breakdown: EntropyBreakdown
