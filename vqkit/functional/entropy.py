"""Exact entropies of the codes of a binary quantizer, without a table of rows by codes.

A row x meets the codes {−s, s}^d. Softmax over their distances at inverse temperature T gives code c the probability
∝ exp(2T x·c) = Π exp(2T xᵢcᵢ): the bits are independent, and bit i is one with probability σ(4Ts xᵢ). All that follows
is said in these logits ℓᵢ = 4Ts xᵢ. (Yu et al. 2023, arXiv:2310.05737; the factorised form: Zhao et al.
2024, arXiv:2406.07548.)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.kernels import ops
from vqkit.kernels.tracing import blocks, exporting
from vqkit.shapes import check_float, check_number, check_shape, check_tensor

TABLE_BITS = 24
"""Bits of the largest table of codes: 2^24 probabilities, 64 MiB."""
VALUES_PER_BLOCK = 2**20
SATURATED = 1000.0  # σ(−1000) is an exact zero, in float64 too


def code_bit_logits(x: Tensor, magnitude: float = 1.0, inv_temperature: float = 100.0) -> Tensor:
    """ℓ = 4Ts·x: the logits of the bits when rows are softly assigned to the codes {−s, s}^d by distance.

    Args:
        x: (..., d), float32 or float64. magnitude: s. inv_temperature: T; the probabilities are softmax(−T|x − c|²).

    Returns:
        (..., d), within ±1000, where the sigmoid has long become 0 or 1.

    Example:
        >>> import torch
        >>> code_bit_logits(torch.tensor([0.5, -0.1]), inv_temperature=1.0)
        tensor([ 2.0000, -0.4000])
    """
    check_float("x", x)
    scale = 4 * check_number("magnitude", magnitude, 0) * check_number("inv_temperature", inv_temperature, 0)
    return (x * scale).clamp(-SATURATED, SATURATED)


class _BitEntropy(torch.autograd.Function):
    """Written so that neither value nor slope is a difference of nearly equal numbers."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        ctx.save_for_backward(logits)
        size = logits.abs()
        return F.softplus(-size) + size * torch.sigmoid(-size)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (logits,) = ctx.saved_tensors
        return -grad * logits * torch.sigmoid(logits) * torch.sigmoid(-logits)


def bit_entropy(logits: Tensor) -> Tensor:
    """H(σ(ℓ)) in nats, each finite entry by itself: (...) to (...). Summed over the bits of a row it is the entropy of
    the row over all codes.

    >>> import torch
    >>> bit_entropy(torch.tensor([0.0, 50.0]))  # ln 2; and 51·exp(−50)
    tensor([6.9315e-01, 9.8366e-21])
    """
    return _BitEntropy.apply(check_float("logits", logits))  # pyright: ignore[reportReturnType]


def _chances(logits: Tensor) -> Tensor:
    """The probabilities of zero and of one of each bit, (..., 2): small ones too are right to their last digits."""
    return torch.sigmoid(torch.stack([-logits, logits], -1))


def _again(logits: Tensor, chances: Tensor) -> Tensor:
    """``chances`` in backward; where that is itself to be differentiated, made anew from what has a gradient."""
    return _chances(logits) if torch.is_grad_enabled() else chances


def _table(chances: Tensor, weight: Tensor | None = None) -> Tensor:
    """``code_probabilities`` by ``_chances`` (..., k, 2), times ``weight`` (...), which is one or zero."""
    least = torch.finfo(chances.dtype).eps ** 2
    bits = F.threshold(chances, least, 0)
    if weight is not None:
        bits[..., 0, :] *= weight[..., None]
    return ops.bit_table(bits.flatten(0, -3), least).unflatten(0, chances.shape[:-2])


def _through_table(chances: Tensor, table: Tensor, slope: Tensor) -> Tensor:
    """The gradient at the logits (..., k) of a table of ``code_probabilities`` (..., 2^k) that has gradient
    ``slope``.

    A code's probability has slope p·(1 − σ(ℓ)) where its bit is one and −p·σ(ℓ) where not. The two sums are kept
    apart: for a saturated bit both are small, and their difference is all there is.
    """
    ones, zeros = ops.bit_sums(table.flatten(0, -2), slope.flatten(0, -2))
    off, on = chances.unbind(-1)
    return off * ones.view(off.shape) - on * zeros.view(on.shape)


