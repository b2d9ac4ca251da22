"""Codes from data before training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from vqkit import codebook


def codebook_warmup(
    model: nn.Module, loader: Iterable[Any], warmup_method: str = "data", num_batch: int = 128, **options: Any
) -> None:
    """Replace the codes of every layer in ``model`` by what reaches it in ``num_batch`` forward passes.

    ``vqkit.codebook.codebook_warmup`` with this vocabulary's defaults: ``"data"`` takes rows at random, ``"kmeans"``
    their centroids; ``options`` are its other arguments.

    >>> import torch
    >>> from vqkit.interop.vqtorch import VectorQuantize
    >>> codebook_warmup(VectorQuantize(feature_size=4, num_codes=8), [torch.randn(2, 4, 16)])
    """
    codebook.codebook_warmup(model, loader, warmup_method, num_batch, **options)
