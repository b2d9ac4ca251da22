"""Gradient accumulation: k micro-batches that update the codebooks as one batch would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


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
    learners: list[Any] = [module for module in model.modules() if hasattr(module, "accumulating")]
    before = [module.accumulating for module in learners]
    for module in learners:
        module.accumulating = module.accumulating or defer
    try:
        yield
    finally:
        for module, value in zip(learners, before, strict=True):
            module.accumulating = value
