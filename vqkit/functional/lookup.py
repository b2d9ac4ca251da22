"""Codes by index."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from vqkit.errors import CodeIndexError, bad_value
from vqkit.functional.counted import all_known
from vqkit.shapes import check_float, check_indices


def check_code_range(indices: Tensor, sizes: int | Sequence[int]) -> Tensor:
    """Return ``indices`` if each is −1 or in [0, size); raises ``CodeIndexError`` naming the first that is not.

    ``sizes``: one for all, or one for each entry of the last axis. Reads the values, so it belongs at the public edge,
    not into a training step.
    """
    given, indices = check_indices("indices", indices), indices.long()  # before comparing: 256 is no uint8
    if torch.compiler.is_compiling() or indices.numel() == 0:
        return indices
    if indices.is_meta:
        raise bad_value("indices", "a tensor with values", "one on the meta device")
    limit = sizes if isinstance(sizes, int) or len(set(sizes)) > 1 else sizes[0]
    bound = limit if isinstance(limit, int) else torch.tensor(limit, device=indices.device)
    wrong = (indices < (0 if given.dtype == torch.uint64 else -1)) | (indices >= bound)  # 2^64 − 1 has become −1
    if bool(wrong.any()):
        value = int(indices[wrong][0])
        value += 2**64 if given.dtype == torch.uint64 and value < 0 else 0
        span = f"[0, {limit})" if isinstance(limit, int) else f"[0, K) with K = {tuple(limit)} along the last axis"
        raise CodeIndexError(f"indices: expected values in {span}, or -1 for none, got {value}")
    return indices


def lookup(codebook: Tensor, indices: Tensor) -> Tensor:
    """Codes by index; index −1 gives a zero vector. Differentiable in the codebook.

    Args:
        codebook: codes, shape (K, D), or (H, K, D) with indices (H, ...).
        indices: int64 (any integer dtype works), shape (...), each −1 or in [0, K).

    Returns:
        codes, shape (..., D), in the codebook's dtype.

    Raises:
        CodeIndexError: an index out of range; it names the value.
        ArgumentError, ArgumentTypeError: shapes or dtypes that do not fit.

    Example:
        >>> import torch
        >>> lookup(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, -1]))
        tensor([[3., 4.],
                [0., 0.]])
    """
    check_float("codebook", codebook)
    if codebook.ndim not in (2, 3):
        raise bad_value("codebook", "shape (K, D) or (H, K, D)", f"shape {tuple(codebook.shape)}")
    indices = check_code_range(indices, codebook.shape[-2])
    if codebook.ndim == 2:
        return take(codebook[None], indices.reshape(1, -1)).reshape(*indices.shape, -1)
    if indices.ndim == 0 or indices.shape[0] != codebook.shape[0]:
        raise bad_value("indices", f"shape ({codebook.shape[0]}, ...)", f"shape {tuple(indices.shape)}")
    return take(codebook, indices.reshape(indices.shape[0], -1)).reshape(*indices.shape, codebook.shape[-1])


def take(codes_HKD: Tensor, indices_HN: Tensor) -> Tensor:
    """``lookup`` without the checks: (H, N, D), zero where the index is negative."""
    H, K, D = codes_HKD.shape
    counted_HN = indices_HN >= 0
    all_there = all_known(counted_HN)
    slots_HN = indices_HN.long() if all_there else indices_HN.clamp(min=0).long()
    if H > 1:
        slots_HN = slots_HN + torch.arange(H, device=indices_HN.device)[:, None] * K
    taken_HND = F.embedding(slots_HN, codes_HKD.reshape(H * K, D))
    return taken_HND if all_there else torch.where(counted_HN[..., None], taken_HND, 0)
