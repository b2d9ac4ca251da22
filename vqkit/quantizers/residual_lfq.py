"""``ResidualLFQ`` and ``GroupedResidualLFQ``: signs, at half the magnitude from stage to stage."""

from __future__ import annotations

from typing import Any

from vqkit.quantizers.config import registered
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.lfq import LFQ, bits_of
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.stage_checks import check_count
from vqkit.quantizers.stage_options import group_width, sorted_options
from vqkit.shapes import check_number


@registered
class ResidualLFQ(Residual):
    """Stages of ``LFQ``, each on what the ones before left, with codes ±2⁻ⁱ: Q stages write every coordinate with Q
    bits.

    ``forward(x)`` returns ``quantized``, ``indices`` (..., Q) and ``loss`` (Q,).

    Args:
        num_quantizers: stages Q. codebook_size: 2^d, codes of a stage. dim: width of the input, d by default; linear
            projections go in and out where it differs.
        soft_clamp_input_value: of the first stage, halved from stage to stage, as the codes are.
        **options: of quantizer dropout and of the layout, as of ``ResidualVQ``, and of ``LFQ``.

    Example:
        >>> import torch
        >>> residual_lfq = ResidualLFQ(dim=32, codebook_size=256, num_quantizers=8).eval()
        >>> quantized, indices, loss = residual_lfq(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 100, 32]), torch.Size([1, 100, 8]), torch.Size([8]))
        >>> bool((residual_lfq.get_output_from_indices(indices) == quantized).all())
        True
    """

    def __init__(
        self,
        num_quantizers: int,
        codebook_size: int,
        dim: int | None = None,
        *,
        soft_clamp_input_value: float | None = None,
        **options: Any,
    ):
        residual, own = sorted_options(options)
        bits = bits_of(None, codebook_size)
        if soft_clamp_input_value is not None:
            check_number("soft_clamp_input_value", soft_clamp_input_value, 1)

        def stage(number: int) -> LFQ:
            scale = 2.0**-number
            clamp = None if soft_clamp_input_value is None else soft_clamp_input_value * scale
            return LFQ(dim=bits, codebook_scale=scale, soft_clamp_input_value=clamp, channel_first=False, **own)

        super().__init__([stage(n) for n in range(check_count(num_quantizers))], dim=dim, **residual)
        given = {"num_quantizers": num_quantizers, "codebook_size": codebook_size, "dim": dim}
        given["soft_clamp_input_value"] = soft_clamp_input_value
        self._arguments = {name: value for name, value in given.items() if value is not None} | options


@registered
class GroupedResidualLFQ(Grouped):
    """The channels in groups, each with a ``ResidualLFQ`` of its own. Indices are (G, ..., Q), the loss (G, Q).

    Args:
        dim: width of the input. groups: G, a divisor of ``dim``. **options: of ``ResidualLFQ``.

    Example:
        >>> import torch
        >>> grouped = GroupedResidualLFQ(dim=32, groups=2, codebook_size=256, num_quantizers=4)
        >>> quantized, indices, loss = grouped(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 100, 32]), torch.Size([2, 1, 100, 4]), torch.Size([2, 4]))
    """

    def __init__(self, dim: int, groups: int = 1, **options: Any):
        width = group_width(dim, groups)
        layout, own = sorted_options(options, layout_only=True)
        super().__init__([ResidualLFQ(dim=width, **own) for _ in range(groups)], **layout)
        self._arguments = {"dim": dim, "groups": groups, **options}
