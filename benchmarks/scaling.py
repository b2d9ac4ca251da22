"""Time of one search against the number of rows, and against the number of codes: both should be straight lines of
slope one on log axes, once there is more to do than to start.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

D = 64
ROWS, ROWS_AT = (256, 1024, 4096, 16384, 65536, 262144), 1024
CODES, CODES_AT = (64, 256, 1024, 4096, 16384, 65536), 8192
LEAST_SECONDS = 0.2
LARGEST_TABLE = 2**27  # of the peer's N×K, of which it holds several
Search = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Point:
    """Seconds of the fastest of a few searches of ``n`` rows among ``k`` codes; ``axis`` is what varies."""

    axis: str
    who: str
    n: int
    k: int
    seconds: float

    @property
    def at(self) -> int:
        return self.n if self.axis == "N" else self.k


def searches() -> dict[str, Callable[[Tensor], Search]]:
    """By name, from codes to what searches them."""
    from vector_quantize_pytorch.vector_quantize_pytorch import cdist

    from benchmarks.cases.searches import flat_index
    from vqkit.functional import nearest

    def theirs(_: Tensor) -> Search:
        return lambda x, codes: (-cdist(x[None], codes[None])).argmax(-1)

    return {"vqkit": lambda _: nearest, "faiss": flat_index, "vector-quantize-pytorch": theirs}


def sweep(repeats: int, every: int = 1) -> Iterator[Point]:
    """Every point of both axes; ``every``: only each so many sizes."""
    shapes = [("N", n, ROWS_AT) for n in ROWS[::every]] + [("K", CODES_AT, k) for k in CODES[::every]]
    for axis, n, k in shapes:
        generator = torch.Generator().manual_seed(0)
        x, codes = torch.randn(n, D, generator=generator), torch.randn(k, D, generator=generator)
        sides = {name: make(codes) for name, make in searches().items()}
        if n * k > LARGEST_TABLE:
            del sides["vector-quantize-pytorch"]
        for name, search in sides.items():
            yield Point(axis, name, n, k, fastest(lambda search=search, x=x, codes=codes: search(x, codes), repeats))


def fastest(work: Callable[[], object], repeats: int) -> float:
    """Seconds of the fastest call of at least so many, and of more while they are short; the first is to warm up."""
    work()
    best, began, done = math.inf, time.perf_counter(), 0
    while done < repeats or time.perf_counter() - began < LEAST_SECONDS:
        start = time.perf_counter()
        work()
        best, done = min(best, time.perf_counter() - start), done + 1
    return best


def slope(points: list[Point]) -> float:
    """Of log seconds over log size, by least squares on the upper half of the sizes."""
    upper = sorted(points, key=lambda p: p.at)[len(points) // 2 - 1 :]
    xs, ys = [math.log(p.at) for p in upper], [math.log(p.seconds) for p in upper]
    mx, my = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True)) / sum((x - mx) ** 2 for x in xs)
