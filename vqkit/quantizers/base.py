"""What every quantizer is: rows in, rows out, indices between; layouts, masks and bad numbers are handled here.

A quantizer of a new kind says what it does with rows (N, dim) in three methods, ``step``, ``encode_rows`` and
``decode_rows``, and how its indices look in ``index_sizes`` and ``index_axis``. Everything else it has from here.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from vqkit.codebook import Codebook, codebook_warmup
from vqkit.codebook.recompute import within_backward
from vqkit.codebook.window import UsageWindow
from vqkit.errors import ArgumentError, bad_type
from vqkit.functional.counted import none_known, zero_unless
from vqkit.functional.lookup import check_code_range
from vqkit.kernels import ops
from vqkit.layout import Layout, layout_of_indices, rows_that_count, to_rows
from vqkit.quantizers.config import to_json
from vqkit.quantizers.output import Quantized
from vqkit.shapes import check_int

if TYPE_CHECKING:
    from typing_extensions import Self


class Step(NamedTuple):
    """What a quantizer makes of rows (N, dim).

    code: (N, dim), the value to return; its gradient reaches codes and projections out, never the rows.
    indices: (N, I) int64, −1 where a row does not count. loss: () float32. valid: (N,) bool, the rows that count.
    through: rows (N, dim) to the value ``code`` with the gradient that the estimator sends to those rows.
    """

    code: Tensor
    indices: Tensor
    loss: Tensor
    valid: Tensor
    through: Callable[[Tensor], Tensor]


class Quantizer(nn.Module):
    """Base of all quantizers: ``encode(x) -> indices`` and ``decode(indices) -> quantized`` are pure.

    Attributes:
        dim: width of the vectors. channel_dim: their axis; None: auto (``layout.channel_axis``).
        config: the constructor's arguments, JSON-able.
        index_axis: whether indices have a last axis of I indices a row. batch_axis: where they have the batch.
        straight: whether a straight-through gradient is the identity: no projection, no squashing on the way.
        row_wise: whether rows (N, dim) become vectors of their own space one by one, so that others can build on it.
        proposes: whether ``proposals`` has any.
        conditioned: whether ``step`` and ``decode_rows`` take a ``context``, the sum of the stages before.
        step_options: what ``step`` takes besides: ``temperature`` to draw codes with, ``targets`` (N, I) of its loss.
        window: which indices the last training rows had; None where tables within keep their own.
    """

    skipped_rows: Tensor
    index_axis: bool = False
    batch_axis: int = 0
    straight: bool = True
    row_wise: bool = True
    proposes: bool = False
    conditioned: bool = False
    step_options: frozenset[str] = frozenset()

    def __init__(self, dim: int, channel_dim: int | None = -1, rank: int | None = None):
        super().__init__()
        self.dim = check_int("dim", dim)
        if channel_dim is not None and (isinstance(channel_dim, bool) or not isinstance(channel_dim, int)):
            raise bad_type("channel_dim", "an int, or None", channel_dim)
        self.channel_dim, self.rank = channel_dim, None if rank is None else check_int("rank", rank)
        self.window: UsageWindow | None = None  # not of the class, which would hide the module assigned later
        self.register_buffer("skipped_rows", torch.zeros((), dtype=torch.int64), persistent=False)
        self._warned = False
        self._arguments: dict[str, Any] = {}

    @property
    def config(self) -> dict[str, Any]:
        """``{"type": …, …}``: what ``vqkit.quantizers.build`` builds this quantizer from. Modules and functions have
        no such form.
        """
        arguments = {name: to_json(name, value) for name, value in self._arguments.items()}
        return {"type": type(self).__name__, **arguments}

    @property
    def index_sizes(self) -> tuple[int, ...]:
        """How many values each of a row's I indices can take."""
        raise NotImplementedError  # abstract: every quantizer has its own

    # --- on rows ----------------------------------------------------------------------------------------------------

    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        """Place codes that wait for rows, as a first ``step`` would; for wrappers whose first step has too few."""
        del rows, valid, frozen

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        """Quantize rows (N, dim); in training mode also learn.

        Args:
            valid: (N,) bool, rows that count; the others are zero. frozen: learn nothing (None: as constructed).
            given: indices (N, I) to take instead of the nearest. more: rows of the same step are still to come.
        """
        raise NotImplementedError  # abstract: every quantizer has its own

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        """Indices (N, I) of rows (N, dim), −1 where a row does not count."""
        raise NotImplementedError  # abstract: every quantizer has its own

    def table(self) -> Tensor | None:
        """The codes (K, dim) of which ``encode_rows`` takes the nearest and ``decode_rows`` the one of the index, if
        that is all they do; else None.
        """
        return None

    def decode_rows(self, indices: Tensor) -> Tensor:
        """Values (N, dim) of indices (N, I) within their range; an index −1 adds nothing."""
        raise NotImplementedError  # abstract: every quantizer has its own

    def proposals(self, rows: Tensor, valid: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` values nearest to each row, for a beam search: what they leave of it, |x − q|², (N, T), and
        their indices (N, T, I).
        """
        del rows, valid, count
        raise ArgumentError(f"beam_size: expected stages that search one table each, got {type(self).__name__}")

    # --- on tensors of any shape ------------------------------------------------------------------------------------

    def encode(self, x: Tensor, *, mask: Tensor | None = None, lens: Tensor | None = None) -> Tensor:
        """Indices of ``x``, int64, shaped as ``forward`` returns them; changes nothing, in training mode too."""
        rows, valid, layout = self._rows(x, mask, lens, count=False)
        return self._arrange(self.encode_rows(rows, valid), layout)

    def decode(self, indices: Tensor) -> Tensor:
        """Quantized vectors of ``indices`` (shaped as ``forward`` returns them), equal to its output to the bit; −1
        gives zeros.

        Raises:
            CodeIndexError: an index out of range. ArgumentError, ArgumentTypeError: a shape or dtype that does not fit.
        """
        indices_NI, layout = self.columns(indices)
        return layout.restore(zero_unless((indices_NI >= 0).any(1), self.decode_rows(indices_NI)))

    def get_output_from_indices(self, indices: Tensor) -> Tensor:
        """``decode`` under the name it has beside ``get_codes_from_indices``."""
        return self.decode(indices)

    def indices_to_codes(self, indices: Tensor) -> Tensor:
        """``decode`` under the name that quantizers without a table give it."""
        return self.decode(indices)

    def _quantize(
        self, x: Tensor, mask: Tensor | None, lens: Tensor | None, freeze_codebook: bool | None = None
    ) -> Quantized:
        """A plain forward: rows, one step, and back into the layout and dtype of the input."""
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        return self._returned(self.step(rows, valid, frozen=freeze_codebook), rows, layout, x.dtype)

    def _returned(self, step: Step, rows: Tensor, layout: Layout, dtype: torch.dtype) -> Quantized:
        """What a step made of ``rows``, in the layout and dtype of the input."""
        quantized = zero_unless(step.valid, step.through(rows))
        return Quantized(layout.restore(quantized).to(dtype), self._arrange(step.indices, layout), step.loss)

    def _arrange(self, indices_NI: Tensor, layout: Layout) -> Tensor:
        return layout.arrange(indices_NI if self.index_axis else indices_NI[:, 0])

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """Indices as given to ``decode`` as (N, I), checked, and the layout of what they stand for."""
        sizes = self.index_sizes
        indices_NI, layout = layout_of_indices(indices, self.channel_dim, len(sizes) if self.index_axis else None)
        return check_code_range(indices_NI, sizes), layout

    # --- codes from data --------------------------------------------------------------------------------------------

    def fit(
        self, loader: Iterable[Tensor], *, method: str = "kmeans", iters: int = 10, rows_per_code: int = 64
    ) -> Self:
        """Place the codes of every table from many batches of inputs at once (see ``codebook_warmup``); returns
        self.
        """
        codebook_warmup(self, loader, method, iters=iters, rows_per_code=rows_per_code)
        return self

    @property
    def begun(self) -> bool:
        """Whether the codes of every table within lie where they begin: False where a first batch has yet to come."""
        return all(book.placed for book in self.modules() if isinstance(book, Codebook))

    def largest_table(self) -> int:
        """The most codes that a table within has; 0 without tables."""
        return max((book.size for book in self.modules() if isinstance(book, Codebook)), default=0)

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        """Place the codes of every table from rows (N, dim), at least ``largest_table()`` of them; nothing to do for a
        quantizer without tables.
        """

    # --- usage ------------------------------------------------------------------------------------------------------

    def usage(self) -> Tensor:
        """Share of codes drawn by the last training rows: () float64, or (I,) with an axis of indices."""
        return self._per_index(self._window().usage())

    def perplexity(self) -> Tensor:
        """Perplexity of the codes drawn by the last training rows: () float64, or (I,) with an axis of indices."""
        return self._per_index(self._window().perplexity())

    def _count_codes(self, indices_NI: Tensor) -> None:
        """Tell the window what a training step drew."""
        if self.training and self.window is not None and not within_backward():
            self.window.record_(indices_NI.t())

    def _window(self) -> UsageWindow:
        if self.window is None:
            raise ArgumentError(f"usage: expected a quantizer that counts its codes, got {type(self).__name__}")
        return self.window

    def _per_index(self, values: Tensor) -> Tensor:
        return values if self.index_axis else values[0]

    # --- rows and what counts ---------------------------------------------------------------------------------------

    def _rows(
        self, x: Tensor, mask: Tensor | None, lens: Tensor | None, *, count: bool
    ) -> tuple[Tensor, Tensor, Layout]:
        """Rows (N, D), which of them count (N,), and the way back. What does not count is zero, so it poisons no
        gradient.
        """
        rows, layout = self._to_rows(x)
        counted = rows_that_count(layout, mask, lens, x.device)
        finite = ops.finite_rows(rows.detach())
        valid = finite if counted is None else finite & counted
        if count:
            self._count_skipped(~finite if counted is None else counted & ~finite)
        return zero_unless(valid, rows), valid, layout

    def _to_rows(self, x: Tensor) -> tuple[Tensor, Layout]:
        return to_rows(x, self.dim, self.channel_dim, self.rank)

    def _within_float(self, entered: Tensor, valid: Tensor, *, count: bool) -> tuple[Tensor, Tensor]:
        """What a map made of rows, (N, ...), and which still count: one that overflowed counts as little as one that
        came as inf.
        """
        finite = ops.finite_rows(entered.detach().flatten(1))
        if count:
            self._count_skipped(valid & ~finite)
        valid = valid & finite
        return zero_unless(valid, entered), valid

    @torch.no_grad()
    def _count_skipped(self, skipped: Tensor) -> None:
        if none_known(skipped):
            return
        self.skipped_rows.add_(skipped.sum())
        # On a CPU the count can be read without a synchronisation; elsewhere it waits in ``skipped_rows``.
        on_cpu = self.skipped_rows.device.type == "cpu"
        if self._warned or not on_cpu or torch.compiler.is_compiling() or not self.skipped_rows.numpy() > 0:
            return
        self._warned = True
        message = f"{int(self.skipped_rows.numpy())} rows of {type(self).__name__}'s input hold NaN or inf; such rows"
        warnings.warn(f"{message} get index -1 and zeros, and teach nothing (said once)", RuntimeWarning, stacklevel=4)
