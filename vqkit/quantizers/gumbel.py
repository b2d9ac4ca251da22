"""``GumbelQuantize``: codes drawn by a learned classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from vqkit.codebook import Codebook, Gradient
from vqkit.codebook.init import Init
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.affinity import linear_affinity
from vqkit.functional.likeliest import likeliest
from vqkit.functional.lookup import take
from vqkit.functional.relaxed import mixtures, one_hot_straight_through
from vqkit.functional.softmax_entropy import softmax_entropies
from vqkit.kernels.tracing import exporting
from vqkit.quantizers.annealing import Annealing, Schedule
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import refuse_estimator
from vqkit.quantizers.output import Quantized
from vqkit.shapes import MOST_COLUMNS, check_int, check_number


@registered
class GumbelQuantize(Quantizer):
    """A linear map scores the codes, Gumbel-softmax draws one (the discrete VAE of DALL-E, Ramesh et al. 2021,
    arXiv:2102.12092; in groups wav2vec 2.0, Baevski et al. 2020, arXiv:2006.11477).

    Training draws the code with probability softmax(Wx + b): returned itself with the gradient of the relaxed draw
    (``hard``), or as the mixture Σ softmax((Wx + b + g)/τ)·e (soft). Eval takes the most probable code. ``forward(x)``
    returns ``quantized`` in the shape and dtype of ``x``; ``indices`` int64, with a last axis of groups if there are
    several: the codes drawn, or for soft outputs the most probable; and the ``loss`` () float32: the KL divergence of
    the choices from even ones, and the share of codes that go unused, each times its weight.

    Args:
        dim: width of the input and output. codebook_size: codes K of each group.
        groups: G codes of width dim/G a row, side by side. combine_groups: one table for all groups.
        temperature: τ: a number, or (start, stop, decay) for max(stop, start·decay^t) after t training steps.
        hard: return the drawn code itself in training.
        kl_weight: of Σ over groups of mean KL(softmax(Wx + b) ‖ even) = ln K − mean entropy.
        diversity_weight: of 1 − (1/G) Σ exp(entropy of the mean choice)/K, over the rows of all ranks.
        init: where codes begin. channel_dim: the axis of the channels.
        freeze_codebook: the codes do not learn. usage_window: training rows over which usage is counted.
        estimator: there is no choice of one.

    Example:
        >>> import torch
        >>> gumbel = GumbelQuantize(dim=8, codebook_size=32, groups=2)
        >>> quantized, indices, loss = gumbel(torch.randn(2, 5, 8))
        >>> bool((gumbel.decode(indices) == quantized).all()), indices.shape
        (True, torch.Size([2, 5, 2]))
    """

    straight = False

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        groups: int = 1,
        combine_groups: bool = False,
        *,
        temperature: Schedule = (2.0, 0.5, 0.999995),
        hard: bool = True,
        kl_weight: float = 5e-4,
        diversity_weight: float = 0.0,
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
        if dim % check_int("groups", groups, maximum=MOST_COLUMNS):
            raise bad_value("groups", f"a divisor of dim {dim}", groups)
        if init is not None and getattr(init, "needs_rows", False):
            raise ArgumentError(f"init: expected one without rows, which are not in the space of the codes, got {init}")
        self.codebook_size, self.groups = check_int("codebook_size", codebook_size), groups
        self.to_logits = nn.Linear(dim, codebook_size * groups)
        tables = 1 if combine_groups else groups
        self.book = Codebook(
            codebook_size, dim // groups, tables, init=init, update=Gradient(0.0), revive=None, window=usage_window
        )
        self.window = self.book.window
        self.annealing = Annealing("temperature", temperature)
        self.hard, self.freeze_codebook = hard, freeze_codebook
        self.kl_weight = check_number("kl_weight", kl_weight, 0)
        self.diversity_weight = check_number("diversity_weight", diversity_weight, 0)
        self.index_axis = groups > 1

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize ``x``; in training mode also draw, and count a step of the schedule.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: overrides the constructor's; a frozen step does not move the schedule either.
        """
        return self._quantize(x, mask, lens, freeze_codebook)

    # --- on rows ----------------------------------------------------------------------------------------------------

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * self.groups

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        likely_NG = self.encode_rows(rows, valid)
        valid = likely_NG[:, 0] >= 0  # scores may overflow where the row did not
        x_ND = torch.where(valid[:, None], self._prepared(rows), 0)
        learning = self.training and not (self.freeze_codebook if frozen is None else frozen)
        if learning:
            self.book.prepare_(x_ND[None], valid[None])
        codes_GKD = self._codes() if learning else self._codes().detach()

        value_ND, chosen_NG = self._choose(x_ND, codes_GKD, likely_NG if given is None else given, given is None)
        indices_NG = torch.where(valid[:, None], chosen_NG, -1)
        loss = self._loss(x_ND, valid)  # before the schedule moves
        if learning:
            self._learn_(indices_NG, more)
        return Step(self._looked_up(codes_GKD, indices_NG), indices_NG, loss, valid, lambda _: value_ND)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        """The most probable codes."""
        x_ND = self._prepared(rows).detach()
        found = [likeliest(x_ND, W_KD.detach(), b_K.detach()) for W_KD, b_K in self._classifiers(x_ND.dtype)]
        found_NG = torch.stack(found, 1)
        return torch.where((valid & (found_NG >= 0).all(1))[:, None], found_NG, -1)

    def decode_rows(self, indices: Tensor) -> Tensor:
        return self._looked_up(self._codes(), indices)

    @property
    def temperature(self) -> Tensor:
        """τ now: () float32."""
        return self.annealing.value()

    # --- parts ------------------------------------------------------------------------------------------------------

    def _prepared(self, rows: Tensor) -> Tensor:
        return rows if rows.dtype == torch.float64 else rows.float()

    def _classifiers(self, dtype: torch.dtype) -> list[tuple[Tensor, Tensor]]:
        """Weights (K, dim) and bias (K,) of each group."""
        weight_GKD = self.to_logits.weight.to(dtype).unflatten(0, (self.groups, -1))
        return list(zip(weight_GKD, self.to_logits.bias.to(dtype).unflatten(0, (self.groups, -1)), strict=True))

    def _codes(self) -> Tensor:
        """The table of each group (G, K, dim/G)."""
        return self.book.codes().expand(self.groups, -1, -1)

    def _looked_up(self, codes_GKD: Tensor, indices_NG: Tensor) -> Tensor:
        return take(codes_GKD, indices_NG.t()).transpose(0, 1).flatten(1)

    def _choose(self, x_ND: Tensor, codes_GKD: Tensor, chosen_NG: Tensor, draw: bool) -> tuple[Tensor, Tensor]:
        """The output (N, dim) with its gradient, and the codes (N, G) drawn for it, or those ``chosen``."""
        if not self.training and (exporting() or not torch.is_grad_enabled()):
            return self._looked_up(codes_GKD, chosen_NG).to(x_ND.dtype), chosen_NG
        values, indices, tau = [], [], self.temperature
        hard, noise = self.hard or not self.training, self.training and draw
        for g, (W_KD, b_K) in enumerate(self._classifiers(x_ND.dtype)):
            table = codes_GKD[g].detach() if hard else codes_GKD[g]
            soft_ND, drawn_N = mixtures(
                linear_affinity(x_ND, W_KD, b_K), table, tau, noise=noise, over_ranks=self.training
            )
            indices.append(drawn_N if hard and noise else chosen_NG[:, g])
            values.append(one_hot_straight_through(codes_GKD[g], indices[-1], soft_ND) if hard else soft_ND)
        return torch.cat(values, 1).to(x_ND.dtype), torch.stack(indices, 1)

    def _loss(self, x_ND: Tensor, valid: Tensor) -> Tensor:
        zero = x_ND.new_zeros((), dtype=torch.float32)
        if not (self.kl_weight or self.diversity_weight):
            return zero
        K, divergence, used = self.codebook_size, zero, zero
        for W_KD, b_K in self._classifiers(x_ND.dtype):
            found = softmax_entropies(linear_affinity(x_ND, W_KD, b_K), valid, over_ranks=self.training)
            divergence = divergence + (math.log(K) - found.per_row) * valid.any()
            used = used + found.overall.exp() / K
        return self.kl_weight * divergence + self.diversity_weight * (1 - used / self.groups)

    def _learn_(self, indices_NG: Tensor, more: bool) -> None:
        counted = indices_NG if self.book.heads > 1 else indices_NG.reshape(-1, 1)
        self._count_codes(counted)
        if not (more or self.book.accumulating):
            self.annealing.advance_()
