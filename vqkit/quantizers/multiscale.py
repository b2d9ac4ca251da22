"""``MultiScale``: a map as a pyramid of maps of codes, coarse to fine, each quantized by any quantizer."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from vqkit import distributed, functional
from vqkit.codebook.window import UsageWindow
from vqkit.errors import bad_type, bad_value
from vqkit.functional.lookup import check_code_range
from vqkit.functional.resample import MODES, area_down, upsample
from vqkit.layout import Layout, MapLayout, to_maps
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import Estimator, StraightThrough, check_estimator, estimate
from vqkit.quantizers.output import Quantized
from vqkit.quantizers.phi import Phis
from vqkit.quantizers.scales import Size, parse_scales
from vqkit.quantizers.stage_checks import all_frozen, check_first_rows, quantizers_in
from vqkit.quantizers.stage_dropout import DropoutClock, StageDropout
from vqkit.shapes import check_choice, check_indices, check_number, check_shape


class NextScale(NamedTuple):
    """f_hat: the sum of the scales so far, shaped as ``decode`` returns it. tokens: (B, n, C), what a next-scale
    transformer reads to predict the scale after, n tokens of it; None after the last scale.
    """

    f_hat: Tensor
    tokens: Tensor | None


@registered
class MultiScale(Quantizer):
    """Quantize what coarser scales left over, scale by scale (VAR, Tian et al. 2024, arXiv:2404.02905, algorithm 1).

    With f the input and f̂ = 0, for each scale s: average f − f̂ over the cells of s, quantize, interpolate back to the
    full size, refine by φ, and add to f̂.

    ``forward(x)`` takes maps ``x`` (B, dim, *size) of one, two or three spatial axes. It returns

    - ``quantized``: f̂, the shape and dtype of ``x``;
    - ``indices``: int64 (B, L), or (B, L, I) where the quantizer has I indices a row; L is the number of tokens of all
      scales, which come coarse to fine. ``split`` and ``join`` turn them into maps and back;
    - ``loss``: () float32, the mean over scales of β·|f − sg(f̂ₛ)|² + γ·|sg(f) − f̂ₛ|² (means over values) and the
      quantizer's own loss.

    The encoder's gradient is the output's, once. The loss alone moves codes that learn by gradient, projections, and φ.
    A quantizer that serves all scales learns once a step, from the rows of all of them. What rows place (k-means) is
    placed from all scales' rows at once, each scale taken as if it left nothing but detail.

    A map that holds NaN or inf counts nowhere: its indices are −1 and its output zero; so does one that ``mask`` (B,)
    leaves out. A token of index −1 adds zero to its scale, and a scale of nothing but −1 adds nothing at all.

    Args:
        quantizer: the quantizer of every scale, or a sequence of them, one a scale. Its estimator serves projections
            within it; ``channel_dim`` does not matter.
        scales: sizes, coarse to fine: ints, or a number a spatial axis.
        size: of the maps that come in, and go out of ``decode``; the last scale by default.
        spatial_axes: 1, 2 or 3; by default as many as a size has numbers, or 2 where all are ints.
        quant_resi: r of φ(x) = (1 − r)·x + r·conv(x); 0 for no φ.
        share_quant_resi: 1 φ for all scales, 0 for one a scale, n for n of them by place.
        interpolation: ``"cubic"`` or ``"linear"``.
        commitment_weight: β. fit_weight: γ.
        estimator: how the output's gradient reaches ``x``, ``StraightThrough()`` by default.
        dropout: train with fewer scales at random, always some first ones.
        channel_dim: the axis of the channels; of the others the first is the batch.
        usage_window: tokens of each scale over which usage and perplexity are counted.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> from vqkit import VectorQuantize
        >>> quantizer = MultiScale(VectorQuantize(8, 32), scales=(1, 2, 4)).eval()
        >>> x = torch.randn(2, 8, 4, 4)
        >>> quantized, indices, loss = quantizer(x)
        >>> quantized.shape, indices.shape, [tuple(m.shape) for m in quantizer.split(indices)]
        (torch.Size([2, 8, 4, 4]), torch.Size([2, 21]), [(2, 1, 1), (2, 2, 2), (2, 4, 4)])
        >>> bool((quantizer.decode(indices) == quantized).all()), quantizer.decode(indices[:, :5]).shape
        (True, torch.Size([2, 8, 4, 4]))
    """

    index_axis = True
    row_wise = False
    quantizers: Sequence[Quantizer]
    windows: Sequence[UsageWindow]

    def __init__(
        self,
        quantizer: Quantizer | Sequence[Quantizer],
        scales: Sequence[Size],
        *,
        size: Size | None = None,
        spatial_axes: int | None = None,
        quant_resi: float = 0.5,
        share_quant_resi: int = 1,
        interpolation: str = "cubic",
        commitment_weight: float = 0.25,
        fit_weight: float = 1.0,
        estimator: Estimator | None = None,
        dropout: StageDropout | None = None,
        channel_dim: int = 1,
        usage_window: int = 65_536,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        parsed = parse_scales(scales, size, spatial_axes)
        S = len(parsed.sizes)
        shared = isinstance(quantizer, Quantizer)
        each = quantizers_in("quantizer", [quantizer]) if shared else _one_a_scale(quantizer, S)
        super().__init__(each[0].dim, channel_dim)
        self._arguments = given
        self.shared, self.scales = shared, parsed
        self.axis = _checked_axis(channel_dim, self.scales.axes + 2)
        if any(q.conditioned for q in each):
            raise bad_value("quantizer", "one that quantizes each row by itself", type(each[0]).__name__)
        self.quantizers = nn.ModuleList(each)  # pyright: ignore[reportAttributeAccessIssue]
        self.phis = Phis(self.dim, self.scales.axes, S, quant_resi, share_quant_resi)
        self.interpolation = check_choice("interpolation", interpolation, MODES)
        self.beta = check_number("commitment_weight", commitment_weight, 0)
        self.gamma = check_number("fit_weight", fit_weight, 0)
        self.estimator = StraightThrough() if estimator is None else check_estimator("estimator", estimator)
        self.dropout = None if dropout is None else DropoutClock(dropout, S)
        windows = (UsageWindow(len(q.index_sizes), max(q.index_sizes), usage_window) for q in self._each())
        self.windows = nn.ModuleList(windows)  # pyright: ignore[reportAttributeAccessIssue]

    def _each(self) -> list[Quantizer]:
        """The quantizer of each scale."""
        return [*self.quantizers] * (len(self.scales.sizes) if self.shared else 1)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize maps ``x``; in training mode also learn.

        Args:
            mask: (B,) bool, the maps that count. lens: None, since averages run over whole maps.
            freeze_codebook: override the quantizer's; φ is no codebook.
        """
        return self._quantize(x, mask, lens, freeze_codebook)

    # --- on rows that are whole maps (B, C·P) -------------------------------------------------------------------------

    @property
    def freeze_codebook(self) -> bool:
        """Whether nothing within learns, as constructed."""
        return all_frozen(self.quantizers)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        pairs = zip(self._each(), self.scales.tokens, strict=True)
        return tuple(size for quantizer, n in pairs for size in quantizer.index_sizes * n)

    @torch.no_grad()
    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        """Place what waits for rows, from those of every scale, were each scale to pass on its averages unrounded: a
        coarse scale has too few rows of its own, and those it will have hang on codes that are not there yet.
        """
        x, seen = self._maps(rows), []
        f_hat = torch.zeros_like(x)
        for s, size in enumerate(self.scales.sizes):
            seen.append(self._by_map(area_down(x - f_hat, size)))
            f_hat = f_hat + self._full_size(seen[-1].flatten(0, 1), s)
        # Map after map, so that ranks and one process see the same order.
        tokens = torch.cat(seen, 1)
        counted = valid.repeat_interleave(tokens.shape[1])
        check_first_rows(self, counted, frozen)
        for quantizer in self.quantizers:
            quantizer.begin_(tokens.flatten(0, 1), counted, frozen=frozen)

    @distributed.together()
    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        x, S = self._maps(rows), len(self.scales.sizes)
        learning = self.training and not (self.freeze_codebook if frozen is None else frozen)
        if learning and not self.begun:
            self.begin_(rows, valid, frozen=frozen)
        kept_B = None if self.dropout is None or not self.training else self.dropout.kept_(rows.shape[0], tick=learning)
        chosen = [None] * S if given is None else self.scales.columns(given, self._width)
        f_hat, losses, found = torch.zeros_like(x), [], []
        for s, quantizer in enumerate(self._each()):
            valid_B = valid if kept_B is None else valid & (kept_B > s)
            tokens, counted = self._pooled(x - f_hat.detach(), valid_B, s)
            later = more or (self.shared and s < S - 1)
            step = quantizer.step(tokens, counted, frozen=frozen, given=chosen[s], more=later)
            f_hat = f_hat + self._added(_fitted(quantizer, step, tokens), step.indices, s)
            losses.append(step.loss.sum() + self._map_loss(x, f_hat, valid_B))
            found.append(step.indices)
            if learning:
                self.windows[s].record_(step.indices.t())
        loss = torch.stack(losses).mean()
        if kept_B is not None:
            used_S = (kept_B[:, None] > torch.arange(S, device=x.device)).any(0)
            loss = torch.where(used_S, torch.stack(losses), 0).sum() / used_S.sum().clamp(min=1)

        def through(again: Tensor) -> Tensor:
            tokens, q = self._tokens(self._maps(again, again.dtype)), self._tokens(f_hat).to(again.dtype)
            y = estimate(self.estimator, tokens, q, training=self.training)
            return y.reshape(again.shape[0], again.shape[1] // self.dim, self.dim).mT.reshape(again.shape)

        return Step(f_hat.flatten(1), self.scales.one_row(found), loss, valid, through)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        x, found = self._maps(rows), []
        f_hat = torch.zeros_like(x)
        for s, quantizer in enumerate(self._each()):
            found.append(quantizer.encode_rows(*self._pooled(x - f_hat, valid, s)))
            f_hat = f_hat + self._added(quantizer.decode_rows(found[-1]), found[-1], s)
        return self.scales.one_row(found)

    def decode_rows(self, indices: Tensor) -> Tensor:
        return deque(self._running(indices), maxlen=1).pop().flatten(1)

    def _running(self, indices: Tensor) -> Iterator[Tensor]:
        """f̂ (B, C, *size) after each scale of indices (B, L·I)."""
        f_hat, columns = 0.0, self.scales.columns(indices, self._width)
        for s, quantizer in enumerate(self._each()):
            f_hat = f_hat + self._added(quantizer.decode_rows(columns[s]), columns[s], s)
            yield f_hat

    # --- scales -------------------------------------------------------------------------------------------------------

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """Indices (B, L[, I]) of all scales or some first ones as (B, L·I), −1 for those that are missing."""
        check_shape("indices", check_indices("indices", indices), ("B", "L", *self._tail))
        missing = sum(self.scales.tokens[self.scales.prefix(indices.shape[1]) :])
        rows_BI = indices.flatten(1)
        rows_BI = check_code_range(rows_BI, self.index_sizes[: rows_BI.shape[1]])
        rows_BI = nn.functional.pad(rows_BI, (0, missing * self._width), value=-1)
        return rows_BI, self._layout(indices.shape[0])

    def split(self, indices: Tensor) -> list[Tensor]:
        """Indices (B, L[, I]) of all scales, or some first ones, as maps: (B, *size[, I]) each, coarse to fine."""
        check_shape("indices", check_indices("indices", indices), ("B", "L", *self._tail))
        count = self.scales.prefix(indices.shape[1])
        parts = indices.split(self.scales.tokens[:count], 1)
        return [p.reshape(p.shape[0], *size, *self._tail) for p, size in zip(parts, self.scales.sizes, strict=False)]

    def join(self, maps: Sequence[Tensor]) -> Tensor:
        """What ``split`` gave, (B, L[, I]) again."""
        if not 1 <= len(maps) <= len(self.scales.sizes):
            raise bad_value("maps", f"one to {len(self.scales.sizes)} maps of indices", len(maps))
        for part, size in zip(maps, self.scales.sizes, strict=False):
            check_shape("maps", check_indices("maps", part), (len(maps[0]), *size, *self._tail))
        return torch.cat([part.flatten(1, self.scales.axes) for part in maps], 1)

    def teacher_forcing(self, indices: Tensor) -> Tensor:
        """What a next-scale transformer reads, for every scale but the first: f̂ of the scales before, at its size.

        Args:
            indices: (B, L[, I]); the last scale may be left out, and is not looked at.

        Returns:
            (B, L − n, C) float32, n the tokens of the first scale (``idxBl_to_var_input`` of VAR's code).
        """
        running = zip(self._running(self.columns(indices)[0]), self.scales.sizes[1:], strict=False)
        tokens = [self._by_map(area_down(f_hat, size)) for f_hat, size in running]
        return torch.cat(tokens, 1) if tokens else indices.new_zeros(indices.shape[0], 0, self.dim, dtype=torch.float32)

    def next_scale_input(self, f_hat: Tensor | None, scale: int, indices: Tensor) -> NextScale:
        """Add the indices of one more scale, and say what the transformer reads next: ``teacher_forcing`` step by step.

        Args:
            f_hat: the sum of the scales before, as this method returned it; None at scale 0.
            scale: the scale that was drawn. indices: (B, n[, I]) of it, or as a map (B, *size[, I]).
        """
        if not 0 <= scale < len(self.scales.sizes):
            raise bad_value("scale", f"a number in [0, {len(self.scales.sizes)})", scale)
        if (f_hat is None) != (scale == 0):
            raise bad_value("f_hat", "the sum of the scales before, or None at scale 0", f"{f_hat} at scale {scale}")
        size, quantizer = self.scales.sizes[scale], self._each()[scale]
        if check_indices("indices", indices).ndim == self.scales.axes + 1 + len(self._tail):
            indices = check_shape("indices", indices, ("B", *size, *self._tail)).flatten(1, self.scales.axes)
        B = len(check_shape("indices", indices, ("B", self.scales.tokens[scale], *self._tail)))
        rows = check_code_range(indices.reshape(-1, self._width), quantizer.index_sizes)
        added = self._added(quantizer.decode_rows(rows), rows, scale)
        if f_hat is not None:
            before, _ = to_maps(f_hat, self.dim, self.scales.full, self.axis, ())
            added = self._maps(before) + added
        after = self.scales.sizes[scale + 1 : scale + 2]
        tokens = self._by_map(area_down(added, after[0])) if after else None
        return NextScale(self._layout(B).restore(added), tokens)

    def usage(self) -> Tensor:
        """Share of codes drawn by the last training tokens of each scale: (S,) float64, or (S, I)."""
        hit = torch.stack([(window.usage() * window.size).round() for window in self.windows])
        return self._per_scale(hit / hit.new_tensor([quantizer.index_sizes for quantizer in self._each()]))

    def perplexity(self) -> Tensor:
        """Perplexity of the codes drawn by the last training tokens of each scale: (S,) float64, or (S, I)."""
        return self._per_scale(torch.stack([window.perplexity() for window in self.windows]))

    def _per_scale(self, values_SI: Tensor) -> Tensor:
        return values_SI.reshape(values_SI.shape[0], *self._tail)

    # --- from rows to maps, to tokens, and back -----------------------------------------------------------------------

    @property
    def _width(self) -> int:
        """I, how many indices a token has."""
        return len(self._each()[0].index_sizes)

    @property
    def _tail(self) -> tuple[int, ...]:
        """(I,) where a token has an axis of indices."""
        return (self._width,) if self._each()[0].index_axis or self._width > 1 else ()

    def _layout(self, batch: int) -> MapLayout:
        columns = (sum(self.scales.tokens), *self._tail)
        return MapLayout((batch,), self.axis, self.dim, self.scales.full, columns)

    def _to_rows(self, x: Tensor) -> tuple[Tensor, Layout]:
        return to_maps(x, self.dim, self.scales.full, self.axis, (sum(self.scales.tokens), *self._tail))

    def _maps(self, rows: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Rows (B, C·P) as maps (B, C, *size); float32, so that ``decode`` adds up the same numbers."""
        return rows.reshape(rows.shape[0], self.dim, *self.scales.full).to(dtype)

    def _by_map(self, maps: Tensor) -> Tensor:
        """(B, C, *size) to (B, n, C)."""
        return maps.flatten(2).mT

    def _tokens(self, maps: Tensor) -> Tensor:
        """(B, C, *size) to (B·n, C)."""
        return self._by_map(maps).flatten(0, 1)

    def _pooled(self, residual: Tensor, valid: Tensor, scale: int) -> tuple[Tensor, Tensor]:
        """The residual's tokens (B·n, C) at a scale, zero where they do not count, and which do."""
        counted = valid.repeat_interleave(self.scales.tokens[scale])
        tokens = self._tokens(area_down(residual, self.scales.sizes[scale]))
        return torch.where(counted[:, None], tokens, 0), counted

    def _full_size(self, tokens: Tensor, scale: int) -> Tensor:
        """Tokens (B·n, C) of a scale to φ of their map at the full size (B, C, *size)."""
        n, size = self.scales.tokens[scale], self.scales.sizes[scale]
        B = tokens.shape[0] // n
        maps = tokens.reshape(B, n, self.dim).mT.reshape(B, self.dim, *size)
        return self.phis[scale](upsample(maps.float(), self.scales.full, self.interpolation))

    def _added(self, values: Tensor, indices: Tensor, scale: int) -> Tensor:
        """What a scale's values (B·n, C) add to f̂; nothing where all of a map's indices (B·n, I) are −1."""
        drawn = (indices >= 0).any(1)
        maps = self._full_size(torch.where(drawn[:, None], values, 0), scale)
        some = drawn.reshape(maps.shape[0], self.scales.tokens[scale]).any(1)
        return torch.where(some.reshape(-1, *[1] * (maps.ndim - 1)), maps, 0)

    def _map_loss(self, x: Tensor, f_hat: Tensor, valid: Tensor) -> Tensor:
        rows, reached = x.flatten(1), f_hat.flatten(1)
        commitment = functional.commitment_loss(rows, reached, valid)
        return self.beta * commitment + self.gamma * functional.codebook_loss(rows, reached, valid)


def _fitted(quantizer: Quantizer, step: Step, tokens: Tensor) -> Tensor:
    """A step's code, with the gradient that the fit of f̂ sends into the quantizer, and none to the residual.

    Straight quantizers learn at their codes; into projections the gradient gets by the quantizer's own estimator.
    """
    if quantizer.straight:
        return step.code
    return functional.straight_through(step.through(tokens.detach()), step.code.detach())


def _one_a_scale(value: object, scales: int) -> list[Quantizer]:
    quantizers = quantizers_in("quantizer", value)
    if len(quantizers) != scales or len({id(q) for q in quantizers}) != scales:
        raise bad_value("quantizer", f"one, or a different one for each of {scales} scales", f"{len(quantizers)}")
    shapes = {(q.dim, len(q.index_sizes), q.index_axis) for q in quantizers}
    if len(shapes) > 1:
        raise bad_value("quantizer", "one width and as many indices a row at every scale", sorted(shapes))
    return quantizers


def _checked_axis(channel_dim: object, rank: int) -> int:
    if isinstance(channel_dim, bool) or not isinstance(channel_dim, int):
        raise bad_type("channel_dim", "an int", channel_dim)
    if not -rank <= channel_dim < rank:
        raise bad_value("channel_dim", f"an axis of {rank}", channel_dim)
    return channel_dim % rank
