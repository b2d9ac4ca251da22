"""The first four moments of a batch, per column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from vqkit import distributed
from vqkit.shapes import check_float, check_shape, check_tensor

SMALLEST_STD = 1e-8  # a column that varies less has no shape


class Moments(NamedTuple):
    """rows: (), how many. mean, variance, skewness, kurtosis: (D,) each; the variance unbiased, the kurtosis in excess
    of the normal distribution's 3. With too few rows or no variance to tell, zero.
    """

    rows: Tensor
    mean: Tensor
    variance: Tensor
    skewness: Tensor
    kurtosis: Tensor


def moments(x: Tensor, valid: Tensor | None = None, *, sync: bool = False) -> Moments:
    """Moments of the rows that count, differentiable, float64.

    With the unbiased deviation s, skewness and kurtosis are the means of ((x − m)/s)³ and of ((x − m)/s)⁴ − 3.

    Args:
        x: rows (N, D), floating point. valid: (N,) bool, or None for all. sync: of the rows of all ranks; then each
            rank must call, and go backward if one does.

    Raises:
        ArgumentError, ArgumentTypeError: shapes or dtypes that do not fit.

    Example:
        >>> import torch
        >>> found = moments(torch.tensor([[1.0], [2.0], [6.0]]))
        >>> found.mean.tolist(), found.variance.tolist()
        ([3.0], [7.0])
        >>> moments(torch.tensor([[1.0]])).variance.tolist()
        [0.0]
    """
    check_shape("x", check_float("x", x), ("N", "D"))
    valid = torch.ones_like(x[:, 0], dtype=torch.bool) if valid is None else check_tensor("valid", valid)
    check_shape("valid", valid, x.shape[:1])

    def total(values: Sequence[Tensor]) -> list[Tensor]:
        sums = [value.sum(0) for value in values]
        return distributed.summed_with_gradient(sums) if sync else sums

    counted, rows = valid.to(torch.float64), torch.where(valid[:, None], x.double(), 0)
    count, sum_D = total([counted, rows])
    mean_D = sum_D / count.clamp(min=1)
    centred = torch.where(valid[:, None], rows - mean_D, 0)
    (squares_D,) = total([centred.square()])
    variance_D = squares_D / (count - 1).clamp(min=1)
    varies_D = variance_D > SMALLEST_STD**2
    # The root of a zero has an infinite slope: columns that do not vary are divided by one.
    scores = centred / torch.where(varies_D, variance_D, 1).sqrt()
    squared = scores.square()  # twice over: powers are slow
    thirds_D, fourths_D = (sums / count.clamp(min=1) for sums in total([squared * scores, squared * squared]))
    return Moments(
        count, mean_D, variance_D, torch.where(varies_D, thirds_D, 0), torch.where(varies_D, fourths_D - 3, 0)
    )
