"""What a quantizer's forward returns."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Quantized(NamedTuple):
    """quantized: the shape and dtype of the input. indices: int64, −1 where a row does not count. loss: () float32."""

    quantized: Tensor
    indices: Tensor
    loss: Tensor


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
