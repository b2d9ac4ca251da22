"""``Residual``: stages that each quantize what the ones before left over; any quantizer can be a stage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, overload

import torch
from torch import Tensor, nn

from vqkit import distributed, functional
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.counted import zero_unless
from vqkit.layout import Layout
from vqkit.quantizers.bandwidth import fitting_stages
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.beam import beam_search
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import (
    Estimator,
    GumbelStraightThrough,
    IndexBackpropagation,
    check_estimator,
    estimate,
)
from vqkit.quantizers.output import Quantized, QuantizedWithCodes
from vqkit.quantizers.projections import Projections
from vqkit.quantizers.stage_checks import (
    all_frozen,
    check_beam,
    check_count,
    check_first_rows,
    check_options,
    check_stages,
    checked_weights,
    common_estimator,
)
from vqkit.quantizers.stage_codes import codes_of, context_of, greedy, nearest_added, prefix_columns
from vqkit.quantizers.stage_dropout import DropoutClock, StageDropout
from vqkit.quantizers.stage_fit import fit_stages_
from vqkit.shapes import check_flag, check_indices, check_int, check_shape


class Chain(NamedTuple):
    """The stages' steps, the sum of their codes (N, D), its parts if asked for, and which rows count."""

    steps: list[Step]
    total: Tensor
    entered: Tensor
    valid: Tensor


