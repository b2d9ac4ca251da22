"""Several small numbers as one index: mixed-radix packing in integers, exact up to 2^62."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from vqkit.errors import bad_type, bad_value
from vqkit.kernels.tracing import exact_sum, exporting
from vqkit.shapes import check_indices, check_int, check_shape

MAX_INDICES = 2**62


def check_level_counts(name: str, counts: object, minimum: int = 1, maximum: int = MAX_INDICES) -> tuple[int, ...]:
    """Return ``counts`` as a tuple if it is a sequence of ints in [minimum, maximum] whose product int64 can index."""
    if isinstance(counts, str) or not isinstance(counts, Sequence):
        raise bad_type(name, "a sequence of ints", counts)
    for count in counts:
        if check_int(name, count, minimum) > maximum:
            raise bad_value(name, f"ints <= {maximum}", count)
    if not counts or math.prod(counts) > MAX_INDICES:
        raise bad_value(name, f"ints, at least one, with a product of at most 2^62 = {MAX_INDICES}", tuple(counts))
    return tuple(counts)


def _basis(digits: Tensor, counts: Tensor | Sequence[int]) -> tuple[Tensor, Tensor]:
    """Counts (D,) and their place values (D,): the product of all counts before."""
    counts_D = torch.as_tensor(counts, dtype=torch.int64, device=digits.device)
    return counts_D, place_values(counts_D)


def place_values(counts_D: Tensor) -> Tensor:
    """The product of all counts before each, (D,) int64; exported, one after the other: ONNX has no cumulative product.

    >>> import torch
    >>> place_values(torch.tensor([8, 5, 3])).tolist()
    [1, 8, 40]
    """
    if not exporting():
        return counts_D.cumprod(0) // counts_D
    values = [torch.ones_like(counts_D[0])]
    for count in counts_D[:-1].unbind(0):
        values.append(values[-1] * count)
    return torch.stack(values)


def pack_levels(levels: Tensor, counts: Tensor | Sequence[int]) -> Tensor:
    """Level numbers (..., D) to indices (...): Σ_i level_i · Π_{j<i} counts_j, the first the least significant.

    Args:
        levels: any integer dtype, each in [0, counts_i); the values are not read.
        counts: (D,), how many levels each coordinate has, with a product of at most 2^62.

    Returns:
        int64 in [0, Π counts).

    Raises:
        ArgumentError, ArgumentTypeError: shapes or dtypes that do not fit.

    Example:
        >>> import torch
        >>> pack_levels(torch.tensor([[0, 0, 0], [7, 4, 4]]), [8, 5, 5]).tolist()
        [0, 199]
    """
    counts_D, basis_D = _basis(check_indices("levels", levels), counts)
    check_shape("levels", levels, ("...", counts_D.shape[0]))
    return exact_sum(levels.long() * basis_D)


def unpack_levels(indices: Tensor, counts: Tensor | Sequence[int]) -> Tensor:
    """Indices (...) to level numbers (..., D) int64: the inverse of ``pack_levels``.

    Args:
        indices: any integer dtype, each in [0, Π counts); the values are not read. counts: as for ``pack_levels``.

    Example:
        >>> import torch
        >>> unpack_levels(torch.tensor([0, 199]), [8, 5, 5]).tolist()
        [[0, 0, 0], [7, 4, 4]]
    """
    counts_D, basis_D = _basis(check_indices("indices", indices), counts)
    return indices.long()[..., None] // basis_D % counts_D
