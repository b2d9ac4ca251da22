"""``SQVAE``: stochastic quantization that anneals itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqkit.codebook import Codebook, Gradient, Normal
from vqkit.codebook.fit import place_from_rows_
from vqkit.codebook.init import Init
from vqkit.codebook.precision import Float32State
from vqkit.errors import ArgumentError
from vqkit.functional.affinity import Affinity, affinity
from vqkit.functional.estimators import straight_through
from vqkit.functional.losses import masked_mean
from vqkit.functional.relaxed import mixtures
from vqkit.functional.softmax_entropy import softmax_entropies
from vqkit.quantizers.annealing import Annealing, Schedule
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import refuse_estimator
from vqkit.quantizers.output import Quantized
from vqkit.shapes import check_choice, check_float, check_int, check_number, check_shape

DISTRIBUTIONS = {"gaussian": "euclidean", "vmf": "cosine"}


@registered
class SQVAE(Float32State, Quantizer):
    """The code is drawn with p ∝ exp(−ρ/2·|x − e|²), and the precision ρ = 1/σ² learns too (SQ-VAE, Takida et al. 2022,
    arXiv:2205.07547).

    The quantizer begins uncertain and hardens by itself as training raises ρ. Training returns the relaxed draw, a
    mixture of codes (Gumbel-softmax, temperature τ); eval the nearest code. ``"vmf"`` quantizes directions: rows and
    codes at unit length, p ∝ exp(κ·x̂·ê) with κ = ρ. ``forward(x)`` returns ``quantized`` in the shape and dtype of
    ``x``; ``indices`` int64 of the nearest codes, in training too; and the ``loss`` () float32 per row, the two
    divergences of the evidence bound: ρ/2·|x − y|² (κ·x̂·(x̂ − y) for vMF) − entropy of p.
    The published loss is the sum over the positions of an image: that many times this one. It belongs beside a negative
    log-likelihood of the whole image, as published D/2·ln MSE for D numbers an image: beside a plain MSE the
    divergences win and one code is left, and so they do where rows lie so close together that the first precision
    cannot tell them apart.

    Args:
        dim: width of the input. codebook_size: number of codes K.
        distribution: ``"gaussian"`` or ``"vmf"``.
        precision: where ρ or κ begins; by default 0.1, that is σ² = 10, as published, or κ = 10.
        temperature: τ: a number, or (start, stop, decay) for max(stop, start·decay^t) after t training steps.
        loss_weight: times the loss. init: where codes begin. channel_dim: the axis of the channels.
        freeze_codebook: the codes do not learn. usage_window: training rows over which usage is counted.
        estimator: there is no choice of one.

    Example:
        >>> import torch
        >>> sq = SQVAE(dim=8, codebook_size=32)
        >>> quantized, indices, loss = sq(torch.randn(2, 5, 8), log_variance=torch.zeros(2, 5))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5]), torch.Size([]))
    """

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        distribution: str = "gaussian",
        *,
        precision: float | None = None,
        temperature: Schedule = (1.0, 0.01, 0.99999),
        loss_weight: float = 1.0,
        init: Init | None = None,
        channel_dim: int = -1,
        freeze_codebook: bool = False,
        usage_window: int = 65_536,
        estimator: None = None,
    ):
        refuse_estimator(estimator, "the relaxed draw has a gradient of its own, and no rounding is crossed")
        given = {k: v for k, v in locals().items() if k not in ("self", "__class__") and v is not None}
        super().__init__(dim, channel_dim)
        self._arguments = given
        check_int("codebook_size", codebook_size)
        metric = DISTRIBUTIONS[check_choice("distribution", distribution, list(DISTRIBUTIONS))]
        self.book = Codebook(
            codebook_size,
            dim,
            metric=metric,
            init=init or Normal(),
            update=Gradient(0.0),
            revive=None,
            window=usage_window,
        )
        self.window = self.book.window
        self.straight = metric == "euclidean"
        begin = (0.1 if self.straight else 10.0) if precision is None else precision
        begin = math.log(check_number("precision", begin, 0, open_low=True))
        self.log_precision = nn.Parameter(torch.tensor(begin, dtype=torch.float32))
        self.annealing = Annealing("temperature", temperature)
        self.loss_weight = check_number("loss_weight", loss_weight, 0)
        self.freeze_codebook = freeze_codebook

    def forward(
        self,
        x: Tensor,
        *,
        log_variance: Tensor | None = None,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize ``x``; in training mode also draw, and count a step of the schedule.

        Args:
            log_variance: the encoder's own ln σ² of each row, the shape of ``x`` without channels (or with sizes of 1
                there, one for a sample); its σ² adds to the learned one. Gaussian only. It says how surely a code is
                drawn, not which is nearest.
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: overrides the constructor's; a frozen step does not move the schedule either.
        """
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        spread_N = None if log_variance is None else self._spread(log_variance, layout.positions)
        step = self._step(rows, valid, spread_N, frozen=freeze_codebook)
        quantized = torch.where(step.valid[:, None], step.through(rows), 0)
        return Quantized(layout.restore(quantized).to(x.dtype), self._arrange(step.indices, layout), step.loss)

    # --- on rows ----------------------------------------------------------------------------------------------------

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.book.size,)

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        return self._step(rows, valid, None, frozen=frozen, given=given, more=more)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        """The nearest codes."""
        return torch.where(valid, self.book.nearest(self.book.prepare(rows)[None])[0], -1)[:, None]

    def decode_rows(self, indices: Tensor) -> Tensor:
        return self.book.take(indices.t())[0]

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        place_from_rows_(self.book, [self.book.prepare(rows)], method, iters)

    @property
    def temperature(self) -> Tensor:
        """τ now: () float32."""
        return self.annealing.value()

    @property
    def codebook(self) -> Tensor:
        """The codes (K, dim)."""
        return self.book.codes()[0]

    # --- parts ------------------------------------------------------------------------------------------------------

    def _spread(self, log_variance: Tensor, positions: tuple[int, ...]) -> Tensor:
        """The given variances, one a row (N,)."""
        if not self.straight:
            raise ArgumentError("log_variance: expected None for distribution 'vmf', whose κ is one for all rows")
        check_float("log_variance", log_variance)
        if log_variance.ndim != len(positions) or any(
            size not in (1, want) for size, want in zip(log_variance.shape, positions, strict=True)
        ):
            check_shape("log_variance", log_variance, positions)
        return log_variance.float().exp().expand(positions).reshape(-1)

    def _step(
        self,
        rows: Tensor,
        valid: Tensor,
        spread_N: Tensor | None,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        book, x_ND = self.book, self.book.prepare(rows)
        if spread_N is not None:
            valid = valid & spread_N.isfinite()
            x_ND = torch.where(valid[:, None], x_ND, 0)
        if book.recorder is not None:
            book.recorder(x_ND[None], valid[None])
        learning = self.training and not (self.freeze_codebook if frozen is None else frozen)
        if learning:
            book.prepare_(x_ND[None], valid[None])
        codes_KD = book.codes()[0] if learning else book.codes()[0].detach()
        found_N = book.nearest(x_ND[None], codes_KD[None])[0] if given is None else given[:, 0]
        indices_N = torch.where(valid, found_N, -1)
        q_ND = book.take(indices_N[None], codes_KD[None])[0].to(x_ND.dtype)

        precision_N1 = self._precisions(x_ND, spread_N, valid)
        value_ND = q_ND
        if self.training:
            scores = self._scores(x_ND, precision_N1, codes_KD)
            value_ND = mixtures(scores, codes_KD, self.temperature, over_ranks=True)[0].to(x_ND.dtype)
        elif torch.is_grad_enabled():
            value_ND = straight_through(x_ND, q_ND)
        loss = self._loss(x_ND, value_ND, precision_N1, codes_KD, valid)
        if learning:
            self._count_codes(indices_N[:, None])
            if not (more or book.accumulating):
                self.annealing.advance_()
        return Step(q_ND, indices_N[:, None], loss, valid, lambda _: value_ND)

    def _precisions(self, x_ND: Tensor, spread_N: Tensor | None, valid: Tensor) -> Tensor:
        """ρ of every row, (N, 1) float32."""
        precision = self.log_precision.float().exp().expand(x_ND.shape[0])
        if spread_N is not None:
            precision = 1 / (1 / precision + torch.where(valid, spread_N, 0))
        return precision[:, None]

    def _scores(self, x_ND: Tensor, precision_N1: Tensor, codes_KD: Tensor) -> Affinity:
        return affinity(x_ND, codes_KD, self.book.metric, 2.0 if self.straight else 1.0, precision_N1[:, 0])

    def _loss(self, x_ND: Tensor, y_ND: Tensor, precision_N1: Tensor, codes_KD: Tensor, valid: Tensor) -> Tensor:
        """Both divergences, a mean over the rows that count: () float32."""
        discrete = -softmax_entropies(self._scores(x_ND, precision_N1, codes_KD), valid).per_row
        offset = (x_ND - y_ND).square() / 2 if self.straight else x_ND * (x_ND - y_ND)
        return self.loss_weight * (masked_mean((precision_N1 * offset).sum(1).float(), valid) + discrete)