@registered
class Residual(Quantizer):
    """Quantize x, then what is left of it, and so on: x ≈ Σ qᵢ with qᵢ = stageᵢ(x − Σ_{j<i} qⱼ).

    (Gray 1984; SoundStream, Zeghidour et al. 2021, arXiv:2107.03312; RQ-VAE, Lee et al. 2022, arXiv:2203.01941.)
    ``forward(x)`` returns ``quantized`` (shape and dtype of x), ``indices`` (..., Q) int64, and ``loss`` (Q,) float32,
    each stage's own. A stage that keeps several indices a row has them side by side: (..., Q·I).

    The gradient crosses all stages at once, so that straight-through gives the encoder exactly 1×. A stage's loss is
    taken at x − sg(Σ_{j<i} qⱼ): its commitment is |x − sg(Σ_{j≤i} qⱼ)|², RQ-VAE's cumulative one, and reaches
    the encoder from every stage. Stages with projections of their own (DAC) are each crossed by their own estimator.

    Args:
        stages: quantizers of one width; or one quantizer for all stages, whose table learns once a step, from the rows
            of all of them.
        num_quantizers: how many stages share the one quantizer.
        dim: width of the input, the stages' by default; where it differs, linear projections go in and out.
        channel_dim: the axis of the channels. rank: axes that the input must have; any number by default.
        dropout: train with fewer stages at random.
        beam_size: candidates that a search over stages follows in training; 1 takes the nearest code at each stage.
        eval_beam_size: the same outside training, ``beam_size`` by default.
        loss_weights: a weight for each stage's loss. estimator: for stages without projection, theirs by default.

    Example:
        >>> import torch
        >>> from vqkit import VectorQuantize
        >>> rvq = Residual([VectorQuantize(8, 16) for _ in range(3)])
        >>> quantized, indices, loss = rvq(torch.randn(2, 5, 8))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5, 3]), torch.Size([3]))
        >>> rvq.decode(indices[..., :2]).shape
        torch.Size([2, 5, 8])
    """

    index_axis = True

    def __init__(
        self,
        stages: Quantizer | Sequence[Quantizer],
        num_quantizers: int | None = None,
        *,
        dim: int | None = None,
        channel_dim: int | None = -1,
        rank: int | None = None,
        dropout: StageDropout | None = None,
        beam_size: int = 1,
        eval_beam_size: int | None = None,
        loss_weights: Sequence[float] | None = None,
        estimator: Estimator | None = None,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        shared = isinstance(stages, Quantizer)
        made = check_stages([stages] if isinstance(stages, Quantizer) else stages, shared, num_quantizers)
        super().__init__(made[0].dim if dim is None else dim, channel_dim, rank)
        self.num_quantizers = check_count(num_quantizers) if shared else len(made)
        self.shared = shared
        self.stages = nn.ModuleList(made)
        self.inner = made[0].dim
        self.projections = Projections(self.dim, self.inner)
        self.bends = not all(stage.straight for stage in made)
        self.straight = not self.bends and not self.projections.projects
        self.estimator = common_estimator(made) if estimator is None else check_estimator("estimator", estimator)
        self.nu = float(getattr(made[0], "nu", 0.0))
        if isinstance(self.estimator, (GumbelStraightThrough, IndexBackpropagation)):
            raise ArgumentError("estimator: a residual crosses all stages at once, which one softmax cannot")
        self.beam_size = check_beam("beam_size", beam_size, made)
        wide = self.beam_size if eval_beam_size is None else eval_beam_size
        self.eval_beam_size = check_beam("eval_beam_size", wide, made)
        self.loss_weights = checked_weights(loss_weights, self.num_quantizers)
        self.recorder: Callable[[Tensor, Tensor], None] | None = None
        self.dropout = None if dropout is None else DropoutClock(dropout, self.num_quantizers)
        given["stages"] = stages if shared else made
        self._arguments = {name: value for name, value in given.items() if value is not None}

    # --- forward ----------------------------------------------------------------------------------------------------

    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[False] = ..., **call: Any) -> Quantized: ...
    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[True], **call: Any) -> QuantizedWithCodes: ...
    def forward(self, x: Tensor, *, return_all_codes: bool = False, **call: Any) -> Quantized | QuantizedWithCodes:
        """Quantize ``x``; in training mode also learn.

        Args:
            return_all_codes: also return each stage's code, (Q, ...) with the stages' width along the channel axis.
            **call: mask: bool, the shape of x without channels. lens: int64 (B,). freeze_codebook: learn nothing.
                n_quantizers: use so many of the first stages. beam_size: override the constructor's.
                sample_codebook_temp: for stages that draw. indices: int64 targets shaped as those returned, −1 for
                none; each stage's loss is then −log softmax of these codes.
        """
        return self._forward(x, return_all_codes, **call)

    def _forward(
        self,
        x: Tensor,
        return_all_codes: bool,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
        n_quantizers: int | None = None,
        beam_size: int | None = None,
        sample_codebook_temp: float | None = None,
        indices: Tensor | None = None,
    ) -> Quantized | QuantizedWithCodes:
        if freeze_codebook is not None:
            check_flag("freeze_codebook", freeze_codebook)
        stages = self.ordered(n_quantizers)
        beam = self._beam(stages, beam_size)
        options: dict[str, Any] = {} if sample_codebook_temp is None else {"temperature": sample_codebook_temp}
        options |= {} if indices is None else {"targets": indices}
        check_options(stages, options)
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        if indices is not None:
            options["targets"] = self._targets(indices, layout, stages)
        chain = self._chain(
            rows,
            valid,
            stages,
            frozen=freeze_codebook,
            beam=beam,
            kept=self._kept(len(stages), layout.samples, rows.shape[0], freeze_codebook),
            options=options,
        )
        quantized = zero_unless(chain.valid, self._through(chain, chain.entered))
        found = layout.arrange(torch.cat([step.indices for step in chain.steps], 1))
        quantized = layout.restore(quantized).to(x.dtype)
        if not return_all_codes:
            return Quantized(quantized, found, self._losses(chain))
        codes = torch.stack([layout.restore(_counted(step)) for step in chain.steps]).to(x.dtype)
        return QuantizedWithCodes(quantized, found, self._losses(chain), codes)

    def encode(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        n_quantizers: int | None = None,
        bandwidth: float | None = None,
        frame_rate: float | None = None,
    ) -> Tensor:
        """Indices (..., Q) of ``x``; changes nothing, in training mode too.

        ``n_quantizers`` stages, or as many as fit into ``bandwidth`` kbit/s at ``frame_rate`` vectors a second.
        """
        if bandwidth is not None or frame_rate is not None:
            if n_quantizers is not None or bandwidth is None or frame_rate is None:
                raise bad_value("bandwidth", "it and frame_rate, or n_quantizers alone", "another combination")
            n_quantizers = self.stages_within(bandwidth, frame_rate)
        rows, valid, layout = self._rows(x, mask, lens, count=False)
        return layout.arrange(self.encode_rows(rows, valid, n_quantizers))

    def stages_within(self, bandwidth: float, frame_rate: float) -> int:
        """How many stages fit into ``bandwidth`` kbit/s at ``frame_rate`` vectors a second; raises if none does."""
        return fitting_stages([stage.index_sizes for stage in self.ordered()], bandwidth, frame_rate)

    # --- on rows ----------------------------------------------------------------------------------------------------

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return tuple(size for stage in self.ordered() for size in stage.index_sizes)

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
        samples: int | None = None,
    ) -> Step:
        """As ``Quantizer.step``, with ``loss`` (Q,); ``samples``: items the rows belong to, each its own by default."""
        stages = self.ordered()
        samples = rows.shape[0] if samples is None else samples
        kept = self._kept(len(stages), samples, rows.shape[0], frozen)
        beam = self._beam(stages)
        chain = self._chain(rows, valid, stages, frozen=frozen, beam=beam, kept=kept, given=given, more=more)

        def through(again: Tensor) -> Tensor:
            return self._through(chain, chain.entered if again is rows else self._enter(again, valid)[0])

        code = self.projections.outward(chain.total)
        indices = torch.cat([step.indices for step in chain.steps], 1)
        return Step(code, indices, self._losses(chain), chain.valid, through)

    @torch.no_grad()
    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        entered, valid = self._enter(rows, valid)
        total = torch.zeros_like(entered)
        for stage in self.members:
            stage.begin_(entered - total, valid, frozen=frozen)
            _, total = nearest_added(stage, entered, valid, total)

    @torch.no_grad()
    def encode_rows(self, rows: Tensor, valid: Tensor, n_quantizers: int | None = None) -> Tensor:
        """As ``Quantizer.encode_rows``, of the first ``n_quantizers`` stages."""
        stages, (entered, valid) = self.ordered(n_quantizers), self._enter(rows, valid)
        beam = self._beam(stages)
        if beam > 1:
            return torch.where(valid[:, None], beam_search(stages, entered, valid, beam), -1)
        return greedy(stages, entered, valid)

    def decode_rows(self, indices: Tensor) -> Tensor:
        total = torch.zeros(indices.shape[0], self.inner, dtype=torch.float32, device=indices.device)
        for code in codes_of(self.ordered(), indices):
            total = total + code
        return self.projections.outward(total)

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        how = {"shared": self.shared, "width": self.eval_beam_size, "method": method, "iters": iters}
        fit_stages_(self.ordered(), rows, **how)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """Each stage's code (Q, ...), with the stages' width along the channel axis; of any prefix of stages."""
        columns, layout = self.columns(indices)
        return torch.stack([layout.restore(code) for code in codes_of(self.ordered(), columns)])

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """As ``Quantizer.columns``; the last axis may hold any prefix of the stages."""
        return prefix_columns(indices, self.channel_dim, self.ordered())

    # --- the chain --------------------------------------------------------------------------------------------------

    @property
    def members(self) -> list[Quantizer]:
        """The stages' quantizers; a shared one once."""
        return list(self.stages)  # pyright: ignore[reportReturnType] - a ModuleList of quantizers

    @property
    def freeze_codebook(self) -> bool:
        """Whether nothing within learns, as constructed."""
        return all_frozen(self.members)

    def ordered(self, n_quantizers: int | None = None) -> list[Quantizer]:
        """The first stages, in order; a shared one as often as it is used."""
        if n_quantizers is not None and check_int("n_quantizers", n_quantizers) > self.num_quantizers:
            raise bad_value("n_quantizers", f"at most the {self.num_quantizers} stages there are", n_quantizers)
        return (self.members * (self.num_quantizers if self.shared else 1))[:n_quantizers]

    def _enter(self, rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Rows in the space of the stages, float32, and which count: a projection may overflow."""
        entered = self.projections.inward(rows).float()
        return self._within_float(entered, valid, count=False) if self.projections.projects else (entered, valid)

    @distributed.together()
    def _chain(
        self,
        rows: Tensor,
        valid: Tensor,
        stages: list[Quantizer],
        *,
        frozen: bool | None = None,
        beam: int = 1,
        kept: Tensor | None = None,
        given: Tensor | None = None,
        more: bool = False,
        options: dict[str, Any] | None = None,
    ) -> Chain:
        entered, valid = self._enter(rows, valid)
        if self.recorder is not None:
            self.recorder(entered[None], valid[None])
        begins = self.training and not frozen and not self.begun
        if begins:
            check_first_rows(self, valid, frozen)
        if given is None and beam > 1:
            if begins:
                self.begin_(rows, valid, frozen=frozen)  # a search chooses among codes that are where they belong
            given = beam_search(stages, entered.detach(), valid, beam, kept)
        options = options or {}
        targets = options.pop("targets", None)
        total, steps, column = torch.zeros_like(entered), [], 0
        for number, stage in enumerate(stages):
            width = len(stage.index_sizes)
            part = slice(column, column + width)
            own = {} if targets is None else {"targets": targets[:, part]}
            own |= context_of(stage, total.detach())
            step = stage.step(
                entered - total.detach(),
                valid if kept is None else valid & (kept > number),
                frozen=frozen,
                given=None if given is None else given[:, part],
                more=more or (self.shared and number < len(stages) - 1),
                **options,
                **own,
            )
            steps.append(step)
            total = total + _counted(step)
            column += width
        return Chain(steps, total, entered, valid)

    def _through(self, chain: Chain, entered: Tensor) -> Tensor:
        """The quantized rows (N, dim), with the estimators' gradient to the rows that entered."""
        if not self.bends:
            y = estimate(self.estimator, entered, chain.total, training=self.training)
            y = functional.synchronous(y, chain.total, self.nu) if self.nu and self.training else y
        else:
            # Each stage is crossed at what the ones before left: the derivative of the chain with roundings crossed.
            left, y = entered, torch.zeros_like(entered)
            for step in chain.steps:
                crossed = zero_unless(step.valid, step.through(left)).to(y.dtype)
                left, y = left - crossed, y + crossed
        return self.projections.outward(y)

    def _losses(self, chain: Chain) -> Tensor:
        losses = torch.stack([step.loss.sum() for step in chain.steps])
        return losses if self.loss_weights is None else losses * losses.new_tensor(self.loss_weights[: len(losses)])

    def _targets(self, indices: Tensor, layout: Layout, stages: list[Quantizer]) -> Tensor:
        width = sum(len(stage.index_sizes) for stage in stages)
        check_shape("indices", check_indices("indices", indices), (*layout.positions, width))
        return self.columns(indices)[0]

    def _beam(self, stages: Sequence[Quantizer], given: int | None = None) -> int:
        """How many sums a search follows now: those of a call, or as constructed."""
        if given is not None:
            return check_beam("beam_size", given, stages)
        return self.beam_size if self.training else self.eval_beam_size

    # --- usage ------------------------------------------------------------------------------------------------------

    def usage(self) -> Tensor:
        """Of each table, stage after stage: (Q,) float64; (1,) where all share one."""
        return torch.cat([stage.usage().reshape(-1) for stage in self.members])

    def perplexity(self) -> Tensor:
        """Of each table, stage after stage: (Q,) float64; (1,) where all share one."""
        return torch.cat([stage.perplexity().reshape(-1) for stage in self.members])

    # --- dropout ----------------------------------------------------------------------------------------------------

    def _kept(self, stages: int, samples: int, rows: int, frozen: bool | None) -> Tensor | None:
        """How many stages each row keeps (N,), or None for all."""
        if self.dropout is None or not self.training or stages < self.num_quantizers:
            return None
        if not self.begun:
            return None  # every stage needs the batch that places its codes
        frozen = self.freeze_codebook if frozen is None else frozen
        return self.dropout.kept_(samples, tick=not frozen).repeat_interleave(rows // max(1, samples))


def _counted(step: Step) -> Tensor:
    """A step's code, float32, zero for rows that do not count."""
    return zero_unless(step.valid, step.code).float()
