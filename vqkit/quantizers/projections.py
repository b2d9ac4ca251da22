"""Linear maps into the space where rounding happens, and back out; orthogonal ones within it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vqkit.codebook.precision import Float32State
from vqkit.kernels.reference.unit import unit


class Projections(nn.Module):
    """A linear map in and one out where the inner width differs from ``dim`` (or where ``always``), else nothing.

    Args:
        dim: width outside. inner: width inside. bias: with a bias each. always: also where the widths agree.
    """

    def __init__(self, dim: int, inner: int, *, bias: bool = True, always: bool = False):
        super().__init__()
        self.projects = always or inner != dim
        self.project_in: nn.Module = nn.Linear(dim, inner, bias) if self.projects else nn.Identity()
        self.project_out: nn.Module = nn.Linear(inner, dim, bias) if self.projects else nn.Identity()

    def inward(self, rows: Tensor) -> Tensor:
        """(N, dim) to (N, inner), in the projections' dtype."""
        return self.project_in(self._cast(rows))

    def outward(self, rows: Tensor) -> Tensor:
        """(N, inner) to (N, dim), in the projections' dtype."""
        return self.project_out(self._cast(rows))

    def _cast(self, values: Tensor) -> Tensor:
        """To the projections' dtype; autocast sees to that itself."""
        if not self.projects or torch.is_autocast_enabled(values.device.type):
            return values
        return values.to(next(self.project_out.parameters()).dtype)


class CosineLinear(nn.Module):
    """Rows (N, dim) to ``scale`` times their cosines with ``inner`` learned directions, (N, inner); no bias."""

    def __init__(self, dim: int, inner: int, scale: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(inner, dim))
        self.scale = scale

    def forward(self, rows: Tensor) -> Tensor:
        """Unit vectors are made in float32 at least: half types lose the squares."""
        rows, weight = (t if t.dtype == torch.float64 else t.float() for t in (rows, self.weight))
        return nn.functional.linear(unit(rows), unit(weight)) * self.scale


class OrthogonalMap(Float32State):
    """A random rotation (or reflection) of the space where rounding happens, drawn once, and back."""

    matrix: Tensor

    def __init__(self, width: int):
        super().__init__()
        self.register_buffer("matrix", nn.init.orthogonal_(torch.empty(width, width, dtype=torch.float32)))

    def turn(self, x: Tensor) -> Tensor:
        """(..., D) to (..., D), in the dtype of ``x``."""
        with torch.autocast(x.device.type, enabled=False):
            return x @ self.matrix.to(x.dtype)

    def back(self, y: Tensor) -> Tensor:
        """``turn`` undone, in float32."""
        with torch.autocast(y.device.type, enabled=False):
            return y.float() @ self.matrix.t()
