"""``LatentQuantize``: every coordinate takes the nearest of a few learned values of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from vqkit import distributed, functional
from vqkit.codebook import Codebook, EvenlySpaced, Fixed, Gradient, InPlace
from vqkit.codebook.fit import place_from_rows_
from vqkit.codebook.update import Update
from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.functional.losses import weighted
from vqkit.functional.scalar import check_grid
from vqkit.quantizers.base import Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.levels import LevelQuantizer
from vqkit.quantizers.output import Quantized
from vqkit.shapes import MOST_COLUMNS, check_int, check_number

OptimizerFactory = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@registered
class LatentQuantize(LevelQuantizer):
    """Replace every coordinate by the nearest of the scalar values of its dimension (Hsu et al. 2023, "Disentanglement
    via Latent Quantization", arXiv:2305.18378).

    The values of each dimension are a table of scalars, which begins evenly spaced in [−½, ½] and is learned; the
    codebook is the product of the tables, so that it is cheap to be organised and dear to be entangled. The paper
    regularises the model around it with a high weight decay.

    ``forward(x)`` takes floating-point ``x`` of any rank with ``dim`` channels along ``channel_dim``. It returns

    - ``quantized``: the shape and dtype of ``x``;
    - ``indices``: int64 in [0, Π levels), the shape of ``x`` without channels, with a last axis of codebooks if there
      are several; they number a code's values by their places in the tables, in whatever order those have come to lie;
    - ``loss``: () float32, β_c·mean|z − sg(q)|² + β_q·mean|sg(z) − q|² over coordinates z and their values q, behind
      the projection in and before the projection out. The second term moves values that learn by gradient, and is left
      out for others.

    The gradient of the output goes straight through to ``x``. Rows that are masked, or hold NaN or inf, get index −1
    and zeros, and count nowhere.

    Args:
        levels: how many values each coordinate has, their product at most 2^62; one int for all of them.
        dim: width of the input; linear projections go in and out where coordinates times codebooks differ from it.
        commitment_loss_weight, quantization_loss_weight: β_c and β_q.
        num_codebooks: codes a row, each with its own index, all from the same tables.
        codebook_dim: coordinates of a code, for one int ``levels``; by default ``dim`` over ``num_codebooks``.
        keep_num_codebooks_dim: an axis of codebooks behind the indices; by default if there are several.
        optimize_values: whether the values learn.
        in_place_codebook_optimizer: makes an optimizer of parameters, which steps the values on mean|sg(z) − q|² inside
            the training forward; by default the caller's optimizer moves them, as parameters of this module.
        channel_dim: the axis of the channels; None: the second from rank 4 on (images, video), else the last.
        usage_window: training rows over which usage and perplexity are counted.

    Raises:
        ArgumentError, ArgumentTypeError: arguments that do not fit.

    Example:
        >>> import torch
        >>> quantizer = LatentQuantize(levels=[5, 5, 8], dim=16)
        >>> quantized, indices, loss = quantizer(torch.randn(1, 16, 32, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 16, 32, 32]), torch.Size([1, 32, 32]), torch.Size([]))
        >>> bool((quantized == quantizer.indices_to_codes(indices)).all())
        True
    """

    def __init__(
        self,
        levels: Sequence[int] | int,
        dim: int,
        commitment_loss_weight: float = 0.1,
        quantization_loss_weight: float = 0.1,
        num_codebooks: int = 1,
        codebook_dim: int | None = None,
        keep_num_codebooks_dim: bool | None = None,
        optimize_values: bool = True,
        in_place_codebook_optimizer: OptimizerFactory | None = None,
        *,
        channel_dim: int | None = None,
        usage_window: int = 65_536,
    ):
        arguments = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        counts = check_grid("levels", _level_list(levels, dim, num_codebooks, codebook_dim))
        super().__init__(
            counts, dim, num_codebooks, keep_num_codebooks_dim, channel_dim=channel_dim, usage_window=usage_window
        )
        self._arguments = arguments
        self.commitment_weight = check_number("commitment_loss_weight", commitment_loss_weight, 0)
        self.quantization_weight = check_number("quantization_loss_weight", quantization_loss_weight, 0)
        optimizer = in_place_codebook_optimizer
        if optimizer is not None and not callable(optimizer):
            raise bad_type("in_place_codebook_optimizer", "a function of parameters, or None", optimizer)
        if optimizer is not None and not optimize_values:
            raise ArgumentError("in_place_codebook_optimizer: expected None with optimize_values=False")
        update: Update = Gradient() if optimize_values else Fixed()
        if optimizer is not None:
            update = InPlace(optimizer)
        books = (Codebook(n, 1, init=EvenlySpaced(), update=update, revive=None, window=usage_window) for n in counts)
        self.books = cast("Sequence[Codebook]", nn.ModuleList(books))
        self.by_gradient = update.by_gradient
        self.straight = not self.projections.projects

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize ``x``; in training mode also learn.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: the values do not learn this step.
        """
        return self._quantize(x, mask, lens, freeze_codebook)

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
        learning = self.training and not frozen
        coordinates, valid = self._enter(rows, valid, count=self.training)
        columns, valid_1M = self._columns(coordinates), valid.repeat_interleave(self.num_codebooks)[None]
        for book, x_1M1 in zip(self.books, columns, strict=True):
            if book.recorder is not None:
                book.recorder(x_1M1, valid_1M)
            if learning:
                book.prepare_(x_1M1, valid_1M)
        levels = self.round(coordinates) if given is None else self.levels_of(given)
        indices = self._indices(levels, valid)
        if learning:
            for book, x_1M1, level_1M1 in zip(self.books, columns, self._columns(levels), strict=True):
                book.learn_(x_1M1, torch.where(valid_1M, level_1M1[..., 0], -1), accumulate=more)
            self._count_codes(indices)
        code = self.values(levels).detach() if frozen else self.values(levels)

        def through(again: Tensor) -> Tensor:
            return self._straight(coordinates if again is rows else self._enter(again, valid, count=False)[0], code)

        return Step(self._leave(code), indices, self._loss(coordinates, code, valid), valid, through)

    def round(self, coordinates: Tensor) -> Tensor:
        pairs = zip(self.books, self._columns(coordinates), strict=True)
        return torch.stack([book.nearest(book.prepare(x_1M1)) for book, x_1M1 in pairs], -1).reshape(coordinates.shape)

    def values(self, levels: Tensor) -> Tensor:
        pairs = zip(self.books, self._columns(levels), strict=True)
        return torch.cat([book.take(level_1M1[..., 0]) for book, level_1M1 in pairs], -1).reshape(levels.shape)

    @torch.no_grad()
    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        valid = torch.ones(rows.shape[0], dtype=torch.bool, device=rows.device)
        coordinates, _ = self._enter(rows, valid, count=False)
        for book, x_1M1 in zip(self.books, self._columns(coordinates), strict=True):
            place_from_rows_(book, list(book.prepare(x_1M1)), method, iters)

    @property
    def tables(self) -> list[Tensor]:
        """The values of each coordinate as they are now, a float32 tensor (levels,) each."""
        return [book.codes()[0, :, 0] for book in self.books]

    @staticmethod
    def _columns(coordinates: Tensor) -> list[Tensor]:
        """(N, C, D) as D columns (1, N·C, 1), the shape of a table's rows."""
        return [column.reshape(1, -1, 1) for column in coordinates.unbind(-1)]

    def _loss(self, coordinates: Tensor, code: Tensor, valid: Tensor) -> Tensor:
        code = code.to(coordinates.dtype)
        loss = weighted(self.commitment_weight, functional.commitment_loss(coordinates, code, valid))
        if self.by_gradient:
            loss = loss + weighted(self.quantization_weight, functional.codebook_loss(coordinates, code, valid))
        return loss.float()


def _level_list(levels: Sequence[int] | int, dim: int, num_codebooks: int, codebook_dim: int | None) -> Sequence[int]:
    """One count for each of a code's coordinates."""
    if isinstance(levels, Sequence):
        if codebook_dim is not None and codebook_dim != len(levels):
            raise bad_value("codebook_dim", f"{len(levels)}, the number of levels, or None", codebook_dim)
        return levels
    if codebook_dim is None:
        if check_int("dim", dim) % check_int("num_codebooks", num_codebooks, maximum=MOST_COLUMNS):
            raise bad_value("codebook_dim", f"an int, where num_codebooks does not divide dim {dim}", None)
        codebook_dim = dim // num_codebooks
    return [check_int("levels", levels)] * check_int("codebook_dim", codebook_dim, maximum=MOST_COLUMNS)
