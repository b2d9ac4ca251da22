"""Whether a program is being traced, and what a trace needs said otherwise: blocks, order, sums of ints."""

from __future__ import annotations

import torch
from torch import Tensor

HALF = 2**31


def exporting() -> bool:
    """Whether ``torch.export`` is tracing, and traces plain operations: a program then runs where there is no vqkit."""
    return torch.compiler.is_exporting() if hasattr(torch.compiler, "is_exporting") else False


def blocks(rows: int, step: int) -> list[slice]:
    """Slices of ``rows`` rows, ``step`` in each, and one at least; traced, one of all rows, whose number is open.

    >>> blocks(5, 3)
    [slice(0, 3, None), slice(3, 6, None)]
    """
    if torch.compiler.is_compiling():
        return [slice(None)]
    return [slice(start, start + step) for start in range(0, max(1, rows), step)]


def least(values_NK: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` least of each row in order, of equals the first: values and places (N, count). Exported, one after
    the other: ONNX has no stable sort.

    >>> import torch
    >>> least(torch.tensor([[3.0, 1.0, 2.0, 1.0]]), 3)
    (tensor([[1., 1., 2.]]), tensor([[1, 3, 2]]))
    """
    if not exporting():
        values, places = values_NK.sort(dim=1, stable=True)
        return values[:, :count], places[:, :count]
    left_NK, found = values_NK, []
    for _ in range(count):
        found.append(left_NK.argmin(1, keepdim=True))
        left_NK = left_NK.scatter(1, found[-1], torch.inf)
    places = torch.cat(found, 1)
    return values_NK.gather(1, places), places


def exact_sum(values: Tensor) -> Tensor:
    """The sum along the last axis of int64 numbers >= 0; exported, of either half of their bits, since ONNX Runtime
    adds integers as float64, exact to 2^53 alone.

    >>> import torch
    >>> exact_sum(torch.tensor([[2**61, 3, 1]])).item() - 2**61
    4
    """
    if not exporting():
        return values.sum(-1)
    return (values // HALF).sum(-1) * HALF + (values % HALF).sum(-1)
