"""What a stage of a residual says of what the stages before left: its indices, its code, its columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.counted import zero_unless
from vqkit.functional.lookup import check_code_range
from vqkit.kernels import ops
from vqkit.layout import Layout, layout_of_indices
from vqkit.quantizers.base import Quantizer
from vqkit.shapes import check_indices


def context_of(stage: Quantizer, total: Tensor) -> dict[str, Any]:
    """What a stage takes besides its rows: the sum (N, D) of the stages before, if it is conditioned on it."""
    return {"context": total} if stage.conditioned else {}


def code_of(stage: Quantizer, indices: Tensor, total: Tensor) -> Tensor:
    """A stage's code (N, D) float32, zero where it has no index."""
    values = stage.decode_rows(indices, **context_of(stage, total))
    return torch.where((indices >= 0).any(1)[:, None], values, 0).float()


def nearest_added(stage: Quantizer, rows: Tensor, valid: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
    """The indices (N, I) that a stage gives to what ``total`` leaves of rows (N, D), and the sum with its code."""
    indices = stage.encode_rows(rows - total, valid, **context_of(stage, total))
    return indices, total + code_of(stage, indices, total)


def greedy(stages: Sequence[Quantizer], rows: Tensor, valid: Tensor) -> Tensor:
    """The indices (N, I) of stages that each take what is nearest to what the ones before left of rows (N, D)."""
    tables = [stage.table() for stage in stages]
    if all(t is not None and tables[0] is not None and t.shape == tables[0].shape for t in tables):
        found = ops.residual_chain(rows, torch.stack([t for t in tables if t is not None]))
        return zero_unless(valid, found, -1)
    total, columns = torch.zeros_like(rows), []
    for stage in stages:
        indices, total = nearest_added(stage, rows, valid, total)
        columns.append(indices)
    return torch.cat(columns, 1)


def codes_of(stages: Sequence[Quantizer], columns: Tensor) -> list[Tensor]:
    """The codes (N, D) of a prefix of ``stages`` that columns (N, I) are of, each as the forward added it."""
    total = torch.zeros(columns.shape[0], stages[0].dim, dtype=torch.float32, device=columns.device)
    codes, column = [], 0
    for stage in stages:
        part = columns[:, column : column + len(stage.index_sizes)]
        if part.shape[1] == 0:
            break
        codes.append(code_of(stage, part, total))
        total = total + codes[-1]
        column += part.shape[1]
    return codes


def prefix_columns(indices: Tensor, channel_dim: int | None, stages: Sequence[Quantizer]) -> tuple[Tensor, Layout]:
    """Indices with a last axis of all stages, or some first ones, as (N, I), checked, and their layout."""
    sizes = tuple(size for stage in stages for size in stage.index_sizes)
    widths = [len(stage.index_sizes) for stage in stages]
    prefixes = [sum(widths[: i + 1]) for i in range(len(widths))]
    got = indices.shape[-1] if check_indices("indices", indices).ndim else 0
    if got not in prefixes:
        raise bad_value("indices", f"a last axis of at most {prefixes[-1]}, a prefix of the stages", f"{got}")
    columns, layout = layout_of_indices(indices, channel_dim, got)
    return check_code_range(columns, sizes[:got]), layout
