"""``ImplicitVQ``: a table whose codes a network adapts to what is already reconstructed (QINCo)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vqkit.codebook import Gradient
from vqkit.errors import ArgumentError, bad_value
from vqkit.kernels.tracing import blocks, least
from vqkit.quantizers.base import Step
from vqkit.quantizers.config import registered
from vqkit.quantizers.estimators import GumbelStraightThrough, IndexBackpropagation
from vqkit.quantizers.output import Quantized
from vqkit.quantizers.vector import VectorQuantize
from vqkit.shapes import check_int

VALUES_PER_BLOCK = 2**22
# Options of ``VectorQuantize`` that an implicit codebook has no use for, and the one value they may have.
_FIXED_OPTIONS: dict[str, Any] = {
    "codebook_dim": None,
    "heads": 1,
    "project": False,
    "bridge": None,
    "vq_bridge": None,
    "stochastic_sample_codes": False,
    "return_zeros_for_masked_padding": True,
}


class CodeNet(nn.Module):
    """Codes c and contexts x̂, (..., D) each, to the codes to use: c + W[c; x̂], then residual blocks (QINCo).

    Begins as the identity: what adds to the code starts at zero (QINCo2, Vallaeys et al. 2025, arXiv:2501.03078).
    """

    def __init__(self, dim: int, dim_hidden: int, depth: int):
        super().__init__()
        self.mix = nn.Linear(2 * dim, dim)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(dim, dim_hidden), nn.SiLU(), nn.Linear(dim_hidden, dim)) for _ in range(depth)
        )
        for last in (self.mix, *(block[-1] for block in self.blocks)):  # pyright: ignore[reportIndexIssue]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, codes: Tensor, context: Tensor) -> Tensor:
        """Float32 (..., D), whatever dtype the weights have."""
        dtype = self.mix.weight.dtype
        hidden = codes + self.mix(torch.cat([codes, context], -1).to(dtype)).float()
        for block in self.blocks:
            hidden = hidden + block(hidden.to(dtype)).float()
        return hidden


@registered
class ImplicitVQ(VectorQuantize):
    """The nearest of the codes fθ(e, x̂) that a network makes of the table for each row (QINCo, Huijben et al. 2024,
    arXiv:2401.14732).

    As a stage of ``Residual``, x̂ is the sum of the stages before; alone, it is zero. Learns by gradient.

    Args:
        dim, codebook_size: as of ``VectorQuantize``. dim_hidden: width within the blocks (2·dim by default).
        depth: residual blocks. preselect: run the network on so many codes only, those whose table vectors are nearest
            (as QINCo2 does with a cheap codebook); None: on all, in blocks.
        **options: of ``VectorQuantize``, but for heads, projections, EMA, other metrics, and what draws or mixes codes.

    Example:
        >>> vq = ImplicitVQ(dim=8, codebook_size=16)
        >>> quantized, indices, loss = vq(torch.randn(2, 5, 8))
        >>> quantized.shape, indices.shape
        (torch.Size([2, 5, 8]), torch.Size([2, 5]))
    """

    conditioned = True
    step_options = frozenset()

    def __init__(
        self,
        dim: int,
        codebook_size: int,
        *,
        dim_hidden: int | None = None,
        depth: int = 4,
        preselect: int | None = None,
        **options: Any,
    ):
        for name, value in _FIXED_OPTIONS.items():
            if options.get(name, value) != value:
                raise bad_value(name, f"{value} for an implicit codebook", options[name])
        if not any(name in options for name in ("update", "learnable_codebook")):
            options = options | {"update": Gradient()}
        super().__init__(dim, codebook_size, **options)
        if not self.book.update.by_gradient or self.book.metric != "euclidean":
            raise bad_value("update, metric", "Gradient and 'euclidean' with an implicit codebook", f"{self.book}")
        if isinstance(self.estimator, (GumbelStraightThrough, IndexBackpropagation)):
            raise ArgumentError(f"estimator: expected one that takes the nearest code, got {self.estimator}")
        hidden = 2 * dim if dim_hidden is None else check_int("dim_hidden", dim_hidden)
        self.net = CodeNet(dim, hidden, check_int("depth", depth, 0))
        self.preselect = None if preselect is None else min(check_int("preselect", preselect), codebook_size)
        own = {"dim_hidden": dim_hidden, "depth": depth, "preselect": preselect}
        self._arguments = {"dim": dim, "codebook_size": codebook_size, **own, **options}

    def forward(  # pyright: ignore[reportIncompatibleMethodOverride] - rows have codes of their own
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        lens: Tensor | None = None,
        freeze_codebook: bool | None = None,
    ) -> Quantized:
        """Quantize ``x``; in training mode also learn.

        Args:
            mask: bool, the shape of ``x`` without channels. lens: int64 (B,), rows that count of each x (B, n, dim).
            freeze_codebook: overrides the constructor's; neither table nor network learn.
        """
        return self._quantize(x, mask, lens, freeze_codebook)

    def get_codes_from_indices(self, indices: Tensor) -> Tensor:
        """The codes that the network makes, (..., dim), channels last."""
        indices_N1, layout = self.columns(indices)
        return layout.arrange(torch.where(indices_N1 >= 0, self.decode_rows(indices_N1), 0))

    def step(  # pyright: ignore[reportIncompatibleMethodOverride] - neither draws nor targets, see step_options
        self,
        rows: Tensor,
        valid: Tensor,
        *,
        frozen: bool | None = None,
        given: Tensor | None = None,
        more: bool = False,
        context: Tensor | None = None,
    ) -> Step:
        context_ND = _context(rows, context)
        frozen = self.freeze_codebook if frozen is None else frozen

        def own_codes(codes: Tensor, x_HND: Tensor) -> tuple[Tensor, Tensor]:
            found = given
            if found is None:
                found = self._search(x_HND[0].detach(), codes[0].detach(), context_ND, 1)[0]
            q_ND = self.net(self.book.take(found.t(), codes)[0], context_ND)
            return found.t(), (q_ND.detach() if frozen else q_ND)[None]

        entered = self._enter(rows, valid, count=self.training)
        made = self._make(entered, frozen=frozen, own_codes=own_codes, accumulate=more)

        def through(again: Tensor) -> Tensor:
            return self._left(made, entered if again is rows else self._enter(again, valid, count=False))

        return Step(made.q[0], made.indices, made.loss, entered.valid, through)

    def encode_rows(self, rows: Tensor, valid: Tensor, context: Tensor | None = None) -> Tensor:
        x_ND, codes_KD = self.book.prepare(rows), self.book.codes()[0].detach()
        found, _ = self._search(x_ND, codes_KD, _context(rows, context), 1)
        return torch.where(valid[:, None], found, -1)

    def decode_rows(self, indices: Tensor, context: Tensor | None = None) -> Tensor:
        codes = self.book.take(indices.t())[0]
        return self.net(codes, _context(codes, context))

    def proposals(
        self, rows: Tensor, valid: Tensor, count: int, context: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        del valid
        x_ND, codes_KD = self.book.prepare(rows), self.book.codes()[0].detach()
        found, squared = self._search(x_ND, codes_KD, _context(rows, context), min(count, self.codebook_size))
        return squared, found[..., None]

    @torch.no_grad()
    def _search(self, x_ND: Tensor, codes_KD: Tensor, context_ND: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """The ``count`` nearest of each row's own codes: indices and squared distances (N, T)."""
        width = self.codebook_size if self.preselect is None else max(self.preselect, count)
        step = max(1, VALUES_PER_BLOCK // (width * self.dim))
        found, squared = [], []
        for block in blocks(x_ND.shape[0], step):
            x, context = x_ND[block], context_ND[block]
            if width == self.codebook_size:
                candidates = torch.arange(width, device=x.device).expand(x.shape[0], -1)
            else:
                candidates = self.book.nearest(x[None], codes_KD[None], width)[0]
            made = self.net(F.embedding(candidates, codes_KD), context[:, None].expand(-1, width, -1))
            # Over codes in ascending order: ties go to the lowest index.
            error, places = least((x[:, None] - made).square().sum(-1), count)
            found.append(candidates.gather(1, places))
            squared.append(error)
        return torch.cat(found), torch.cat(squared)


def _context(rows: Tensor, context: Tensor | None) -> Tensor:
    return torch.zeros_like(rows, dtype=torch.float32) if context is None else context.detach().float()
