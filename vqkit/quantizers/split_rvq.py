"""``SplitResidualVQ``: semantic and acoustic codes of the same vectors, side by side (Mimi)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.layout import Layout
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.output import Quantized
from vqkit.quantizers.residual_vq import ResidualVQ
from vqkit.quantizers.stage_checks import check_count, checked_weights
from vqkit.quantizers.stage_codes import prefix_columns
from vqkit.quantizers.stage_options import sorted_options
from vqkit.shapes import check_int


@registered
class SplitResidualVQ(Quantizer):
    """Two residual quantizers of the same input, their outputs added: the first stages learn what another model's
    features say (semantic), the others the rest of the signal (Moshi's Mimi, Défossez et al. 2024, arXiv:2410.00037).

    Neither sees what the other leaves over, so that a loss on ``semantic(indices)`` binds no acoustic code. Each has
    projections of its own. ``indices`` are (..., Q), the semantic ones first, and ``loss`` is (Q,).

    Args:
        dim: width of the input. num_quantizers: all stages Q. codebook_size: codes of a stage.
        codebook_dim: width within the projections, which may not be left out: two halves that quantize the very same
            vectors would say everything twice. n_semantic: how many stages are semantic.
        **options: of ``ResidualVQ``, for both; quantizer dropout for the acoustic one alone, and ``loss_weights`` for
            all Q stages.

    Example:
        >>> rvq = SplitResidualVQ(dim=16, num_quantizers=4, codebook_size=32, codebook_dim=8)
        >>> quantized, indices, loss = rvq(torch.randn(2, 5, 16))
        >>> quantized.shape, indices.shape, loss.shape, rvq.semantic(indices).shape
        (torch.Size([2, 5, 16]), torch.Size([2, 5, 4]), torch.Size([4]), torch.Size([2, 5, 16]))
    """

    index_axis = True
    straight = False

    def __init__(
        self,
        dim: int,
        num_quantizers: int,
        codebook_size: int,
        codebook_dim: int,
        *,
        n_semantic: int = 1,
        **options: Any,
    ):
        if check_int("codebook_dim", codebook_dim) == dim:
            raise bad_value(
                "codebook_dim", "another width than dim, so that each half has its projections", codebook_dim
            )
        if check_int("n_semantic", n_semantic) >= check_count(num_quantizers):
            raise bad_value("n_semantic", f"less than the {num_quantizers} stages", n_semantic)
        outer, own = sorted_options(options, layout_only=True)
        super().__init__(dim, **outer)
        weights = checked_weights(own.pop("loss_weights", None), num_quantizers) or (1.0,) * num_quantizers
        steady = {name: value for name, value in own.items() if "dropout" not in name}
        sizes = {"codebook_size": codebook_size, "codebook_dim": codebook_dim}
        self.rvq_first = ResidualVQ(dim, n_semantic, **sizes, loss_weights=weights[:n_semantic], **steady)
        self.rvq_rest = ResidualVQ(dim, num_quantizers - n_semantic, **sizes, loss_weights=weights[n_semantic:], **own)
        self.num_quantizers, self.n_semantic = num_quantizers, n_semantic
        given = {"num_quantizers": num_quantizers, "codebook_size": codebook_size, "codebook_dim": codebook_dim}
        self._arguments = {"dim": dim, **given, "n_semantic": n_semantic, **options}

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize ``x``; in training mode also learn. ``mask``, ``lens``, ``freeze_codebook``: as of ``Residual``."""
        rows, valid, layout = self._rows(x, mask, lens, count=self.training)
        step = self.step(rows, valid, frozen=freeze_codebook, samples=layout.samples)
        return self._returned(step, rows, layout, x.dtype)

    def encode(
        self, x: Tensor, *, mask: Tensor | None = None, lens: Tensor | None = None, n_quantizers: int | None = None
    ) -> Tensor:
        """Indices (..., Q) of ``x``, or those of the first ``n_quantizers`` stages; changes nothing."""
        if n_quantizers is not None and check_int("n_quantizers", n_quantizers) > self.num_quantizers:
            raise bad_value("n_quantizers", f"at most the {self.num_quantizers} stages there are", n_quantizers)
        rows, valid, layout = self._rows(x, mask, lens, count=False)
        columns = sum(len(stage.index_sizes) for stage in self._stages[:n_quantizers])
        return layout.arrange(self.encode_rows(rows, valid)[:, :columns])

    def semantic(self, indices: Tensor) -> Tensor:
        """What the semantic stages alone decode to: indices (..., Q) to (..., dim), channels along their axis."""
        columns, layout = self.columns(indices)
        first, _ = self._halves(columns)
        return layout.restore(torch.where((first >= 0).any(1)[:, None], self.rvq_first.decode_rows(first), 0))

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """As ``Quantizer.columns``; the last axis may hold any prefix of the stages."""
        return prefix_columns(indices, self.channel_dim, self._stages)

    @property
    def _stages(self) -> list[Quantizer]:
        return self.rvq_first.ordered() + self.rvq_rest.ordered()

    def _halves(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Columns (N, I) of the semantic stages, and of the others."""
        width = len(self.rvq_first.index_sizes)
        return indices[:, :width], indices[:, width:]

    # --- on rows ----------------------------------------------------------------------------------------------------

    @property
    def index_sizes(self) -> tuple[int, ...]:
        return self.rvq_first.index_sizes + self.rvq_rest.index_sizes

    def step(
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
        samples: int | None = None,
    ) -> Step:
        """As ``Quantizer.step``, with ``loss`` (Q,); ``samples``: as of ``Residual.step``."""
        given_first, given_rest = (None, None) if given is None else self._halves(given)
        first = self.rvq_first.step(rows, valid, frozen=frozen, given=given_first, more=more, samples=samples)
        rest = self.rvq_rest.step(rows, valid, frozen=frozen, given=given_rest, more=more, samples=samples)
        counted = first.valid & rest.valid

        def through(again: Tensor) -> Tensor:
            return first.through(again) + rest.through(again)

        indices = torch.where(counted[:, None], torch.cat([first.indices, rest.indices], 1), -1)
        loss = torch.cat([first.loss, rest.loss])
        return Step(first.code + rest.code, indices, loss, counted, through)

    def begin_(self, rows: Tensor, valid: Tensor, *, frozen: bool | None = None) -> None:
        for half in (self.rvq_first, self.rvq_rest):
            half.begin_(rows, valid, frozen=frozen)

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        for half in (self.rvq_first, self.rvq_rest):
            half.fit_rows_(rows, method=method, iters=iters)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        found = torch.cat([half.encode_rows(rows, valid) for half in (self.rvq_first, self.rvq_rest)], 1)
        return torch.where((found >= 0).all(1)[:, None], found, -1)  # the projection of one half may overflow

    def decode_rows(self, indices: Tensor) -> Tensor:
        first, rest = self._halves(indices)
        values = self.rvq_first.decode_rows(first)
        return values if rest.shape[1] == 0 else values + self.rvq_rest.decode_rows(rest)

    def usage(self) -> Tensor:
        """Of every stage: (Q,) float64."""
        return torch.cat([self.rvq_first.usage(), self.rvq_rest.usage()])

    def perplexity(self) -> Tensor:
        """Of every stage: (Q,) float64."""
        return torch.cat([self.rvq_first.perplexity(), self.rvq_rest.perplexity()])
