"""``ResidualVQ`` and ``GroupedResidualVQ``: residual stages of ``VectorQuantize`` by their flat names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqkit.codebook import Gradient
from vqkit.errors import ArgumentError, bad_type, bad_value
from vqkit.quantizers.base import Quantizer
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import DiVeQ
from vqkit.quantizers.grouped import Grouped
from vqkit.quantizers.implicit import ImplicitVQ
from vqkit.quantizers.residual import Residual
from vqkit.quantizers.stage_checks import check_count
from vqkit.quantizers.stage_options import group_width, per_stage, sorted_options
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int


@registered
class ResidualVQ(Residual):
    """Residual stages of ``VectorQuantize`` (SoundStream, arXiv:2107.03312; RQ-VAE, arXiv:2203.01941).

    Args:
        dim: width of the input. num_quantizers: stages Q; may be left out where ``codebook_size`` says it.
        codebook_size: codes of each stage, one number or Q of them.
        codebook_dim: width of the codes. One number puts linear projections around all stages; Q of them, around each.
        project_each_stage: around each also for one number (DAC, Kumar et al. 2023, arXiv:2306.06546).
        shared_codebook: one table for all stages (RQ-VAE), which learns once a step from all their rows.
        implicit_neural_codebook: from the second stage on, codes that a network makes for each row (QINCo, Huijben et
            al. 2024, arXiv:2401.14732).
        mlp_kwargs: of that network, as of ``ImplicitVQ``: ``dim_hidden``, ``depth``, ``preselect``.
        diveq: one DiVeQ step over all stages, from which the codes learn too.
        **options: of ``Residual`` (``beam_size``, ``eval_beam_size``, ``loss_weights``), of quantizer dropout
            (``quantize_dropout``, ``quantize_dropout_cutoff_index``, ``quantize_dropout_multiple_of``,
            ``quantize_dropout_per_sample``, ``quantize_dropout_rate``), of the layout (``accept_image_fmap``, …), and
            every one of ``VectorQuantize``.

    Example:
        >>> rvq = ResidualVQ(dim=32, num_quantizers=4, codebook_size=64)
        >>> quantized, indices, loss = rvq(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 100, 32]), torch.Size([1, 100, 4]), torch.Size([4]))
    """

    def __init__(
        self,
        dim: int,
        num_quantizers: int | None = None,
        codebook_size: int | Sequence[int] | None = None,
        codebook_dim: int | Sequence[int] | None = None,
        *,
        shared_codebook: bool = False,
        project_each_stage: bool = False,
        implicit_neural_codebook: bool = False,
        mlp_kwargs: dict[str, Any] | None = None,
        diveq: bool = False,
        **options: Any,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "options", "__class__")}
        if codebook_size is None:
            raise bad_value("codebook_size", "the number of codes of a stage, or one for each", None)
        if num_quantizers is None:
            if isinstance(codebook_size, int):
                raise bad_value("num_quantizers", "the number of stages", None)
            num_quantizers = len(codebook_size)
        stages = check_count(num_quantizers)
        sizes = per_stage("codebook_size", codebook_size, stages)
        widths = per_stage("codebook_dim", codebook_dim, stages)
        for width in widths:
            if width is not None:
                check_int("codebook_dim", width)
        each = project_each_stage or not (codebook_dim is None or isinstance(codebook_dim, int))
        inner = dim if each or widths[0] is None else widths[0]
        residual, quantizer = sorted_options(options)
        if mlp_kwargs is not None and not (implicit_neural_codebook and isinstance(mlp_kwargs, dict)):
            raise bad_type("mlp_kwargs", "a dict beside implicit_neural_codebook, or None", mlp_kwargs)
        if project_each_stage and codebook_dim is None:
            raise bad_value("project_each_stage", "False without a codebook_dim to project to", project_each_stage)
        if diveq and "estimator" in quantizer:
            raise ArgumentError("diveq: expected either it or estimator=…, got both")
        if diveq:
            quantizer = {"estimator": DiVeQ(), "update": Gradient(), "objectives": ()} | quantizer
        if implicit_neural_codebook and not {"update", "learnable_codebook"} & quantizer.keys():
            quantizer["update"] = Gradient()
        if shared_codebook and (len(set(sizes)) > 1 or len(set(widths)) > 1 or implicit_neural_codebook):
            raise ArgumentError("shared_codebook: expected stages of one size and width, got stages that differ")
        if implicit_neural_codebook and each:
            raise ArgumentError("implicit_neural_codebook: expected one projection around all stages, got one for each")

        def stage(number: int) -> Quantizer:
            if implicit_neural_codebook and number > 0:
                return ImplicitVQ(inner, sizes[number], **(mlp_kwargs or {}), **quantizer)
            return VectorQuantize(inner, sizes[number], widths[number] if each else None, **quantizer)

        if shared_codebook:
            super().__init__(stage(0), stages, dim=dim, **residual)
        else:
            super().__init__([stage(number) for number in range(stages)], dim=dim, **residual)
        self._arguments = {name: value for name, value in given.items() if value is not None} | options

    @property
    def codebook_size(self) -> int | tuple[int, ...]:
        """The codes of a stage, or of each where they differ."""
        sizes = self.index_sizes
        return sizes[0] if len(set(sizes)) == 1 else sizes

    @property
    def codebooks(self) -> Tensor | tuple[Tensor, ...]:
        """The stages' codes (Q, K, D), or a tuple of (K, D) where they differ in size."""
        tables = tuple(stage.codebook for stage in self.ordered() if isinstance(stage, (VectorQuantize, ImplicitVQ)))
        return torch.stack(tables) if len({table.shape for table in tables}) == 1 else tables


@registered
class GroupedResidualVQ(Grouped):
    """The channels in groups, each with a ``ResidualVQ`` of its own (HiFi-Codec, arXiv:2305.02765).

    Indices are (G, ..., Q), the loss (G, Q).

    Args:
        dim: width of the input. groups: G, a divisor of ``dim``. **options: of ``ResidualVQ``.

    Example:
        >>> grouped = GroupedResidualVQ(dim=32, groups=2, num_quantizers=4, codebook_size=64)
        >>> quantized, indices, loss = grouped(torch.randn(1, 100, 32))
        >>> quantized.shape, indices.shape, loss.shape
        (torch.Size([1, 100, 32]), torch.Size([2, 1, 100, 4]), torch.Size([2, 4]))
    """

    def __init__(self, dim: int, groups: int = 1, **options: Any):
        width = group_width(dim, groups)
        layout, own = sorted_options(options, layout_only=True)
        super().__init__([ResidualVQ(width, **own) for _ in range(groups)], **layout)
        self._arguments = {"dim": dim, "groups": groups, **options}

    @property
    def codebooks(self) -> Tensor:
        """The codes of every group and stage: (G, Q, K, D)."""
        return torch.stack([group.codebooks for group in self.groups])  # pyright: ignore
