"""What quantizers have in common that round every coordinate by itself to one of a few levels."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from vqkit.codebook.window import UsageWindow
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.packing import pack_levels, unpack_levels
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.estimators import StraightThrough, estimate
from vqkit.quantizers.projections import Projections
from vqkit.shapes import MOST_COLUMNS, check_int

MAX_TABLE = 2**20  # codes that ``codebook`` writes out


class LevelQuantizer(Quantizer):
    """Base of FSQ, LatentQuantize and FSP: rows become C codes of D coordinates, each coordinate one of its levels.

    A subclass says which levels coordinates (N, C, D) are nearest to, in ``round``, and what levels stand for, in
    ``values``. An index packs a code's levels, the first coordinate the least significant.

    Attributes:
        levels: how many levels each of the D coordinates has. codebook_size: their product. codebook_dim: D.
        num_codebooks: C. maps: whether anything lies between rows and coordinates.
    """

    level_counts: Tensor

    def __init__(
        self,
        levels: tuple[int, ...],
        dim: int | None = None,
        num_codebooks: int = 1,
        keep_num_codebooks_dim: bool | None = None,
        *,
        channel_dim: int | None = -1,
        bias: bool = True,
        usage_window: int = 65_536,
    ):
        inner = len(levels) * check_int("num_codebooks", num_codebooks, maximum=MOST_COLUMNS)
        super().__init__(inner if dim is None else dim, channel_dim)
        if num_codebooks > 1 and keep_num_codebooks_dim is False:
            raise bad_value("keep_num_codebooks_dim", f"True with {num_codebooks} codebooks", False)
        self.index_axis = num_codebooks > 1 or bool(keep_num_codebooks_dim)
        self.levels, self.num_codebooks = levels, num_codebooks
        self.codebook_dim, self.codebook_size = len(levels), math.prod(levels)
        self.projections = Projections(self.dim, inner, bias=bias)
        self.maps = self.projections.projects
        self.register_buffer("level_counts", torch.tensor(levels), persistent=False)
        self.window = UsageWindow(num_codebooks, self.codebook_size, usage_window)

    def round(self, coordinates: Tensor) -> Tensor:
        """Coordinates (N, C, D) to the numbers of their nearest levels, int64."""
        raise NotImplementedError  # abstract: every quantizer has its own

    def values(self, levels: Tensor) -> Tensor:
        """Level numbers (N, C, D) to the coordinates they stand for, float32."""
        raise NotImplementedError  # abstract: every quantizer has its own

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * self.num_codebooks

    @property
    def codebook(self) -> Tensor:
        """All codes (K, D), before the projection out; written out on demand, up to 2^20 of them."""
        if self.codebook_size > MAX_TABLE:
            raise bad_value("codebook", f"at most {MAX_TABLE} codes to write out", self.codebook_size)
        indices = torch.arange(self.codebook_size, device=self.level_counts.device)
        return self.placed(self.values(unpack_levels(indices, self.level_counts)[:, None]))[:, 0]

    def indices_to_level_indices(self, indices: Tensor) -> Tensor:
        """Indices, shaped as ``forward`` returns them, to level numbers, with a last axis of D; −1 where there is none.

        For models that predict coordinate by coordinate.
        """
        indices_NC, layout = self.columns(indices)
        levels = torch.where(indices_NC[..., None] >= 0, self.levels_of(indices_NC), -1)
        return layout.arrange(levels if self.index_axis else levels[:, 0])

    def levels_of(self, indices: Tensor) -> Tensor:
        """Indices (N, C) to level numbers (N, C, D); of −1 level zero."""
        return unpack_levels(indices.clamp(min=0), self.level_counts)

    # --- on rows ----------------------------------------------------------------------------------------------------

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        coordinates, valid = self._enter(rows, valid, count=False)
        return self._indices(self.round(coordinates), valid)

    def decode_rows(self, indices: Tensor) -> Tensor:
        values = self.values(self.levels_of(indices))
        return self._leave(torch.where(indices[..., None] >= 0, values, 0))

    def entered(self, coordinates: Tensor) -> Tensor:
        """Coordinates (N, C, D) as projected to those that are rounded."""
        return coordinates

    def placed(self, values: Tensor) -> Tensor:
        """The way back from ``entered``."""
        return values

    def _enter(self, rows: Tensor, valid: Tensor, *, count: bool) -> tuple[Tensor, Tensor]:
        """Coordinates (N, C, D), float32 at least, and the rows that count."""
        inner = self.projections.inward(rows)
        inner = inner if inner.dtype == torch.float64 else inner.float()
        coordinates = self.entered(inner.reshape(-1, self.num_codebooks, self.codebook_dim))
        return self._within_float(coordinates, valid, count=count) if self.maps else (coordinates, valid)

    def _straight(self, path: Tensor, code: Tensor) -> Tensor:
        """Rows (N, dim) with the value of coordinates ``code`` and the gradient of ``path``, (N, C, D) both."""
        value = code.detach()
        return self._leave(estimate(StraightThrough(), path.to(value.dtype), value, training=self.training))

    def _leave(self, values: Tensor) -> Tensor:
        """Coordinates (N, C, D) to rows (N, dim)."""
        return self.projections.outward(self.placed(values).flatten(1))

    def _indices(self, levels: Tensor, valid: Tensor) -> Tensor:
        """Level numbers (N, C, D) to indices (N, C), −1 where a row does not count."""
        return torch.where(valid[:, None], pack_levels(levels, self.level_counts), -1)


def chosen_channel_dim(channel_first: bool, channel_dim: int | None) -> int | None:
    """The channel axis that ``channel_first``, short for ``channel_dim=1``, or ``channel_dim`` stands for."""
    if channel_first and channel_dim != -1:
        raise ArgumentError("channel_first: expected either it or channel_dim=…, got both")
    return 1 if channel_first else channel_dim
