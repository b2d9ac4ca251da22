"""The nearest code of every row."""

from __future__ import annotations

import math
from typing import Literal, overload

import torch
from torch import Tensor

from vqkit.errors import bad_value
from vqkit.kernels import ops
from vqkit.kernels.reference.nearest import lifted
from vqkit.shapes import check_choice, check_float, check_int, check_shape

METRICS = ("euclidean", "cosine", "dot")


@overload
def nearest(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = ...,
    topk: int | None = ...,
    return_distances: Literal[False] = ...,
    backend: str | None = ...,
) -> Tensor: ...
@overload
def nearest(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = ...,
    topk: int | None = ...,
    return_distances: Literal[True],
    backend: str | None = ...,
) -> tuple[Tensor, Tensor]: ...
def nearest(
    x: Tensor,
    codebook: Tensor,
    *,
    metric: str = "euclidean",
    topk: int | None = None,
    return_distances: bool = False,
    backend: str | None = None,
) -> Tensor | tuple[Tensor, Tensor]:
    """Find the nearest code of every row, exactly.

    The answer is that of float64 arithmetic on the given values, whatever their offset, and does not depend on what
    else is in ``x``. Ties go to the lowest index. Memory is the input, the output and a block; never N×K.

    Args:
        x: rows, shape (..., D), or (H, ..., D) with H codebooks; any floating dtype.
        codebook: codes, shape (K, D) or (H, K, D), finite; any floating dtype.
        metric: ``"euclidean"`` (distance |x − e|²), ``"cosine"`` (distance 1 − cos; a zero vector has distance 1) or
            ``"dot"`` (distance −x·e; exact up to float64's rounding of |e|²).
        topk: None for the nearest code, or T for the T nearest, nearest first.
        return_distances: also return the distances.
        backend: run this implementation or fail; None lets ``vqkit.kernels.dispatch`` choose.

    Returns:
        indices, int64, shape (...) or (..., T) with ``topk``; −1 where the row holds NaN or inf. With
        ``return_distances`` also the distances in float32 (float64 for float64 rows), inf where the row is not finite.
        No gradient flows through either.

    Raises:
        ArgumentError, ArgumentTypeError: a shape, dtype or name that does not fit.

    Example:
        >>> import torch
        >>> codebook = torch.tensor([[0.0, 0.0], [1.0, 1.0], [1.0, 1.0]])
        >>> nearest(torch.tensor([[0.9, 1.2], [0.1, -0.3]]), codebook)
        tensor([1, 0])
        >>> nearest(torch.tensor([0.9, 1.2]), codebook, topk=2, return_distances=True)
        (tensor([1, 2]), tensor([0.0500, 0.0500]))
    """
    check_float("x", x)
    check_float("codebook", codebook)
    check_choice("metric", metric, METRICS)
    if codebook.ndim not in (2, 3):
        raise bad_value("codebook", "shape (K, D) or (H, K, D)", f"shape {tuple(codebook.shape)}")
    one_codebook = codebook.ndim == 2
    codebook_HKD = codebook[None] if one_codebook else codebook
    H, K, D = codebook_HKD.shape
    if H == 0 or K == 0 or D == 0:
        raise bad_value("codebook", "at least one code of width >= 1", f"shape {tuple(codebook.shape)}")
    check_shape("x", x, ("...", D))
    if not one_codebook and (x.ndim < 2 or x.shape[0] != H):
        raise bad_value("x", f"shape ({H}, ..., {D}), one slice per codebook", f"shape {tuple(x.shape)}")
    T = 1 if topk is None else check_int("topk", topk)
    if T > K:
        raise bad_value("topk", f"at most the {K} codes there are", topk)

    rows_HND = x.detach().reshape(H, math.prod(x.shape[:-1]) // H, D)
    indices, distances = search(rows_HND, codebook_HKD.detach(), metric, T, backend or "")
    shape = x.shape[:-1] if topk is None else (*x.shape[:-1], T)
    if not return_distances:
        return indices.reshape(shape)
    return indices.reshape(shape), distances.reshape(shape).to(torch.promote_types(x.dtype, torch.float32))


def search(x_HND: Tensor, codebook_HKD: Tensor, metric: str, topk: int = 1, backend: str = "") -> tuple[Tensor, Tensor]:
    """``nearest`` without the checks: indices (H, N, T) int64 and distances (H, N, T) float64."""
    return ops.nearest(x_HND, codebook_HKD, metric, topk, backend)


def search_biased(
    x_HND: Tensor, codebook_HKD: Tensor, bias_HK: Tensor, topk: int = 1, backend: str = ""
) -> tuple[Tensor, Tensor]:
    """The codes of least |x − e|² − b, with a number b for every code: indices (H, N, T), and these values."""
    rows, codes, top_H11 = lifted(x_HND, codebook_HKD, bias_HK)
    indices, distances = ops.nearest(rows, codes, "euclidean", topk, backend)
    return indices, distances - top_H11
