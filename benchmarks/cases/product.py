"""PQ and OPQ, fitted on the same rows: never more than 2 % worse than faiss."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import faiss
import torch
from torch import Tensor

from benchmarks.cases.agreement import FAISS
from benchmarks.harness import Case, Work
from vqkit import ProductQuantize
from vqkit.codebook import Fixed

N, D, HEADS, BITS = 8192, 32, 8, 6


def _ours(x: Tensor, rotation: str | None) -> float:
    pq = ProductQuantize(D, HEADS, 2**BITS, rotation, update=Fixed(), revive=None)
    pq.fit([x], iters=25, rows_per_code=256).eval()
    return (pq(x).quantized - x).square().sum(1).mean().item()


def _theirs(x: Tensor, rotation: str | None) -> float:
    turned = x.numpy()
    if rotation:
        rotate: Any = faiss.OPQMatrix(D, HEADS)
        rotate.pq = faiss.ProductQuantizer(D, HEADS, BITS)
        rotate.train(turned)
        turned = rotate.apply(turned)
    pq: Any = faiss.ProductQuantizer(D, HEADS, BITS)
    pq.train(turned)
    return torch.from_numpy(pq.decode(pq.compute_codes(turned)) - turned).square().sum(1).mean().item()


def make(rotation: str | None) -> Work:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(N, D, generator=generator) @ torch.randn(D, D, generator=generator)

    def check() -> None:
        first, second = _ours(x, rotation), _theirs(x, rotation)
        if first > 1.02 * second:
            raise AssertionError(f"error {first:.4f}, the peer's is {second:.4f}")

    return Work(check, lambda _: _ours(x, rotation), lambda _: _theirs(x, rotation))


def cases() -> Iterator[Case]:
    for rotation, theirs in ((None, "ProductQuantizer"), ("learned", "OPQMatrix, ProductQuantizer")):
        name = f"ProductQuantize.fit{' rotated' if rotation else ''} N={N} K={2**BITS} H={HEADS} D={D}"
        yield Case(name, "product", f"{FAISS} {theirs}", partial(make, rotation))