class _Probabilities(torch.autograd.Function):
    """The table is made again in backward, not kept with all its halves."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor) -> Tensor:
        chances = _chances(logits)
        ctx.save_for_backward(logits, chances)
        return _table(chances[None])[0]

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        with torch.autocast(slope.device.type, enabled=False):
            chances = _again(*ctx.saved_tensors)[None]
            return _through_table(chances, _table(chances), slope[None])[0]


def code_probabilities(logits: Tensor) -> Tensor:
    """The probability of every code, Π σ(±ℓ): (..., d) to (..., 2^d), codes by index, first bit most significant.

    What is below ε² of the dtype is set to zero: beside one it is nothing, and as a subnormal it would cost dearly.

    >>> import torch
    >>> code_probabilities(torch.tensor([0.0, torch.inf]))
    tensor([0.0000, 0.5000, 0.0000, 0.5000])
    """
    check_shape("logits", check_float("logits", logits), ("...", "d"))
    return _Probabilities.apply(logits)  # pyright: ignore[reportReturnType]


def _mass_blocks(chances_HNd2: Tensor) -> tuple[int, list[slice]]:
    """The bits of the first half, and slices of rows."""
    H, N, d, _ = chances_HNd2.shape
    return d // 2, blocks(N, max(16, VALUES_PER_BLOCK // (H * 2 ** (d - d // 2))))


def _mass(logits_HNd: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """AᵀB (H, 2^d) by blocks of rows, A and B the tables of either half of the bits; and the rows' ``_chances``."""
    H, _, d = logits_HNd.shape
    with torch.autocast(logits_HNd.device.type, enabled=False):
        chances_HNd2 = _chances(logits_HNd)
        half, slices = _mass_blocks(chances_HNd2)
        mass = logits_HNd.new_zeros(H, 2**half, 2 ** (d - half))
        for rows in slices:
            chances = chances_HNd2[:, rows]
            mass.baddbmm_(_table(chances[..., :half, :]).mT, _table(chances[..., half:, :], weight_N[rows]))
    return mass.flatten(1), chances_HNd2


def _mass_slope(grad: Tensor, logits_HNd: Tensor, chances_HNd2: Tensor, weight_N: Tensor, mass_HK: Tensor) -> Tensor:
    """The gradient at the logits (H, N, d), the tables made anew."""
    H, _, d = logits_HNd.shape
    half, slices = _mass_blocks(chances_HNd2)
    # A slope shared by all codes moves nothing; without the one shared by those in use, differences round less.
    shared = (grad * mass_HK).sum(1, keepdim=True) / mass_HK.sum(1, keepdim=True).clamp(min=1)
    slope = (grad - shared).reshape(H, 2**half, 2 ** (d - half))
    out = torch.empty_like(logits_HNd)
    with torch.autocast(grad.device.type, enabled=False):
        for rows in slices:
            upper, lower = chances_HNd2[:, rows, :half], chances_HNd2[:, rows, half:]
            first, second = _table(upper), _table(lower, weight_N[rows])
            if half:
                out[:, rows, :half] = _through_table(upper, first, second @ slope.mT)
            out[:, rows, half:] = _through_table(lower, second, first @ slope)
    return out


class _CodeMass(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits_HNd: Tensor, weight_N: Tensor) -> Tensor:
        mass_HK, chances_HNd2 = _mass(logits_HNd, weight_N)
        ctx.save_for_backward(logits_HNd, chances_HNd2, weight_N, mass_HK)
        return mass_HK

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        logits_HNd, chances_HNd2, weight_N, mass_HK = ctx.saved_tensors
        return _mass_slope(grad, logits_HNd, _again(logits_HNd, chances_HNd2), weight_N, mass_HK), None


