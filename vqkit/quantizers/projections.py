"""Linear maps into the space where rounding happens, and back out."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
