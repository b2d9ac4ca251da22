"""``VectorQuantize``: the nearest code of a learned table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, TypedDict, overload

import torch
from torch import Tensor, nn

from vqkit import functional
from vqkit.codebook import Codebook
from vqkit.codebook.affine import Affine
from vqkit.codebook.fit import place_from_rows_
from vqkit.codebook.init import Init
from vqkit.codebook.revive import Revive
from vqkit.codebook.update import EMA, Update, Weight, check_weight
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.counted import zero_unless
from vqkit.functional.nearest import search
from vqkit.layout import Layout, rows_that_count, to_rows
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.candidates import Entered, Made, candidates, check_topk
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import (
    Estimator,
    GumbelStraightThrough,
    IndexBackpropagation,
    Rotation,
    StraightThrough,
    estimate,
)
from vqkit.quantizers.flat import FlatOptions, channel_of, resolve
from vqkit.quantizers.heads import Heads
from vqkit.quantizers.objectives import Assignment, Objective, total_loss, with_codebook_fit
from vqkit.quantizers.output import Quantized, QuantizedWithBreakdown
from vqkit.quantizers.transformed import Transform, check_transformable, nearest_transformed
from vqkit.shapes import MOST_COLUMNS, check_float, check_indices, check_int, check_number, check_shape

if TYPE_CHECKING:
    from typing_extensions import Unpack


class CallOptions(TypedDict, total=False):
    """What ``VectorQuantize.forward`` takes by name, for its overloads."""

    mask: Tensor | None
    lens: Tensor | None
    topk: int | None
    sample_codebook_temp: float | None
    freeze_codebook: bool | None
    codebook_transform_fn: Transform | None
    ema_update_weight: Weight
    accum_ema_update: bool
    ema_update: bool | None


@registered
class VectorQuantize(Quantizer):
    """Replace every vector by its nearest code (VQ-VAE, van den Oord et al. 2017, arXiv:1711.00937).

    ``forward(x)`` takes floating-point ``x`` of any rank with ``dim`` channels along ``channel_dim``. It returns

    - ``quantized``: the shape and dtype of ``x``;
    - ``indices``: int64 in [0, K), the shape of ``x`` without channels, with a last axis of heads if there are several;
    - ``loss``: () float32, the weighted sum of the loss terms.

    Rows that are masked, or hold NaN or inf, get index −1 and zeros, and count nowhere.

    Args:
        dim: width of the input.
        codebook_size: number of codes K.
        codebook_dim: width of a code, ``dim`` by default. Linear projections go in and out where
            ``codebook_dim * heads`` differs from ``dim``.
        heads: slices of the feature axis, each with its own index.
        separate_codebook_per_head: a table per head instead of one for all.
        metric: ``"euclidean"`` (default), ``"cosine"``, or ``"dot"`` for the code of largest inner product.
        unit_codes: False: with ``"cosine"``, direction chooses the code but both keep their lengths (DAC,
            arXiv:2306.06546).
        init: where codes begin, ``Uniform()`` by default.
        update: how codes learn, ``EMA(0.8)`` by default.
        revive: what becomes of dead codes, ``ReplaceRare()`` by default, None for nothing.
        affine: an affine map between the stored vectors and the codes, none by default.
        bridge: a module (H, K, D) to (H, K, D) that makes the codes from the stored vectors (FVQ).
        estimator: how gradients cross the rounding, ``StraightThrough()`` by default.
        objectives: the loss terms, ``(Commitment(1.0),)`` by default.
        channel_dim: the axis of the channels, the last by default.
        stochastic_sample_codes: in training draw codes with probability ∝ exp(−|x − e|²/τ).
        sample_codebook_temp: that τ.
        sync_update_v: ν; adds ν times the output's gradient to codes that learn by gradient.
        freeze_codebook: the codes do not learn.
        layernorm_after_project_in: a LayerNorm behind the projection.
        project: linear projections in and out even where the widths agree.
        return_zeros_for_masked_padding: False gives masked rows back unchanged.
        sync_codebook: share statistics among ranks; False lets every rank's codebook go its own way.
        usage_window: training rows over which usage and perplexity are counted.
        **flat: the flat names of ``FlatOptions`` (``decay``, ``kmeans_init``, …), each sugar for a policy.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit, or a flat name beside the policy it stands for.

    Example:
        >>> import torch
        >>> vq = VectorQuantize(dim=256, codebook_size=512, decay=0.8, commitment_weight=1.0)
        >>> quantized, indices, loss = vq(torch.randn(1, 1024, 256))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 1024, 256]), torch.Size([1, 1024]), torch.Size([]))
        >>> _ = vq.eval()
        >>> x = torch.randn(2, 3, 256)
        >>> bool((vq.decode(vq.encode(x)) == vq(x).quantized).all())
        True
    """

    step_options = frozenset({"temperature", "targets"})

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int | None = None,
        heads: int = 1,
        separate_codebook_per_head: bool = False,
        *,
        metric: str | None = None,
        unit_codes: bool = True,
        init: Init | None = None,
        update: Update | None = None,
        revive: Revive | Literal["default"] | None = "default",
        affine: Affine | None = None,
        bridge: nn.Module | None = None,
        estimator: Estimator | None = None,
        objectives: Sequence[Objective] | None = None,
        channel_dim: int | None = None,
        stochastic_sample_codes: bool = False,
        sample_codebook_temp: float = 1.0,
        sync_update_v: float = 0.0,
        freeze_codebook: bool = False,
        layernorm_after_project_in: bool = False,
        project: bool = False,
        return_zeros_for_masked_padding: bool = True,
        sync_codebook: bool = True,
        usage_window: int = 65_536,
        **flat: Unpack[FlatOptions],
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "flat", "__class__")}
        policies = resolve(flat, given)
        super().__init__(dim, policies.channel_dim, channel_of(flat)[1])
        self._arguments = {k: v for k, v in given.items() if v is not None or k == "revive"} | dict(flat)

        self.codebook_size, self.heads = (
            check_int("codebook_size", codebook_size),
            check_int("heads", heads, maximum=MOST_COLUMNS),
        )
        self.codebook_dim = dim if codebook_dim is None else check_int("codebook_dim", codebook_dim)
        self.separate = bool(separate_codebook_per_head) and heads > 1
        self.slices = Heads(dim, self.codebook_dim, heads, self.separate, layernorm_after_project_in, project)
        self.book = Codebook(
            codebook_size,
            self.codebook_dim,
            heads if self.separate else 1,
            metric=policies.metric,
            unit_codes=unit_codes,
            init=policies.init,
            update=policies.update,
            revive=policies.revive,
            affine=policies.affine,
            bridge=policies.bridge,
            window=usage_window,
            sync=sync_codebook,
        )
        self.index_axis, self.proposes = heads > 1, heads == 1
        self.straight = not self.slices.projects and not self.book.unit_codes
        self.estimator = policies.estimator
        self.stochastic = stochastic_sample_codes
        self.temperature = check_number("sample_codebook_temp", sample_codebook_temp, 0)
        self.nu = check_number("sync_update_v", sync_update_v, 0, 1)
        self.freeze_codebook, self.zero_masked = freeze_codebook, return_zeros_for_masked_padding
        if self.nu and not self.book.update.by_gradient:
            raise ArgumentError(f"sync_update_v: expected codes that learn by gradient, got update {self.book.update}")
        self.objectives: tuple[Objective, ...] = with_codebook_fit(
            policies.objectives, self.book.update, self.estimator
        )

    # --- forward ----------------------------------------------------------------------------------------------------

    @overload
    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = ...,
        *,
        return_loss_breakdown: Literal[False] = ...,
        **call: Unpack[CallOptions],
    ) -> Quantized: ...
    @overload
    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = ...,
        *,
        return_loss_breakdown: Literal[True],
        **call: Unpack[CallOptions],
    ) -> QuantizedWithBreakdown: ...
    def forward(
        self,
        x: Tensor,
        indices: Tensor | None = None,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        topk: int | None = None,
        sample_codebook_temp: float | None = None,
        freeze_codebook: bool | None = None,
        return_loss_breakdown: bool = False,
        codebook_transform_fn: Transform | None = None,
        ema_update_weight: Weight = None,
        accum_ema_update: bool = False,
        ema_update: bool | None = None,
    ) -> Quantized | QuantizedWithBreakdown:
        """Quantize ``x``; in training mode also learn.

        Args:
            indices: int64 targets, shaped as those returned, −1 for none; the loss is then −log softmax of these codes.
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            topk: return the T nearest codes: quantized (..., T, dim), indices (..., T[, heads]), loss (..., T) per
                candidate; learns nothing. sample_codebook_temp, freeze_codebook: override the constructor's.
            return_loss_breakdown: also return the terms by name, before their weights.
            codebook_transform_fn: codes (H, K, D) to each row's own (H, *positions, K, D), unknown to ``decode``.
            ema_update_weight: scales this step's (1 − γ): a number, a tensor (K,) or (H, K), or f(sums, counts).
            accum_ema_update: keep this step's statistics for the next one. ema_update: False learns nothing this step.
        """
        if sample_codebook_temp is not None and not self.stochastic:
            raise bad_value("sample_codebook_temp", "None without stochastic_sample_codes", sample_codebook_temp)
        targets = None if indices is None else self._targets(indices, x)
        check_weight(ema_update_weight, (self.book.heads, self.codebook_size))
        if ema_update_weight is not None and not isinstance(self.book.update, EMA):
            raise bad_value("ema_update_weight", "None with codes that are no averages", f"{self.book.update}")
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        entered = self._enter(rows, valid, count=self.training)
        if topk is not None:
            check_topk(topk, self.codebook_size, return_loss_breakdown, indices)
            (quantized, found, error), breakdown = candidates(self, entered, topk), None
        else:
            own_codes = None
            if codebook_transform_fn is not None:
                shared = self.heads > 1 and not self.separate
                check_transformable(self.book.update.by_gradient, shared, self.book.metric)
                own_codes = partial(nearest_transformed, codebook_transform_fn, positions=layout.positions)
            made = self._make(
                entered,
                frozen=freeze_codebook,
                targets=targets,
                temperature=sample_codebook_temp,
                own_codes=own_codes,
                weight=ema_update_weight,
                accumulate=accum_ema_update,
                learn=ema_update is not False,
            )
            quantized, found, error, breakdown = self._left(made, entered), made.indices, made.loss, made.breakdown
        kept = 0 if self.zero_masked else self._passed(x, layout, mask, lens)
        if topk is not None or not self.zero_masked or not self._leaves_zero():
            quantized = zero_unless(entered.valid, quantized, kept)
        quantized = layout.restore(quantized).to(x.dtype)
        indices = layout.arrange(found if self.index_axis else found[..., 0])
        if topk is not None:
            return Quantized(quantized, indices, layout.arrange(error))
        if return_loss_breakdown and breakdown is not None:
            return QuantizedWithBreakdown(quantized, indices, error, breakdown)
        return Quantized(quantized, indices, error)

    # --- on rows ----------------------------------------------------------------------------------------------------

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * self.heads

    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        if self.training and not (self.freeze_codebook if frozen is None else frozen):
            entered = self._enter(rows, valid, count=False)
            self.book.prepare_(entered.x, entered.valid_slices)

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
        temperature: float | None = None,
        targets: Tensor | None = None,
    ) -> Step:
        entered = self._enter(rows, valid, count=self.training)
        made = self._make(
            entered,
            frozen=frozen,
            given=None if given is None else self.slices.by_slice(given),
            targets=None if targets is None else self.slices.by_slice(targets),
            temperature=temperature,
            accumulate=more,
        )

        def through(again: Tensor) -> Tensor:
            same = again is rows or made.soft is not None
            return self._left(made, entered if same else self._enter(again, valid, count=False))

        return Step(self.slices.leave(made.q), made.indices, made.loss, entered.valid, through)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        """Always the nearest codes."""
        entered = self._enter(rows, valid, count=False)
        return self.slices.by_row(zero_unless(entered.valid_slices, self.book.nearest(entered.x), -1))

    def table(self) -> Tensor | None:
        own = type(self)
        kept = own.encode_rows is VectorQuantize.encode_rows and own.decode_rows is VectorQuantize.decode_rows
        plain = kept and self.heads == 1 and not self.slices.projects and self.book.metric == "euclidean"
        return self.book.codes(lent=True).detach()[0] if plain else None

    def decode_rows(self, indices: Tensor) -> Tensor:
        return self.slices.leave(self.book.take(self.slices.by_slice(indices)))

    def proposals(self, rows: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
        entered, codes = self._enter(rows, valid, count=False), self.book.codes()
        found_1NT, squared_1NT = search(
            entered.x.detach(), codes.detach(), self.book.metric, min(count, self.codebook_size)
        )
        if self.straight and self.book.metric == "euclidean":
            return squared_1NT[0].float(), found_1NT[0, ..., None]
        q = self.slices.leave(self.book.take(found_1NT.flatten(1), codes)).reshape(*found_1NT.shape[1:], self.dim)
        return (rows[:, None] - q).square().sum(-1), found_1NT[0, ..., None]

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Codes before the projection out, heads side by side: (..., heads · codebook_dim), channels last."""
        indices_NI, layout = self.columns(indices)
        return layout.arrange(self.slices.merged(self.book.take(self.slices.by_slice(indices_NI))))

    # --- the way in, the choice, the way out --------------------------------------------------------------------------

    def _enter(self, rows: Tensor, valid: Tensor, *, count: bool) -> Entered:
        entered = self.slices.enter(rows)
        if self.slices.projects:  # which may overflow: such rows must count as little as those that came as inf
            finite = self.slices.merged(entered.detach().isfinite()).all(1)
            if count:
                self._count_skipped(valid & ~finite)
            valid = valid & finite
            entered = zero_unless(self.slices.spread(valid), entered)
        return Entered(self.book.prepare(entered), self.slices.spread(valid), valid)

    def _make(
        self,
        entered: Entered,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        targets: Tensor | None = None,
        temperature: float | None = None,
        own_codes: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        weight: Weight = None,
        accumulate: bool = False,
        learn: bool = True,
    ) -> Made:
        """The choice of codes, what is learned from it, and its loss; ``own_codes`` gives each row's own codes."""
        x_HND, valid_HN, book = entered.x, entered.valid_slices, self.book
        temperature = self.temperature if temperature is None else check_number("sample_codebook_temp", temperature, 0)
        if book.recorder is not None:
            book.recorder(x_HND, valid_HN)
        frozen = self.freeze_codebook if frozen is None else frozen
        learning = self.training and not frozen and learn and not book.recorder
        if learning:
            book.prepare_(x_HND, valid_HN)
        # What autograd keeps must outlast the step that writes it; in eval nothing is kept that anyone writes.
        codes = book.codes(lent=not (self.training or torch.is_grad_enabled()))
        codes = codes.detach() if frozen else codes

        soft, q_HND, squared_HN = None, None, None
        if own_codes is not None:
            found, q_HND = own_codes(codes, x_HND)
        elif given is not None:
            found = given
        else:
            soft, found, squared_HN = self._select(x_HND, valid_HN, codes, temperature)
        indices_HN = zero_unless(valid_HN, found, -1)
        if learning:
            book.learn_(x_HND, indices_HN, weight=weight, accumulate=accumulate)
            if book.update.changes_output:
                codes, squared_HN = book.codes(), None
        tabled = q_HND is None
        q_HND = book.take(indices_HN, codes) if q_HND is None else zero_unless(valid_HN, q_HND)
        q_HND = q_HND.to(x_HND.dtype)
        # In eval a rank may be on its own.
        over_ranks = self.training and book.sync
        assignment = Assignment(
            x_HND, q_HND, codes, indices_HN, valid_HN, book.metric, soft, over_ranks, tabled, squared_HN
        )
        loss, breakdown = total_loss(self.objectives, assignment, targets)
        return Made(q_HND, self.slices.by_row(indices_HN), loss, breakdown, soft)

    def _left(self, made: Made, entered: Entered) -> Tensor:
        """The quantized rows (N, dim), with the estimator's gradient to the rows that entered."""
        y_HND = self.estimate(entered.x, made.q) if made.soft is None else made.soft
        y_HND = functional.synchronous(y_HND, made.q, self.nu) if self.nu and self.training else y_HND
        return self.slices.leave(y_HND)

    def _leaves_zero(self) -> bool:
        """Whether a row that does not count, whose code is zero, leaves as that code."""
        return not self.slices.projects and isinstance(self.estimator, (StraightThrough, Rotation))

    def _select(
        self, x_HND: Tensor, valid_HN: Tensor, codes: Tensor, temperature: float
    ) -> tuple[Tensor | None, Tensor, Tensor | None]:
        """The output where the choice itself makes it (Gumbel, IBQ), the indices (H, N) of the rows that count, and
        |x − e|² (H, N) where it is known.
        """
        del valid_HN  # every row chooses for itself
        drawn = self.training and self.stochastic and temperature > 0
        if self.training and isinstance(self.estimator, (GumbelStraightThrough, IndexBackpropagation)):
            relaxed = partial(functional.index_backpropagation, metric=self.book.metric)
            if isinstance(self.estimator, GumbelStraightThrough):
                noise = self.estimator.noise or drawn
                how = {"metric": self.book.metric, "noise": noise, "over_ranks": self.book.sync}
                relaxed = partial(functional.gumbel_straight_through, **how)
            heads = [relaxed(x, c, self.estimator.temperature) for x, c in zip(x_HND, codes, strict=True)]
            return torch.stack([y for y, _ in heads]).to(x_HND.dtype), torch.stack([i for _, i in heads]), None
        if drawn:
            return None, self.book.sample(x_HND, codes, temperature), None
        return None, *self.book.measured(x_HND, codes)

    def estimate(self, x: Tensor, q: Tensor) -> Tensor:
        """The quantized vectors, with the estimator's gradient; outside training the code itself."""
        return estimate(self.estimator, x, q, training=self.training)

    def _passed(self, x: Tensor, layout: Layout, mask: Tensor | None, lens: Tensor | None) -> Tensor | int:
        """The masked rows of the input (N, dim), zero elsewhere; 0 without a mask."""
        counted = rows_that_count(layout, mask, lens, x.device)
        rows = to_rows(x, self.dim, self.channel_dim, self.rank)[0]
        return 0 if counted is None else torch.where(counted[:, None], 0, rows)

    def _targets(self, indices: Tensor, x: Tensor) -> Tensor:
        _, layout = to_rows(x, self.dim, self.channel_dim, self.rank)
        expected = (*layout.positions, *((self.heads,) if self.index_axis else ()))
        check_shape("indices", check_indices("indices", indices), expected)
        return self.slices.by_slice(self.columns(indices)[0])

    # --- the table --------------------------------------------------------------------------------------------------

    @property
    def codebook(self) -> Tensor:
        """The codes: (K, D), or (heads, K, D) with separate codebooks. Assigning places them, and their averages
        follow.
        """
        codes = self.book.codes()
        return codes if self.separate else codes[0]

    @codebook.setter
    def codebook(self, codes: Tensor) -> None:
        check_shape("codebook", check_float("codebook", codes), self.codebook.shape)
        self.book.assign_(codes.detach() if self.separate else codes.detach()[None])

    @torch.no_grad()
    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        valid = torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
        entered = self._enter(rows, valid, count=False)
        place_from_rows_(self.book, list(entered.x), method, iters)

    def usage(self) -> Tensor:
        """Share of codes drawn by the last ``usage_window`` training rows: () float64, or (heads,) with separate
        codebooks.
        """
        return self.book.usage() if self.separate else self.book.usage()[0]

    def perplexity(self) -> Tensor:
        """Perplexity of the codes drawn by the last ``usage_window`` training rows: () float64, or (heads,)."""
        return self.book.perplexity() if self.separate else self.book.perplexity()[0]

    def update_in_place_optimizer(self) -> None:
        """Let the in-place optimizer take the step it waits with; for ``manual_in_place_optimizer_update``."""
        self.book.update_in_place_()
