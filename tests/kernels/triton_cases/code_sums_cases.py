"""``code_sums`` on a GPU, or in the interpreter, against the reference on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit import functional
from vqkit.kernels import reference
from vqkit.kernels.triton.sums import code_sums

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def summed(x: Tensor, indices: Tensor, size: int) -> tuple[Tensor, Tensor]:
    counts, sums = code_sums(x.to(DEVICE), indices.to(DEVICE), size)
    return counts.cpu(), sums.cpu()


def drawn(H: int, N: int, K: int, D: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(N)
    return torch.randn(H, N, D, generator=generator), torch.randint(-1, K, (H, N), generator=generator)


SMALL = [(1, 0, 3, 4), (1, 5, 1, 1), (2, 300, 40, 33), (1, 50, 9, 130)]


@pytest.mark.parametrize("shape", SMALL + [(1, 65_536, 8192, 64), (2, 10_000, 3, 257)] * GPU, ids=str)
@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (1000, 0.01), (0, 1e-42), (0, 1e30)])
def test_sums_are_those_of_float64(shape: tuple[int, int, int, int], offset: float, scale: float):
    x, indices = drawn(*shape)
    x = offset + scale * x
    counts, sums = summed(x, indices, shape[2])
    expected_counts, expected = reference.code_sums(x, indices, shape[2])
    assert torch.equal(counts, expected_counts)
    torch.testing.assert_close(sums, expected, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_rows_are_their_values(dtype: torch.dtype):
    x, indices = drawn(1, 40, 5, 3)
    expected = summed(x.to(dtype).float(), indices, 5)
    assert all(torch.equal(a, b) for a, b in zip(summed(x.to(dtype), indices, 5), expected, strict=True))


def test_the_order_of_rows_changes_no_bit():
    x, indices = drawn(1, 200, 5, 7)
    x *= torch.logspace(-9, 9, 200)[None, :, None]
    order = torch.randperm(200, generator=torch.Generator().manual_seed(0))
    assert torch.equal(summed(x, indices, 5)[1], summed(x[:, order], indices[:, order], 5)[1])


def test_small_values_beside_large_ones_of_other_codes():
    x, indices = drawn(1, 100, 4, 5)
    x[indices == 1] *= 1e30
    x[indices == 2] *= 1e-30
    for code, sums in enumerate(reference.code_sums(x, indices, 4)[1][0]):
        torch.testing.assert_close(summed(x, indices, 4)[1][0, code], sums, rtol=1e-12, atol=0)


def test_values_that_are_not_finite_stay_with_their_code():
    x, indices = drawn(1, 60, 4, 3)
    x[0, 3, 1], x[0, 7, 0] = torch.inf, torch.nan
    expected = reference.code_sums(x, indices, 4)[1]
    torch.testing.assert_close(summed(x, indices, 4)[1], expected, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_through_the_public_function():
    x, indices = drawn(1, 30, 4, 3)
    ours = functional.code_sums(x[0].to(DEVICE), indices[0].to(DEVICE), 4, backend="triton")
    theirs = functional.code_sums(x[0], indices[0], 4, backend="reference")
    assert torch.equal(ours.counts.cpu(), theirs.counts)
    torch.testing.assert_close(ours.sums.cpu(), theirs.sums, rtol=1e-12, atol=1e-12)
