"""Gradient accumulation: k micro-batches that update the codebooks as one batch would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from vqkit.codebook.codebook import Codebook


@contextmanager
def accumulating(model: nn.Module, defer: bool = True) -> Iterator[None]:
    """Within, training forwards of ``model`` keep their codebook statistics for the next forward outside.

    Use it around every micro-batch of a step but the last, as ``no_sync`` is used for gradients. ``defer=False``
    changes nothing, so that one ``with`` line serves every micro-batch.

    >>> import torch
    >>> from vqkit import VectorQuantize
    >>> vq = VectorQuantize(dim=4, codebook_size=8)
    >>> before = vq.codebook.clone()
    >>> with accumulating(vq):
    ...     _ = vq(torch.randn(2, 16, 4))
    >>> bool((vq.codebook == before).all())
    True
    """
    books = [module for module in model.modules() if isinstance(module, Codebook)]
    before = [book.accumulating for book in books]
    for book in books:
        book.accumulating = book.accumulating or defer
    try:
        yield
    finally:
        for book, value in zip(books, before, strict=True):
            book.accumulating = value