@torch.library.custom_op("vqkit::code_mass", mutates_args=())
def _mass_op(logits_HNd: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:
    """``_mass`` as one node, whose blocks no number of rows unrolls."""
    return _mass(logits_HNd, weight_N)


@_mass_op.register_fake
def _(logits_HNd: Tensor, weight_N: Tensor) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    H, N, d = logits_HNd.shape
    return logits_HNd.new_empty(H, 2**d), logits_HNd.new_empty(H, N, d, 2)


@torch.library.custom_op("vqkit::code_mass_backward", mutates_args=())
def _mass_slope_op(grad: Tensor, logits: Tensor, chances: Tensor, weight: Tensor, mass: Tensor) -> Tensor:
    """``_mass_slope`` as one node."""
    return _mass_slope(grad, logits, chances, weight, mass)


@_mass_slope_op.register_fake
def _(grad: Tensor, logits: Tensor, chances: Tensor, weight: Tensor, mass: Tensor) -> Tensor:  # noqa: ARG001
    return torch.empty_like(logits)


def _remember(ctx: Any, inputs: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(inputs[0], output[1], inputs[1], output[0])


def _mass_backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, None]:
    return _mass_slope_op(grad, *ctx.saved_tensors), None


_mass_op.register_autograd(_mass_backward, setup_context=_remember)


def code_mass(logits: Tensor, valid: Tensor | None = None) -> Tensor:
    """Σₙ p(code | row n): the soft count of rows that each of the 2^d codes draws.

    p(code | row) is a product over bits, so with the rows' tables A and B of either half of the bits (N × 2^(d/2) each)
    the sum is AᵀB: one matrix product, and never N × 2^d. Forward and backward work in blocks of rows.

    Args:
        logits: (N, d) or (H, N, d), d <= 24; half types are computed in float32.
        valid: (N,) bool, the rows that count; None: all.

    Returns:
        (2^d,) or (H, 2^d), codes by index, first bit most significant. Divided by the number of rows that count it is
        their mean distribution, whose ``entropy`` is that of the codebook.

    Raises:
        ArgumentError: more bits than a table should hold; split them, and sum the entropies of the groups.

    Example:
        >>> import torch
        >>> mass = code_mass(torch.zeros(3, 18))
        >>> mass.shape, round(entropy(mass / 3).item(), 3)  # 18 ln 2
        (torch.Size([262144]), 12.477)
    """
    check_float("logits", logits)
    if logits.ndim not in (2, 3):
        raise bad_value("logits", "shape (N, d) or (H, N, d)", f"shape {tuple(logits.shape)}")
    logits_HNd = logits if logits.ndim == 3 else logits[None]
    logits_HNd = logits_HNd if logits.dtype == torch.float64 else logits_HNd.float()
    _, N, d = logits_HNd.shape
    if not 1 <= d <= TABLE_BITS:
        raise bad_value("logits", f"1 to {TABLE_BITS} bits in one table, more of them as groups along H", f"{d} bits")
    weight_N = torch.ones_like(logits_HNd[0, :, 0])
    if valid is not None:
        if check_tensor("valid", valid).dtype != torch.bool:
            raise bad_type("valid", "a bool tensor", valid.dtype)
        weight_N = check_shape("valid", valid, (N,)).to(logits_HNd.dtype)
    compiled = torch.compiler.is_compiling() and not exporting()
    mass: Any = _mass_op(logits_HNd, weight_N)[0] if compiled else _CodeMass.apply(logits_HNd, weight_N)
    return mass if logits.ndim == 3 else mass[0]


def entropy(share: Tensor) -> Tensor:
    """−Σ p ln p along the last axis, in nats: (..., K) shares to (...); a share of zero adds nothing and has a finite
    slope.

    >>> import torch
    >>> entropy(torch.tensor([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0]])).abs()
    tensor([0.6931, 0.0000])
    """
    check_shape("share", check_float("share", share), ("...", "K"))
    smallest = torch.finfo(share.dtype).tiny
    return -(share * share.clamp(min=smallest).log()).sum(-1)
