"""Codes from data before training: many batches, one uniform sample of their rows, then k-means or the rows
themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from vqkit import distributed
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
        seed = torch.full_like(seen[0], distributed.rank())  # ranks see different rows, and draw by different numbers
        found = random_rows(rows.detach(), valid, positions, seed, self.slots)
        self.kept = found if self.kept is None else self.kept.merged(found)
        self.seen = seen + valid.sum(1)

    def share_(self, device: torch.device) -> None:
        """Make this the sample of the rows of all ranks, every one of which must call this."""
        if distributed.world_size() == 1:
            return
        without = distributed.gathered([torch.tensor(int(self.kept is None), device=device)])[0].sum()
        if self.kept is None or bool(without):
            raise bad_value("loader", "at least one batch on every rank", f"{int(without)} ranks without")
        self.kept = self.kept.shared()

    def rows(self) -> list[Tensor]:
        """The sample of each head, (n, D), in random order."""
        if self.kept is None:
            return []
        heads = range(self.kept.rows.shape[0])
        return [self.kept.rows[h][self.kept.scores[h] > NONE] for h in heads]


class Fitted(Protocol):
    """What places its codes from a sample of rows itself, tables within it included: a chain of residual stages."""

    recorder: Callable[[Tensor, Tensor], None] | None

    def largest_table(self) -> int:
        """The most codes that one of its tables has; 0 without tables."""
        ...

    def fit_rows_(self, rows: Tensor, *, method: str, iters: int) -> None:
        """Place the codes of every table from rows (N, D), at least as many as ``largest_table()``."""
        ...


def codes_from_rows(book: Codebook, rows: list[Tensor], method: str, iters: int) -> Tensor:
    """Codes (H, K, D) for ``book`` from rows of each head, (n, D): centroids of them, or the first of them."""
    generator = torch.Generator().manual_seed(0)

    def centroids(rows: Tensor) -> Tensor:
        if method == "data":
            return rows[: book.size]
        return kmeans(rows, book.size, iters=iters, metric=book.space, generator=generator).centroids

    return torch.stack([centroids(own) for own in rows])


@torch.no_grad()
def place_from_rows_(book: Codebook, rows: list[Tensor], method: str, iters: int) -> None:
    """Put the codes of ``book`` where ``codes_from_rows`` says."""
    book.begin_at_(codes_from_rows(book, rows, method, iters))


def _fitted_in(model: nn.Module) -> list[Codebook | Fitted]:
    """The outermost modules of ``model`` that place codes: a chain stands for the tables within it."""
    if isinstance(model, Codebook) or (hasattr(model, "recorder") and hasattr(model, "fit_rows_")):
        return [model]  # pyright: ignore[reportReturnType] - duck-typed: quantizers stand above this room
    return [found for child in model.children() for found in _fitted_in(child)]


def _size(target: Codebook | Fitted) -> int:
    return target.size if isinstance(target, Codebook) else target.largest_table()


@contextmanager
def recording(targets: Iterable[Codebook | Fitted], rows_per_code: int) -> Iterator[dict[Any, RowSample]]:
    """Within, each target's rows go into a sample and nothing is learned."""
    samples = {target: RowSample(rows_per_code * _size(target)) for target in targets}
    for target, sample in samples.items():
        target.recorder = sample.add
    try:
        yield samples
    finally:
        for target in samples:
            target.recorder = None


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
    With several ranks each brings a loader of its own, all must call this, and all place the same codes.

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
    rows = {target: _enough(target, sample) for target, sample in samples.items()}
    books = [target for target in rows if isinstance(target, Codebook)]
    codes = {book: codes_from_rows(book, rows[book], warmup_method, iters) for book in books}
    for book, placed in codes.items():
        book.begin_at_(placed)
    for target, found in rows.items():
        if not isinstance(target, Codebook):
            target.fit_rows_(found[0], method=warmup_method, iters=iters)


def _enough(target: Codebook | Fitted, sample: RowSample) -> list[Tensor]:
    """The sample of each head, if there are at least as many rows as codes to place."""
    heads, size = sample.rows(), _size(target)
    if not heads:
        reason = "the loader is empty, or these codes are drawn by scores and never compared with rows"
        raise ArgumentError(f"loader: expected at least {size} rows to place {size} codes, got none: {reason}")
    found = min(len(rows) for rows in heads)
    if found < size:
        raise ArgumentError(f"loader: expected at least {size} rows to place {size} codes, got {found}")
    if isinstance(target, Codebook) and target.bridge is not None:
        raise ArgumentError("loader: a row has no pre-image under a bridge, so it cannot become a code")
    return heads


@torch.no_grad()
def sampled(
    model: nn.Module,
    loader: Iterable[Any],
    num_batch: int | None = None,
    *,
    rows_per_code: int = 64,
    forward: Callable[[Any], object] | None = None,
) -> dict[Any, RowSample]:
    """A sample of the rows that reach each outermost module of ``model`` that places codes; arguments as for
    ``codebook_warmup``.
    """
    check_int("rows_per_code", rows_per_code)
    if num_batch is not None:
        check_int("num_batch", num_batch)
    targets = [target for target in _fitted_in(model) if _size(target)]
    if not targets:
        raise bad_value("model", "a module with a vqkit codebook in it", type(model).__name__)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with recording(targets, rows_per_code) as samples:
            for batch in islice(loader, num_batch):
                (forward or model)(batch[0] if isinstance(batch, (tuple, list)) and forward is None else batch)
    finally:
        for module, training in modes.items():
            module.training = training
    for target, sample in samples.items():
        if all(book.sync for book in target.modules() if isinstance(book, Codebook)):
            sample.share_(next(target.buffers()).device)
    return samples
