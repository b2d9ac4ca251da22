"""Between the input's rows and the codes' space: projections, and heads as slices of the feature axis."""

from __future__ import annotations

from torch import Tensor, nn

from vqkit.errors import bad_value
from vqkit.quantizers.projections import Projections


class Heads(Projections):
    """Rows (N, dim) to (H, N', D) and back.

    A row becomes ``heads`` slices of width D. With a table each (``separate``) they lie along the first axis, H = heads
    and N' = N; with one table for all they are rows of their own, H = 1 and N' = N · heads. A linear projection goes in
    and out where ``width * heads`` differs from ``dim``, or where ``project``.

    Args:
        dim: width of the input. width: D. heads: slices. separate: a table per slice.
        layernorm: a LayerNorm behind the projection in. project: always have the projections.
    """

    def __init__(
        self, dim: int, width: int, heads: int, separate: bool, layernorm: bool = False, project: bool = False
    ):
        inner = width * heads
        super().__init__(dim, inner, always=project)
        self.width, self.heads, self.separate = width, heads, separate
        if layernorm and not self.projects:
            raise bad_value("layernorm_after_project_in", "False without a projection", layernorm)
        self.norm: nn.Module = nn.LayerNorm(inner) if layernorm else nn.Identity()

    def enter(self, rows: Tensor) -> Tensor:
        """(N, dim) to (H, N', D)."""
        rows = self.norm(self.inward(rows))
        if self.separate:
            return rows.reshape(-1, self.heads, self.width).transpose(0, 1)
        return rows.reshape(1, -1, self.width)

    def spread(self, per_row: Tensor) -> Tensor:
        """What is known of a row, (N,), for each of its slices: (H, N')."""
        if self.separate or self.heads == 1:
            return per_row.expand(self.heads, -1)
        return per_row.repeat_interleave(self.heads)[None]

    def merged(self, slices: Tensor) -> Tensor:
        """(H, N', D) to (N, heads · D): slices side by side."""
        return (slices.transpose(0, 1) if self.separate else slices).reshape(-1, self.heads * self.width)

    def leave(self, slices: Tensor) -> Tensor:
        """(H, N', D) to (N, dim)."""
        return self.outward(self.merged(slices))

    def by_row(self, indices: Tensor) -> Tensor:
        """(H, N', ...) to (N, ..., heads)."""
        if self.separate:
            return indices.movedim(0, -1)
        return indices.reshape(-1, self.heads, *indices.shape[2:]).movedim(1, -1)

    def by_slice(self, indices: Tensor) -> Tensor:
        """(N, heads) to (H, N')."""
        return indices.t() if self.separate else indices.reshape(1, -1)
