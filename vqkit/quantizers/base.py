"""What every quantizer is: rows in, rows out, indices between; layouts, masks and bad numbers are handled here."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.layout import Layout, rows_that_count, to_rows
from vqkit.quantizers.config import to_json
from vqkit.shapes import check_int


class Quantizer(nn.Module):
    """Base of all quantizers: ``encode(x) -> indices`` and ``decode(indices) -> quantized`` are pure.

    Attributes:
        dim: width of the vectors. channel_dim: their axis. config: the constructor's arguments, JSON-able.
    """

    skipped_rows: Tensor

    def __init__(self, dim: int, channel_dim: int = -1, rank: int | None = None):
        super().__init__()
        self.dim = check_int("dim", dim)
        self.channel_dim, self.rank = channel_dim, rank
        self.register_buffer("skipped_rows", torch.zeros((), dtype=torch.int64), persistent=False)
        self._warned = False
        self._arguments: dict[str, Any] = {}

    @property
    def config(self) -> dict[str, Any]:
        """``{"type": …, …}``: what ``vqkit.quantizers.build`` builds this quantizer from. Modules and functions have
        no such form.
        """
        arguments = {name: to_json(name, value) for name, value in self._arguments.items()}
        return {"type": type(self).__name__, **arguments}

    def encode(self, x: Tensor) -> Tensor:
        """Indices of ``x``; changes nothing, in training mode too."""
        raise NotImplementedError  # abstract: every quantizer has its own

    def decode(self, indices: Tensor) -> Tensor:
        """Quantized vectors of ``indices``; −1 gives zero."""
        raise NotImplementedError  # abstract: every quantizer has its own

    def _rows(
        self, x: Tensor, mask: Tensor | None, lens: Tensor | None, *, count: bool
    ) -> tuple[Tensor, Tensor, Layout]:
        """Rows (N, D), which of them count (N,), and the way back. What does not count is zero, so it poisons no
        gradient.
        """
        rows, layout = to_rows(x, self.dim, self.channel_dim, self.rank)
        counted = rows_that_count(layout, mask, lens, x.device)
        finite = rows.detach().isfinite().all(1)
        valid = finite if counted is None else finite & counted
        if count:
            self._count_skipped(~finite if counted is None else counted & ~finite)
        return torch.where(valid[:, None], rows, 0), valid, layout

    @torch.no_grad()
    def _count_skipped(self, skipped: Tensor) -> None:
        self.skipped_rows.add_(skipped.sum())
        # On a CPU the count can be read without a synchronisation; elsewhere it waits in ``skipped_rows``.
        on_cpu = self.skipped_rows.device.type == "cpu"
        if self._warned or not on_cpu or torch.compiler.is_compiling() or not self.skipped_rows.numpy() > 0:
            return
        self._warned = True
        message = f"{int(self.skipped_rows.numpy())} rows of {type(self).__name__}'s input hold NaN or inf; such rows"
        warnings.warn(f"{message} get index -1 and zeros, and teach nothing (said once)", RuntimeWarning, stacklevel=4)
