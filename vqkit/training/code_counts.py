"""How often each code of a quantizer was drawn, for every index that a row has; and what that says of usage."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from vqkit.functional.usage import count_codes, perplexity

MAX_COUNTS = 2**24  # numbers of codes and tables beyond which nothing is counted


def index_sizes(quantizer: Any) -> tuple[int, ...]:
    """How many values each of a row's indices can take; a module that does not say has one index."""
    return getattr(quantizer, "index_sizes", None) or (quantizer.codebook_size,)


def no_counts(quantizer: Any, device: torch.device) -> Tensor:
    """Zeros (I, K) int64 to add ``code_counts`` to; (I, 0) where K is too large to count."""
    sizes = index_sizes(quantizer)
    counted = max(sizes) * len(sizes) <= MAX_COUNTS
    return torch.zeros(len(sizes), max(sizes) if counted else 0, dtype=torch.int64, device=device)


def code_counts(quantizer: Any, indices: Tensor) -> Tensor:
    """How often each code was drawn, (I, K) int64, as a row has I indices; (I, 0) where K is too large to count.

    ``indices`` are batch first, as a model returns them.

    >>> from vqkit import ResidualVQ
    >>> code_counts(ResidualVQ(4, 2, 8), torch.tensor([[3, 0], [3, 1]])).sum(1).tolist()
    [2, 2]
    """
    empty = no_counts(quantizer, indices.device)
    if empty.shape[1] == 0:
        return empty
    indices = indices.movedim(0, getattr(quantizer, "batch_axis", 0))
    columns = quantizer.columns(indices)[0] if hasattr(quantizer, "columns") else indices.reshape(-1, 1)
    return count_codes(columns.t(), empty.shape[1])


def usage_and_perplexity(quantizer: Any, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Usage and perplexity of counts (I, K), means over the indices: () float64 each; NaN where nothing was counted."""
    sizes = torch.tensor(index_sizes(quantizer), device=counts.device)
    if counts.shape[1] == 0:
        return (nothing := torch.full((), torch.nan, dtype=torch.float64, device=counts.device)), nothing
    return ((counts > 0).sum(1).double() / sizes).mean(), perplexity(counts).mean()
