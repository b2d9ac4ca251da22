"""``ResidualSimVQ``: residual stages of frozen tables seen through learned maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vqkit.errors import bad_value
from vqkit.quantizers.config import registered
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.sim_vq import SimVQ
from vqkit.quantizers.stage_checks import check_count
from vqkit.quantizers.stage_options import per_stage, sorted_options


@registered
class ResidualSimVQ(Residual):
    """Stages of ``SimVQ``, each on what the ones before left.

    ``forward(x)`` returns ``quantized``, ``indices`` (..., Q) and ``loss`` (Q,).

    Args:
        dim: width of the input. num_quantizers: stages Q. codebook_size: codes of each stage, one number or Q of them.
        **options: of ``Residual``, of quantizer dropout and of the layout, as of ``ResidualVQ``, and of ``SimVQ``.

    Example:
        >>> import torch
        >>> residual_sim_vq = ResidualSimVQ(dim=32, num_quantizers=4, codebook_size=64)
        >>> quantized, indices, loss = residual_sim_vq(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 100, 32]), torch.Size([1, 100, 4]), torch.Size([4]))
    """

    def __init__(self, dim: int, num_quantizers: int, codebook_size: int | Sequence[int], **options: Any):
        residual, own = sorted_options(options)
        if own.get("codebook_transform") is not None:
            raise bad_value("codebook_transform", "a map of each stage's own, made by SimVQ", own["codebook_transform"])
        sizes = per_stage("codebook_size", codebook_size, check_count(num_quantizers))
        super().__init__([SimVQ(dim, size, **own) for size in sizes], **residual)
        given = {"dim": dim, "num_quantizers": num_quantizers, "codebook_size": codebook_size}
        self._arguments = given | options
