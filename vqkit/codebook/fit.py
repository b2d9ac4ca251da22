"""Codes from data before training: many batches, one uniform sample of their rows, then k-means or the rows
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from vqkit.codebook.codebook import Codebook
from vqkit.codebook.stats import NONE, Candidates, random_rows
from vqkit.errors import ArgumentError, bad_value
from vqkit.functional.kmeans import kmeans
from vqkit.shapes import check_choice, check_int

METHODS = ("kmeans", "data")


class RowSample:
    """A uniform sample of at most ``slots`` of all the rows it is shown; the same one however they were batched."""

    def __init__(self, slots: int):
        self.slots = slots
        self.seen: Tensor | None = None
        self.kept: Candidates | None = None

    @torch.no_grad()
    def add(self, rows: Tensor, valid: Tensor) -> None:
        """Show rows (H, N, D), those valid (H, N)."""
        seen = torch.zeros_like(valid.sum(1)) if self.seen is None else self.seen
        positions = valid.cumsum(1) - 1 + seen[:, None]
        found = random_rows(rows.detach(), valid, positions, torch.zeros_like(seen[0]), self.slots)
        self.kept = found if self.kept is None else self.kept.merged(found)
        self.seen = seen + valid.sum(1)

    def rows(self) -> list[Tensor]:
        """The sample of each head, (n, D), in random order."""
        if self.kept is None:
            return []
        heads = range(self.kept.rows.shape[0])
        return [self.kept.rows[h][self.kept.scores[h] > NONE] for h in heads]


@torch.no_grad()
def codes_from_sample(book: Codebook, sample: RowSample, method: str, iters: int) -> Tensor:
    """Codes (H, K, D) for ``book`` from a sample: centroids of its rows, or its rows."""
    heads = sample.rows()
    found = min((len(rows) for rows in heads), default=0)
    if found < book.size:
        raise ArgumentError(f"loader: expected at least {book.size} rows to place {book.size} codes, got {found}")
    if book.bridge is not None:
        raise ArgumentError("loader: a row has no pre-image under a bridge, so it cannot become a code")
    generator = torch.Generator().manual_seed(0)

    def centroids(rows: Tensor) -> Tensor:
        if method == "data":
            return rows[: book.size]
        return kmeans(rows, book.size, iters=iters, metric=book.metric, generator=generator).centroids

    return torch.stack([centroids(rows) for rows in heads])


@contextmanager
def recording(books: Iterable[Codebook], rows_per_code: int) -> Iterator[dict[Codebook, RowSample]]:
    """Within, each codebook's rows go into a sample and nothing is learned."""
    samples = {book: RowSample(rows_per_code * book.size) for book in books}
    for book, sample in samples.items():
        book.recorder = sample.add
    try:
        yield samples
    finally:
        for book in samples:
            book.recorder = None


def codebook_warmup(
    model: nn.Module,
    loader: Iterable[Any],
    warmup_method: str = "kmeans",
    num_batch: int | None = None,
    *,
    iters: int = 10,
    rows_per_code: int = 64,
    forward: Callable[[Any], object] | None = None,
) -> None:
    """Place the codes of every codebook in ``model`` from what its encoder makes of many batches.

    Runs ``model`` in eval mode, without gradients, over up to ``num_batch`` batches; nothing but the codes changes.

    Args:
        model: any module with vqkit quantizers in it. loader: batches; a tuple or list gives its first element to the
            model.
        warmup_method: ``"kmeans"`` centroids of the sample, or ``"data"`` for rows of it.
        num_batch: stop after so many batches; None takes them all. iters: k-means iterations.
        rows_per_code: the size of the uniform sample kept, per code. forward: called with each batch instead of the
            model.

    Raises:
        ArgumentError: no codebook in the model, an unknown method, or fewer rows than codes.

    Example:
        >>> import torch
        >>> from vqkit import VectorQuantize
        >>> vq = VectorQuantize(dim=4, codebook_size=8)
        >>> codebook_warmup(vq, [torch.randn(2, 16, 4) for _ in range(3)])
    """
    check_choice("warmup_method", warmup_method, METHODS)
    check_int("iters", iters, 0)
    samples = sampled(model, loader, num_batch, rows_per_code=rows_per_code, forward=forward)
    # All of them before the first is placed: one that fails leaves every codebook as it was.
    found = {book: codes_from_sample(book, sample, warmup_method, iters) for book, sample in samples.items()}
    for book, codes in found.items():
        book.place_(torch.ones_like(book.frozen), codes, 1.0)
        book.mark_initialised_()


@torch.no_grad()
def sampled(
    model: nn.Module,
    loader: Iterable[Any],
    num_batch: int | None = None,
    *,
    rows_per_code: int = 64,
    forward: Callable[[Any], object] | None = None,
) -> dict[Codebook, RowSample]:
    """A sample of the rows that reach each codebook in ``model``, arguments as for ``codebook_warmup``."""
    check_int("rows_per_code", rows_per_code)
    if num_batch is not None:
        check_int("num_batch", num_batch)
    books = [module for module in model.modules() if isinstance(module, Codebook)]
    if not books:
        raise bad_value("model", "a module with a vqkit codebook in it", type(model).__name__)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with recording(books, rows_per_code) as samples:
            for batch in islice(loader, num_batch):
                (forward or model)(batch[0] if isinstance(batch, (tuple, list)) and forward is None else batch)
    finally:
        for module, training in modes.items():
            module.training = training
    return samples
