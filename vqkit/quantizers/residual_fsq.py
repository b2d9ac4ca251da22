"""``ResidualFSQ`` and ``GroupedResidualFSQ``: ever finer grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import torch
from torch import Tensor

from vqkit.codebook.precision import Float32State
from vqkit.functional.scalar import check_grid
from vqkit.quantizers.config import registered
from vqkit.quantizers.fsq import FSQ
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.output import QuantizedIndices, QuantizedIndicesWithCodes
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.stage_checks import check_count
from vqkit.quantizers.stage_options import group_width, sorted_options
from vqkit.shapes import check_number


class SoftClamp(Float32State):
    """Values (N, D) to c·tanh(x/c), with a limit c for each of the D coordinates."""

    limits: Tensor

    def __init__(self, limits: Sequence[float]):
        super().__init__()
        self.register_buffer("limits", torch.tensor(limits, dtype=torch.float32), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        return (values / self.limits).tanh() * self.limits


@registered
class ResidualFSQ(Residual):
    """Stages of ``FSQ``, each on what the ones before left, at 1/L of their scale.

    A symmetric grid of L levels over ±1 has cells that reach ±L/(L − 1), to which the input is squashed by a tanh; what
    the grid leaves then lies in the cells of the next, and so on: nothing is cut off, and Q stages are one grid of L^Q
    even levels. ``forward(x)`` returns ``quantized`` and ``indices`` (..., Q); there is no loss.

    Args:
        levels: of each coordinate, at least 2. num_quantizers: stages Q. dim: width of the input, one coordinate for
            each entry of ``levels`` by default; linear projections go in and out where it differs.
        soft_clamp_input_value: squash the input to another range than the grids', a number.
        **options: of quantizer dropout and of the layout, as of ``ResidualVQ``, and of ``FSQ`` (``noise_dropout``,
            ``dither``, ``orthogonal_rotation``, ``usage_window``).

    Example:
        >>> residual_fsq = ResidualFSQ(dim=32, levels=[8, 5, 5, 3], num_quantizers=8).eval()
        >>> quantized, indices = residual_fsq(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape
        (torch.Size([1, 100, 32]), torch.Size([1, 100, 8]))
        >>> bool((residual_fsq.get_output_from_indices(indices) == quantized).all())
        True
    """

    def __init__(
        self,
        levels: Sequence[int],
        num_quantizers: int,
        dim: int | None = None,
        *,
        soft_clamp_input_value: float | None = None,
        **options: Any,
    ):
        counts = check_grid("levels", levels, symmetric=True)
        residual, own = sorted_options(options)
        own: dict[str, Any] = {"preserve_symmetry": True, "bound_hard_clamp": True} | own
        stages = [
            FSQ(levels, scale=[float(count) ** -number for count in counts], **own)
            for number in range(check_count(num_quantizers))
        ]
        super().__init__(stages, dim=dim, **residual)
        limits = [count / (count - 1) for count in counts]
        if soft_clamp_input_value is not None:
            check_number("soft_clamp_input_value", soft_clamp_input_value, 0, open_low=True)
            limits = [soft_clamp_input_value] * len(counts)
        self.squash = SoftClamp(limits)
        self.straight = False
        given = {"levels": list(levels), "num_quantizers": num_quantizers, "dim": dim}
        given["soft_clamp_input_value"] = soft_clamp_input_value
        self._arguments = {name: value for name, value in given.items() if value is not None} | options

    def _enter(self, rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        entered, valid = super()._enter(rows, valid)
        return self.squash(entered), valid

    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[False] = ..., **call: Any) -> QuantizedIndices: ...
    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[True], **call: Any) -> QuantizedIndicesWithCodes: ...
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - FSQ has no loss to return
        self, x: Tensor, *, return_all_codes: bool = False, **call: Any
    ) -> QuantizedIndices | QuantizedIndicesWithCodes:
        """As ``Residual.forward``, without a loss."""
        return without_loss(self._forward(x, return_all_codes, **call))


@registered
class GroupedResidualFSQ(Grouped):
    """The channels in groups, each with a ``ResidualFSQ`` of its own. Indices are (G, ..., Q).

    Args:
        dim: width of the input. groups: G, a divisor of ``dim``. **options: of ``ResidualFSQ``.

    Example:
        >>> grouped = GroupedResidualFSQ(dim=32, groups=2, levels=[5, 5, 5], num_quantizers=4)
        >>> quantized, indices = grouped(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape
        (torch.Size([1, 100, 32]), torch.Size([2, 1, 100, 4]))
    """

    def __init__(self, dim: int, groups: int = 1, **options: Any):
        width = group_width(dim, groups)
        layout, own = sorted_options(options, layout_only=True)
        super().__init__([ResidualFSQ(dim=width, **own) for _ in range(groups)], **layout)
        self._arguments = {"dim": dim, "groups": groups, **options}

    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[False] = ..., **call: Any) -> QuantizedIndices: ...
    @overload
    def forward(self, x: Tensor, *, return_all_codes: Literal[True], **call: Any) -> QuantizedIndicesWithCodes: ...
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - FSQ has no loss to return
        self, x: Tensor, *, return_all_codes: bool = False, **call: Any
    ) -> QuantizedIndices | QuantizedIndicesWithCodes:
        """As ``Grouped.forward``, without a loss."""
        return without_loss(self._forward(x, return_all_codes, **call))


def without_loss(out: Any) -> QuantizedIndices | QuantizedIndicesWithCodes:
    """The output of a wrapper, less its loss."""
    if hasattr(out, "all_codes"):
        return QuantizedIndicesWithCodes(out.quantized, out.indices, out.all_codes)
    return QuantizedIndices(out.quantized, out.indices)
