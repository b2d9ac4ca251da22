"""The exact nearest code against faiss's exact flat index: as the library chooses, and by float32 arithmetic alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import faiss
import torch
from torch import Tensor

from benchmarks.cases.agreement import FAISS, drawn, require_nearest
from benchmarks.harness import Case, NotHereError, Work
from vqkit.functional import nearest
from vqkit.kernels import cpu

SHAPES = (
    (16384, 512, 64),
    (16384, 1024, 256),
    (16384, 8192, 8),
    (16384, 8192, 32),
    (16384, 1024, 16),
    (4096, 65536, 16),
    (16384, 16384, 256),
    (16384, 1024, 512),
)
Search = Callable[[Tensor, Tensor], Tensor]


def in_float32() -> Search:
    """A search by the fastest of this machine's instruction sets that has no product of lower precision."""
    if reason := cpu.why_not():
        raise NotHereError(reason)
    plain = next(isa for isa in cpu.instruction_sets() if "bf16" not in isa and "amx" not in isa)
    return lambda x, codes: cpu.nearest_index(x[None], codes[None], "euclidean", plain)[0]


def flat_index(codes_KD: Tensor) -> Search:
    index = faiss.IndexFlatL2(codes_KD.shape[1])
    index.add(codes_KD.numpy())
    return lambda x, _: torch.from_numpy(index.search(x.numpy(), 1)[1][:, 0])


def make(n: int, k: int, d: int, search: Callable[[], Search]) -> Work:
    rows, (codes,) = drawn(n, d, sets=3), drawn(k, d, sets=1, seed=1)
    ours, theirs, scores = search(), flat_index(codes), torch.empty(n, k)

    def check() -> None:
        for x in rows:
            require_nearest(x, codes, ours(x, codes), theirs(x, codes))

    def product(turn: int) -> Tensor:
        return torch.mm(rows[turn % 3], codes.t(), out=scores)

    return Work(check, lambda turn: ours(rows[turn % 3], codes), lambda turn: theirs(rows[turn % 3], codes), product)


def cases() -> Iterator[Case]:
    for group, search in (("nearest", lambda: nearest), ("nearest-fp32", in_float32)):
        for n, k, d in SHAPES:
            name = f"{group} N={n} K={k} D={d}"
            yield Case(name, group, f"{FAISS} IndexFlatL2", partial(make, n, k, d, search), 2.0 * n * k * d)
