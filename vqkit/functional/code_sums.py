"""Counts and sums of rows by index."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from vqkit.errors import bad_value
from vqkit.functional.lookup import check_code_range
from vqkit.kernels import ops
from vqkit.shapes import check_float, check_int


class CodeSums(NamedTuple):
    """How many rows each code drew, and their sum."""

    counts: Tensor
    sums: Tensor


def code_sums(x: Tensor, indices: Tensor, size: int, *, backend: str | None = None) -> CodeSums:
    """Count the rows of each index and sum them, without a one-hot; the statistics of k-means and EMA codebooks.

    Args:
        x: rows, shape (..., D), any floating dtype.
        indices: int64, shape (...), each in [0, size), or −1 for a row that does not count.
        size: the number of codes K.
        backend: run this implementation or fail; None lets dispatch choose.

    Returns:
        counts (K,) int64 and sums (K, D) float64. No gradient flows through them.

    Raises:
        CodeIndexError: an index out of range.
        ArgumentError, ArgumentTypeError: shapes or dtypes that do not fit.

    Example:
        >>> import torch
        >>> counts, sums = code_sums(torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([1, 1, -1]), size=2)
        >>> counts.tolist(), sums.flatten().tolist()
        ([0, 2], [0.0, 3.0])
    """
    check_float("x", x)
    check_int("size", size)
    indices = check_code_range(indices, size)
    if x.ndim < 1 or x.shape[:-1] != indices.shape:
        raise bad_value("indices", f"shape {tuple(x.shape[:-1])}, that of x without D", f"shape {tuple(indices.shape)}")
    rows_HND, indices_HN = x.detach().reshape(1, indices.numel(), x.shape[-1]), indices.reshape(1, -1)
    counts, sums = ops.code_sums(rows_HND, indices_HN, size, backend or "")
    return CodeSums(counts[0], sums[0])
