"""``LFQ``: the signs of a vector are its code; entropies instead of a table."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, overload

import torch
from torch import Tensor
from torch.nn import functional as F

from vqkit import distributed, functional
from vqkit.codebook.window import UsageWindow
from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.functional.bits import INDEX_BITS
from vqkit.functional.entropy import TABLE_BITS
from vqkit.kernels.reference.unit import unit
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import StraightThrough, estimate
from vqkit.quantizers.flags import check_details
from vqkit.quantizers.output import EntropyBreakdown, Quantized, QuantizedWithEntropies
from vqkit.quantizers.projections import CosineLinear, OrthogonalMap, Projections
from vqkit.shapes import MOST_COLUMNS, check_int, check_number

_DETAILS = {
    "entropy_loss_offset": ("experimental_softplus_entropy_loss", 5.0),
    "cosine_sim_project_in_scale": ("cosine_sim_project_in", None),
}


class _Sums(NamedTuple):
    """Of a rank's rows: the soft counts of codes (H, K), the entropy of those ``drawn`` for it, squared distances."""

    mass: Tensor
    entropy: Tensor
    drawn: Tensor
    squared: Tensor
    rows: Tensor


class _Made(NamedTuple):
    step: Step
    breakdown: EntropyBreakdown


@registered
class LFQ(Quantizer):
    """Lookup-free quantization: every code is a corner of {−s, s}^d, and the nearest one is the signs (Yu et al. 2023,
    arXiv:2310.05737).

    ``forward(x)`` returns ``quantized`` (the shape and dtype of ``x``), ``indices`` (int64 in [0, 2^d), first bit most
    significant, with a last axis of codebooks if there are several) and ``loss`` (() float32), the weighted sum of

    - H_row, a row's mean entropy over the codes, to be low: Σ over the bits, in closed form;
    - H_batch, the entropy of all rows' mean distribution over the codes, to be high (over all ranks in training);
    - commitment, mean |x − sg(q)|², over all ranks alike.

    A softmax over the codes, at the inverse temperature T, is what the entropies are of: ``functional.entropy``. Both
    are exact, without a clamp of small probabilities, up to 24 bits; beyond, ``entropy_group_size`` splits the bits.

    The entropies move values within about 1.5/(T·s) of zero, and no others: T must be low enough to reach the ±s where
    the commitment holds them. Without commitment they run off, with much of it or at T = 100 their signs freeze; either
    way the codebook collapses. The defaults are measured (``docs/defaults.md``).

    Args:
        dim: width of the input; by default d · num_codebooks. codebook_size: 2^d, d <= 62; by default 2^dim. Linear
            projections go in and out where ``dim`` differs from d · num_codebooks.
        entropy_loss_weight: of the entropies together. diversity_gamma: of H_batch within.
        sample_minimization_weight: of H_row within. batch_maximization_weight: in place of ``diversity_gamma``.
        entropy_group_size: H_batch as the sum over groups of so many bits, a divisor of d: an upper bound, exact for
            groups that are independent.
        commitment_loss_weight: of the commitment.
        straight_through_activation: a function of x whose gradient is taken in place of the identity's.
        num_codebooks: slices of the (projected) input, each with its own index.
        keep_num_codebooks_dim: an axis of codebooks also when there is one.
        codebook_scale: s.
        frac_per_sample_entropy: in training, estimate both entropies from this share of all rows, drawn at random.
        has_projections: True: project also where widths agree. projection_has_bias: with biases.
        soft_clamp_input_value: a >= s; x becomes a·tanh(x/a).
        cosine_sim_project_in: project in by cosines. cosine_sim_project_in_scale: times this, s by default.
        channel_first: the axis of channels is the second (True) or the last (False); None: last up to rank 3, second
            from rank 4 on.
        experimental_softplus_entropy_loss: softplus(entropy terms + offset), which is positive.
        entropy_loss_offset: that offset.
        spherical: x and codes on the sphere of radius s, codes ±s/√d (see ``BSQ``).
        orthogonal_rotation: round in randomly rotated axes, a rotation of each codebook's slice drawn once.
        inv_temperature: T, where a call gives none.
        usage_window: training rows over which usage and perplexity are counted.

    Example:
        >>> import torch
        >>> lfq = LFQ(codebook_size=65536, dim=16, entropy_loss_weight=0.1, diversity_gamma=1.0)
        >>> quantized, indices, entropy_loss = lfq(torch.randn(1, 16, 32, 32), inv_temperature=100.0)
        >>> quantized.shape, indices.shape, entropy_loss.shape
        (torch.Size([1, 16, 32, 32]), torch.Size([1, 32, 32]), torch.Size([]))
        >>> bool((quantized == lfq.indices_to_codes(indices)).all())
        True
    """

    def __init__(
        self,
        *,
        dim: int | None = None,
        codebook_size: int | None = None,
        entropy_loss_weight: float = 0.02,
        commitment_loss_weight: float = 0.01,
        diversity_gamma: float = 1.0,
        sample_minimization_weight: float = 1.0,
        batch_maximization_weight: float | None = None,
        entropy_group_size: int | None = None,
        straight_through_activation: Callable[[Tensor], Tensor] | None = None,
        num_codebooks: int = 1,
        keep_num_codebooks_dim: bool | None = None,
        codebook_scale: float = 1.0,
        frac_per_sample_entropy: float = 1.0,
        has_projections: bool | None = None,
        projection_has_bias: bool = True,
        soft_clamp_input_value: float | None = None,
        cosine_sim_project_in: bool = False,
        cosine_sim_project_in_scale: float | None = None,
        channel_first: bool | None = None,
        experimental_softplus_entropy_loss: bool = False,
        entropy_loss_offset: float = 5.0,
        spherical: bool = False,
        orthogonal_rotation: bool = False,
        inv_temperature: float = 3.0,
        usage_window: int = 65_536,
    ):
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__") and v is not None}
        bits = bits_of(dim, codebook_size)
        inner = bits * check_int("num_codebooks", num_codebooks, maximum=MOST_COLUMNS)
        check_details(_DETAILS, given)
        super().__init__(inner if dim is None else dim, None if channel_first is None else 1 if channel_first else -1)
        self._arguments = given
        self.codebook_dim, self.codebook_size, self.num_codebooks = bits, 2**bits, num_codebooks
        self.codebook_scale = check_number("codebook_scale", codebook_scale, 0, open_low=True)
        self.magnitude = self.codebook_scale / math.sqrt(bits) if spherical else self.codebook_scale
        self.spherical = spherical
        if keep_num_codebooks_dim is False and num_codebooks > 1:
            raise bad_value("keep_num_codebooks_dim", f"True with {num_codebooks} codebooks", False)
        self._index_by(bits, bool(keep_num_codebooks_dim) or num_codebooks > 1, usage_window)

        cosine_scale = None
        if cosine_sim_project_in:
            cosine_scale = codebook_scale if cosine_sim_project_in_scale is None else cosine_sim_project_in_scale
        self.projections = _projections(self.dim, inner, has_projections, projection_has_bias, cosine_scale)
        self.clamp = soft_clamp_input_value
        if self.clamp is not None:
            check_number("soft_clamp_input_value", self.clamp, self.codebook_scale)
        self.rotation = OrthogonalMap(bits) if orthogonal_rotation else None
        if not (straight_through_activation is None or callable(straight_through_activation)):
            raise bad_type("straight_through_activation", "a function or None", straight_through_activation)
        self.activation = straight_through_activation
        bends = spherical or orthogonal_rotation or self.clamp is not None or self.activation is not None
        self.straight = not (bends or self.projections.projects)

        if batch_maximization_weight is not None and diversity_gamma != 1.0:
            raise ArgumentError("batch_maximization_weight: expected either it or diversity_gamma, got both")
        diversity = diversity_gamma if batch_maximization_weight is None else batch_maximization_weight
        self.entropy_loss_weight = check_number("entropy_loss_weight", entropy_loss_weight, 0)
        self.sample_weight = check_number("sample_minimization_weight", sample_minimization_weight, 0)
        self.batch_weight = check_number("diversity_gamma or batch_maximization_weight", diversity, 0)
        self.commitment_loss_weight = check_number("commitment_loss_weight", commitment_loss_weight, 0)
        self.fraction = check_number("frac_per_sample_entropy", frac_per_sample_entropy, 0, 1, open_low=True)
        self.inv_temperature = check_number("inv_temperature", inv_temperature, 0, open_low=True)
        self.softplus_offset = check_number("entropy_loss_offset", entropy_loss_offset)
        self.softplus = experimental_softplus_entropy_loss
        wanted = self.entropy_loss_weight * self.batch_weight > 0
        self.entropy_bits = group_bits("entropy_group_size", entropy_group_size, bits, wanted)

    def _index_by(self, bits: int, axis: bool, window: int) -> None:
        """Let every index hold so many bits of the row."""
        if bits > INDEX_BITS:
            raise bad_value("codebook_size", f"at most 2^{INDEX_BITS}, what an int64 index holds", f"2^{bits}")
        self.index_bits, self.index_axis = bits, axis
        self.window = UsageWindow(len(self.index_sizes), 2**bits, window)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (2**self.index_bits,) * (self.codebook_dim * self.num_codebooks // self.index_bits)

    # --- forward ----------------------------------------------------------------------------------------------------

    @overload
    def forward(
        self,
        x: Tensor,
        inv_temperature: float | None = ...,
        return_loss_breakdown: Literal[False] = ...,
        *,
        mask: Tensor | None = ...,
        lens: Tensor | None = ...,
        freeze_codebook: bool | None = ...,
    ) -> Quantized: ...
    @overload
    def forward(
        self,
        x: Tensor,
        inv_temperature: float | None = ...,
        *,
        return_loss_breakdown: Literal[True],
        mask: Tensor | None = ...,
        lens: Tensor | None = ...,
        freeze_codebook: bool | None = ...,
    ) -> QuantizedWithEntropies: ...
    def forward(
        self,
        x: Tensor,
        inv_temperature: float | None = None,
        return_loss_breakdown: bool = False,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized | QuantizedWithEntropies:
        """Quantize ``x``: floating point, any rank, ``dim`` channels.

        Args:
            inv_temperature: T of the entropies; the constructor's by default.
            return_loss_breakdown: also return the loss terms by name, before their weights.
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: a frozen forward does not count in ``usage``; nothing else learns here anyway.
        """
        sharpness = self.inv_temperature
        if inv_temperature is not None:
            sharpness = check_number("inv_temperature", inv_temperature, 0, open_low=True)
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        step, breakdown = self._make(rows, valid, sharpness, frozen=freeze_codebook)
        returned = self._returned(step, rows, layout, x.dtype)
        return QuantizedWithEntropies(*returned, breakdown) if return_loss_breakdown else returned

    # --- on rows ----------------------------------------------------------------------------------------------------

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        del more
        return self._make(rows, valid, self.inv_temperature, frozen=frozen, given=given).step

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        return self._signs(*self._enter(rows, valid, count=False))

    def decode_rows(self, indices: Tensor) -> Tensor:
        return self._leave(self._codes(indices))

    def _make(
        self,
        rows: Tensor,
        valid: Tensor,
        inv_temperature: float,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
    ) -> _Made:
        x_NCd, valid = self._enter(rows, valid, count=self.training)
        indices = self._signs(x_NCd, valid) if given is None else torch.where(valid[:, None], given, -1)
        if not frozen:
            self._count_codes(indices)
        q_NCd = self._codes(indices).to(x_NCd.dtype)
        loss, breakdown = self._loss(x_NCd, q_NCd, valid, inv_temperature)

        def through(again: Tensor) -> Tensor:
            x = x_NCd if again is rows else self._enter(again, valid, count=False)[0]
            x = x if self.activation is None else self.activation(x)
            return self._leave(estimate(StraightThrough(), x, q_NCd, training=self.training))

        return _Made(Step(self._leave(q_NCd), indices, loss, valid, through), breakdown)

    def _enter(self, rows: Tensor, valid: Tensor, *, count: bool) -> tuple[Tensor, Tensor]:
        """Rows (N, dim) as the vectors (N, C, d) whose signs are taken, and which of them count."""
        x = self.projections.inward(rows)
        x = x if x.dtype == torch.float64 else x.float()
        if self.clamp is not None:
            x = (x / self.clamp).tanh() * self.clamp
        x = x.reshape(rows.shape[0], self.num_codebooks, self.codebook_dim)
        x = x if self.rotation is None else self.rotation.turn(x)
        if self.projections.projects or self.rotation is not None:
            x, valid = self._within_float(x, valid, count=count)
        return (unit(x) * self.codebook_scale if self.spherical else x), valid

    def _signs(self, x_NCd: Tensor, valid: Tensor) -> Tensor:
        """Indices (N, I) of the nearest codes; a zero has sign −1, as the lower index."""
        bits = (x_NCd.detach() > 0).reshape(x_NCd.shape[0], len(self.index_sizes), self.index_bits)
        return torch.where(valid[:, None], functional.pack_bits(bits), -1)

    def _codes(self, indices_NI: Tensor) -> Tensor:
        """Codes (N, C, d) float32 of indices (N, I); −1 gives zeros."""
        bits = functional.unpack_bits(indices_NI, self.index_bits).float()
        codes = torch.where((indices_NI >= 0)[..., None], bits * (2 * self.magnitude) - self.magnitude, 0)
        return codes.reshape(indices_NI.shape[0], self.num_codebooks, self.codebook_dim)

    def _leave(self, q_NCd: Tensor) -> Tensor:
        """(N, C, d) to (N, dim)."""
        q = q_NCd if self.rotation is None else self.rotation.back(q_NCd)
        return self.projections.outward(q.flatten(1))

    # --- loss -------------------------------------------------------------------------------------------------------

    def _loss(self, x: Tensor, q: Tensor, valid: Tensor, inv_temperature: float) -> tuple[Tensor, EntropyBreakdown]:
        """The weighted sum () float32 and its terms, means over the rows of all ranks and over the codebooks."""
        sums = self._sums(x, q, valid, inv_temperature)
        if self.training:  # an evaluation may be one rank's own affair
            sums = _Sums(*distributed.summed_with_gradient(sums))
        drawn, wanted = sums.drawn.clamp(min=1), self.entropy_loss_weight * self.batch_weight > 0
        per_sample = (sums.entropy / drawn / self.num_codebooks).float()
        batch = functional.entropy(sums.mass / drawn).sum() if wanted else sums.mass
        batch = (batch / self.num_codebooks).float()
        commitment = (sums.squared / sums.rows.clamp(min=1) / math.prod(x.shape[1:])).float()
        entropies = self.sample_weight * per_sample - self.batch_weight * batch
        entropies = F.softplus(entropies + self.softplus_offset) if self.softplus else entropies
        loss = self.entropy_loss_weight * entropies + self.commitment_loss_weight * commitment
        return loss, EntropyBreakdown(per_sample, batch, commitment)

    def _sums(self, x_NCd: Tensor, q_NCd: Tensor, valid: Tensor, inv_temperature: float) -> _Sums:
        """What the terms are made of, of these rows; zero where nothing is weighted by it."""
        rows = valid.sum().to(x_NCd.dtype)
        mass = entropy = squared = torch.zeros_like(rows)
        x, counted = self._drawn(x_NCd, valid)
        if self.entropy_loss_weight:
            logits_NCd = functional.code_bit_logits(x, self.magnitude, inv_temperature)
            if self.sample_weight:
                entropy = torch.where(counted, functional.bit_entropy(logits_NCd).flatten(1).sum(1), 0).sum()
            if self.batch_weight:
                groups_NHg = logits_NCd.flatten(1).unflatten(1, (-1, self.entropy_bits))
                mass = functional.code_mass(groups_NHg.transpose(0, 1), counted)
        if self.commitment_loss_weight:
            squared = torch.where(valid, (x_NCd - q_NCd.detach()).square().flatten(1).sum(1), 0).sum()
        return _Sums(mass, entropy, counted.sum().to(x.dtype), squared, rows)

    def _drawn(self, x: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The rows that the entropies are estimated from."""
        if self.fraction == 1 or not self.training:
            return x, valid
        drawn = torch.randperm(x.shape[0], device=x.device)[: math.ceil(self.fraction * x.shape[0])]
        return x[drawn], valid[drawn]


def bits_of(dim: int | None, codebook_size: int | None) -> int:
    """d, of 2^d codes."""
    if codebook_size is None:
        if dim is None:
            raise ArgumentError("dim, codebook_size: expected at least one of them, got neither")
        return check_int("dim", dim, maximum=MOST_COLUMNS)
    bits = check_int("codebook_size", codebook_size, 2).bit_length() - 1
    if codebook_size != 2**bits:
        raise bad_value("codebook_size", "a power of two", codebook_size)
    return bits


def _projections(dim: int, inner: int, wanted: bool | None, bias: bool, cosine_scale: float | None) -> Projections:
    if wanted is False and dim != inner:
        raise bad_value("has_projections", f"True between widths {dim} and {inner}", False)
    projections = Projections(dim, inner, bias=bias, always=bool(wanted))
    if cosine_scale is not None:
        if not projections.projects:
            raise bad_value("cosine_sim_project_in", "False without a projection", True)
        check_number("cosine_sim_project_in_scale", cosine_scale, 0, open_low=True)
        projections.project_in = CosineLinear(dim, inner, cosine_scale)
    return projections


def group_bits(name: str, size: int | None, bits: int, wanted: bool) -> int:
    """The bits that one table of the batch entropy spans, of an argument ``name`` that may group them."""
    if size is not None and (bits % check_int(name, size) or size > TABLE_BITS):
        raise bad_value(name, f"a divisor of the {bits} bits, at most {TABLE_BITS}", size)
    if size is None and bits > TABLE_BITS and wanted:
        expected = f"the size of groups of bits, as an exact batch entropy takes at most {TABLE_BITS} bits,"
        raise ArgumentError(f"{name}: expected {expected} got None with {bits} bits")
    return size or bits
