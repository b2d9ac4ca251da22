"""``RandomProjectionQuantizer``: labels from a frozen random projection and a frozen random table."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.codebook import Codebook, Fixed, Normal
from vqkit.codebook.precision import Float32State
from vqkit.errors import ArgumentError
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.shapes import MOST_COLUMNS, check_int


@registered
class RandomProjectionQuantizer(Quantizer):
    """Indices of the codes nearest in angle to a random projection of every vector; nothing learns (BEST-RQ, Chiu et
    al. 2022, arXiv:2202.01855).

    ``forward(x)`` returns the indices alone, int64: the shape of ``x`` without channels, with a last axis of codebooks
    if there are several. They are labels for a masked prediction, not an encoding: there is no way back to ``x``, so
    ``decode`` raises, and ``codes_of`` gives the unit codes.

    Args:
        dim: width of the input. codebook_size: codes K of each codebook. codebook_dim: width of the projection and of
            the codes. num_codebooks: codebooks C, each with a projection of its own (USM, arXiv:2303.01037).
        norm: bring each vector to mean 0 and variance 1 first, without which few codes are hit.
        projection_has_bias: the projections add an offset each, zero but where one is loaded: those of
            vector-quantize-pytorch with several codebooks do.
        channel_dim: the axis of the channels. usage_window: training rows over which usage is counted.

    Example:
        >>> import torch
        >>> quantizer = RandomProjectionQuantizer(dim=32, codebook_size=64, codebook_dim=8, num_codebooks=4)
        >>> quantizer(torch.randn(1, 10, 32)).shape, list(quantizer.parameters())
        (torch.Size([1, 10, 4]), [])
    """

    straight = False
    row_wise = False

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        codebook_dim: int,
        num_codebooks: int = 1,
        norm: bool = True,
        *,
        projection_has_bias: bool = False,
        channel_dim: int = -1,
        usage_window: int = 65_536,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(dim, channel_dim)
        self._arguments = given
        self.num_codebooks = check_int("num_codebooks", num_codebooks, maximum=MOST_COLUMNS)
        self.codebook_size = check_int("codebook_size", codebook_size)
        self.norm: nn.Module = nn.LayerNorm(dim, elementwise_affine=False) if norm else nn.Identity()
        inner = check_int("codebook_dim", codebook_dim)
        self.projection = RandomProjection(dim, inner, num_codebooks, projection_has_bias)
        options = {"metric": "cosine", "init": Normal(), "update": Fixed(), "revive": None}
        self.book = Codebook(codebook_size, codebook_dim, num_codebooks, window=usage_window, **options)
        self.window = self.book.window
        self.index_axis = num_codebooks > 1

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Tensor:
        """Indices of ``x``.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: for the common form of a call; nothing learns anyway.
        """
        del freeze_codebook
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        indices_NC = self.encode_rows(rows, valid)
        self._count_codes(indices_NC)
        return self._arrange(indices_NC, layout)

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return (self.codebook_size,) * self.num_codebooks

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        with torch.autocast(rows.device.type, enabled=False):
            projected_CND = self.projection(self.norm(rows if rows.dtype == torch.float64 else rows.float()))
        finite_N = projected_CND.isfinite().all(2).all(0)
        indices_CN = self.book.nearest(self.book.prepare(torch.where(finite_N[:, None], projected_CND, 0)))
        return torch.where(valid & finite_N, indices_CN, -1).t()

    def codes_of(self, indices: Tensor) -> Tensor:
        """Unit codes of ``indices`` (shaped as returned): (..., codebook_dim), or (..., C, codebook_dim); zero for −1.

        Raises:
            CodeIndexError: an index out of range.
        """
        indices_NC, layout = self.columns(indices)
        codes_NCD = self.book.take(indices_NC.t()).transpose(0, 1)
        return layout.arrange(codes_NCD if self.index_axis else codes_NCD[:, 0])

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
    ) -> Step:
        del rows, valid, frozen, given, more
        raise ArgumentError(_NO_WAY_BACK)

    def decode_rows(self, indices: Tensor) -> Tensor:
        del indices
        raise ArgumentError(_NO_WAY_BACK)


_NO_WAY_BACK = (
    "RandomProjectionQuantizer: expected a use of indices alone, got one that needs vectors: "
    "a random projection has no way back; codes_of(indices) gives the codes"
)


class RandomProjection(Float32State):
    """``count`` frozen linear maps from width ``dim`` to ``inner``, drawn as Xavier's normal initialisation does.

    Args:
        dim: width in. inner: width out. count: maps C. bias: with an offset each, zero at first.
    """

    matrices: Tensor
    offsets: Tensor

    def __init__(self, dim: int, inner: int, count: int, bias: bool = False):
        super().__init__()
        drawn = torch.randn(count, dim, inner, dtype=torch.float32) * (2 / (dim + inner)) ** 0.5
        self.register_buffer("matrices", drawn)
        self.bias = bias
        if bias:
            self.register_buffer("offsets", torch.zeros(count, 1, inner, dtype=torch.float32))

    def forward(self, rows: Tensor) -> Tensor:
        """(N, dim) to (C, N, inner)."""
        projected = rows @ self.matrices.to(rows.dtype)
        return projected + self.offsets.to(rows.dtype) if self.bias else projected
