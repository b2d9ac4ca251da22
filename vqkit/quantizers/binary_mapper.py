"""``BinaryMapper``: logits to sampled bits, and those to a one-hot."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from vqkit import functional
from vqkit.codebook.window import UsageWindow
from vqkit.errors import bad_value
from vqkit.functional.losses import masked_mean
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.output import Quantized
from vqkit.shapes import check_int, check_number, check_shape

ONE_HOT_BITS = 16


@registered
class BinaryMapper(Quantizer):
    """Draw H bits from their logits and write them as a one-hot of 2^H (Fleuret 2025, The Free Transformer,
    arXiv:2510.17558).

    Bit b of a row is one with probability σ(ℓ_b/τ); the index is Σ 2^b bit_b, the *first* bit least significant. The
    output is as wide as there are codes, not as the input: this maps, and quantizes nothing to its neighbour.
    ``encode`` gives the likelier code, ℓ > 0, and draws nothing; ``decode`` gives the one-hot.

    ``forward(logits)`` takes (..., bits), channels last, and returns

    - ``quantized``: (..., 2^bits), the one-hot in the dtype of the logits. Its gradient is that of Π σ(±ℓ), every
      code's probability (at τ = 1);
    - ``indices``: (...) int64;
    - ``loss``: () float32, the mean over rows of max(0, KL − threshold), KL(bits ‖ fair coins) = H ln 2 − entropy.

    Args:
        bits: H, at most 16, since the output has 2^H channels. kl_loss_threshold: free nats, ln 2 (one bit).
        deterministic_on_eval: take the likelier bits in eval instead of drawing there, too.
        usage_window: training rows over which usage and perplexity are counted.

    Example:
        >>> import torch
        >>> mapper = BinaryMapper(bits=3)
        >>> one_hot, index, loss = mapper(torch.tensor([[50.0, -50.0, 50.0]]))
        >>> one_hot.tolist(), index.tolist(), round(loss.item(), 3)  # 3 ln 2 − ln 2
        ([[0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0]], [5], 1.386)
    """

    straight = False
    row_wise = False

    def __init__(
        self,
        bits: int = 1,
        kl_loss_threshold: float = math.log(2),
        deterministic_on_eval: bool = False,
        *,
        usage_window: int = 65_536,
    ):
        super().__init__(check_int("bits", bits))
        if bits > ONE_HOT_BITS:
            raise bad_value("bits", f"at most {ONE_HOT_BITS}, as the output has 2^bits channels", bits)
        self._arguments = {k: v for k, v in locals().items() if k not in ("self", "__class__")}
        self.bits, self.num_codes = bits, 2**bits
        self.threshold = check_number("kl_loss_threshold", kl_loss_threshold, 0)
        self.deterministic_on_eval = deterministic_on_eval
        self.window = UsageWindow(1, self.num_codes, usage_window)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.num_codes,)

    def forward(
        self,
        logits: Tensor,
        temperature: float = 1.0,
        *,
        straight_through: bool | None = None,
        deterministic: bool | None = None,
        reduce_aux_kl_loss: bool = True,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Draw the bits of ``logits`` (..., bits).

        Args:
            temperature: τ of the draw. straight_through: pass gradients; by default in training alone.
            deterministic: take the likelier bits; by default ``deterministic_on_eval`` in eval, else not.
            reduce_aux_kl_loss: False: a loss per row, (...) float32, zero where a row does not count.
            mask: bool (...). lens: int64 (B,), rows that count of each (B, n, bits).
            freeze_codebook: a frozen forward does not count in ``usage``; nothing else learns here anyway.
        """
        check_number("temperature", temperature, 0, open_low=True)
        rows, valid, layout = self._rows(logits, mask, lens, count=self.training)
        drawn = rows if self._deterministic(deterministic) else rows + temperature * _logistic_noise(rows)
        step = self._make(rows, valid, self._indices(drawn, valid), frozen=freeze_codebook)
        through = self.training if straight_through is None else straight_through
        one_hot = torch.where(valid[:, None], step.through(rows), 0) if through else step.code
        loss = step.loss if reduce_aux_kl_loss else layout.arrange(torch.where(valid, self._excess(rows), 0).float())
        return Quantized(layout.restore(one_hot).to(logits.dtype), self._arrange(step.indices, layout), loss)

    def log_prob(self, logits: Tensor, indices: Tensor, *, sum_bits: bool = True) -> Tensor:
        """ln p(index | logits): logits (..., bits) and indices (...) to (...), or of every bit, (..., bits)."""
        indices_N1, layout = self.columns(indices)
        check_shape("logits", logits, (*layout.positions, self.bits))
        sign = functional.unpack_bits(indices_N1[:, 0], self.bits).flip(-1).reshape(logits.shape).to(logits.dtype)
        log_probs = F.logsigmoid((2 * sign - 1) * logits)
        return log_probs.sum(-1) if sum_bits else log_probs

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
        drawn = rows if self._deterministic(None) else rows + _logistic_noise(rows)
        indices = self._indices(drawn, valid) if given is None else torch.where(valid[:, None], given, -1)
        return self._make(rows, valid, indices, frozen=frozen)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        return self._indices(rows, valid)

    def decode_rows(self, indices: Tensor) -> Tensor:
        one_hot = torch.arange(self.num_codes, device=indices.device) == indices
        return one_hot.float()

    def _make(self, rows: Tensor, valid: Tensor, indices: Tensor, *, frozen: bool | None) -> Step:
        if not frozen:
            self._count_codes(indices)
        one_hot = self.decode_rows(indices)
        loss = masked_mean(self._excess(rows), valid).float()

        def through(again: Tensor) -> Tensor:
            soft = functional.code_probabilities(_numbers(again).flip(-1))
            return functional.straight_through(soft, one_hot.to(soft.dtype))

        return Step(one_hot, indices, loss, valid, through)

    def _indices(self, logits: Tensor, valid: Tensor) -> Tensor:
        """Indices (N, 1) of the likelier bits; an even bit is zero, as the lower index."""
        index = functional.pack_bits((logits.detach() > 0).flip(-1))
        return torch.where(valid, index, -1)[:, None]

    def _excess(self, rows: Tensor) -> Tensor:
        """max(0, KL − threshold) of each row (N,)."""
        divergence = self.bits * math.log(2) - functional.bit_entropy(_numbers(rows)).sum(-1)
        return F.relu(divergence - self.threshold)

    def _deterministic(self, given: bool | None) -> bool:
        return self.deterministic_on_eval and not self.training if given is None else given


def _numbers(rows: Tensor) -> Tensor:
    return rows if rows.dtype == torch.float64 else rows.float()


def _logistic_noise(rows: Tensor) -> Tensor:
    """Noise that makes ℓ + noise > 0 with probability σ(ℓ)."""
    uniform = torch.rand(rows.shape, dtype=torch.float64, device=rows.device)
    return torch.logit(uniform, eps=1e-12).detach()
