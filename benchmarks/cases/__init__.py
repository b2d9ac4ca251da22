"""What is measured, and against whom, by theme. ``benchmarks/README.md`` says how to add a case."""

from __future__ import annotations

from collections.abc import Iterator

import faiss
import torch

from benchmarks.cases import clustering, product, residual, scalar, searches, vector
from benchmarks.harness import Case

THEMES = (searches, vector, residual, scalar, clustering, product)


def all_cases() -> Iterator[Case]:
    for theme in THEMES:
        yield from theme.cases()


def use_threads(threads: int) -> None:
    """Both sides by so many threads."""
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
