"""``SplitResidualVQ``: semantic and acoustic codes of the same vectors, side by side (Mimi)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.lookup import check_code_range
from vqkit.layout import Layout, layout_of_indices
from vqkit.quantizers.base import Quantizer, Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.output import Quantized
from vqkit.quantizers.residual_vq import ResidualVQ
from vqkit.quantizers.stage_options import sorted_options
from vqkit.shapes import check_int


@registered
class SplitResidualVQ(Quantizer):
    """Two residual quantizers of the same input, their outputs added: the first stages learn what another model's
    features say (semantic), the others the rest of the signal (Moshi's Mimi, Défossez et al. 2024, arXiv:2410.00037,
    §3.3.3).

    Neither sees what the other leaves over, so that a loss on ``semantic(indices)`` binds no acoustic code. Each has
    projections of its own. ``indices`` are (..., Q), the semantic ones first, and ``loss`` is (Q,).

    Args:
        dim: width of the input. num_quantizers: all stages Q. codebook_size: codes of a stage.
        codebook_dim: width within the projections, which may not be left out: two halves that quantize the very same
            vectors would say everything twice. n_semantic: how many stages are semantic.
        **options: of ``ResidualVQ``, for both; quantizer dropout for the acoustic one alone.

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
        if check_int("n_semantic", n_semantic) >= check_int("num_quantizers", num_quantizers):
            raise bad_value("n_semantic", f"less than the {num_quantizers} stages", n_semantic)
        outer, own = sorted_options(options, layout_only=True)
        super().__init__(dim, **outer)
        steady = {name: value for name, value in own.items() if not name.startswith("quantize_dropout")}
        self.rvq_first = ResidualVQ(dim, n_semantic, codebook_size, codebook_dim, **steady)
        self.rvq_rest = ResidualVQ(dim, num_quantizers - n_semantic, codebook_size, codebook_dim, **own)
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
        return self._quantize(x, mask, lens, freeze_codebook)

    def encode(
        self, x: Tensor, *, mask: Tensor | None = None, lens: Tensor | None = None, n_quantizers: int | None = None
    ) -> Tensor:
        """Indices (..., Q) of ``x``, or those of the first ``n_quantizers`` stages; changes nothing."""
        if n_quantizers is not None and check_int("n_quantizers", n_quantizers) > self.num_quantizers:
            raise bad_value("n_quantizers", f"at most the {self.num_quantizers} stages there are", n_quantizers)
        rows, valid, layout = self._rows(x, mask, lens, count=False)
        return layout.arrange(self.encode_rows(rows, valid)[:, : None if n_quantizers is None else n_quantizers])

    def semantic(self, indices: Tensor) -> Tensor:
        """What the semantic stages alone decode to: indices (..., Q) to (..., dim)."""
        self.columns(indices)
        return self.rvq_first.decode(indices[..., : self.n_semantic])

    def columns(self, indices: Tensor) -> tuple[Tensor, Layout]:
        """As ``Quantizer.columns``; the last axis may hold any prefix of the stages."""
        got = indices.shape[-1] if isinstance(indices, Tensor) and indices.ndim else 0
        columns, layout = layout_of_indices(indices, self.channel_dim, min(max(got, 1), self.num_quantizers))
        return check_code_range(columns, self.index_sizes[:got]), layout

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
    ) -> Step:
        columns = (None, None) if given is None else (given[:, : self.n_semantic], given[:, self.n_semantic :])
        first = self.rvq_first.step(rows, valid, frozen=frozen, given=columns[0], more=more)
        rest = self.rvq_rest.step(rows, valid, frozen=frozen, given=columns[1], more=more)

        def through(again: Tensor) -> Tensor:
            return first.through(again) + rest.through(again)

        indices = torch.cat([first.indices, rest.indices], 1)
        loss = torch.cat([first.loss, rest.loss])
        return Step(first.code + rest.code, indices, loss, first.valid & rest.valid, through)

    def encode_rows(self, rows: Tensor, valid: Tensor) -> Tensor:
        return torch.cat([self.rvq_first.encode_rows(rows, valid), self.rvq_rest.encode_rows(rows, valid)], 1)

    def decode_rows(self, indices: Tensor) -> Tensor:
        first = self.rvq_first.decode_rows(indices[:, : self.n_semantic])
        if indices.shape[1] <= self.n_semantic:
            return first
        return first + self.rvq_rest.decode_rows(indices[:, self.n_semantic :])

    def usage(self) -> Tensor:
        """Of every stage: (Q,) float64."""
        return torch.cat([self.rvq_first.usage(), self.rvq_rest.usage()])

    def perplexity(self) -> Tensor:
        """Of every stage: (Q,) float64."""
        return torch.cat([self.rvq_first.perplexity(), self.rvq_rest.perplexity()])
