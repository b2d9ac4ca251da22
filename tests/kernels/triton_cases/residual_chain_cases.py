"""``residual_chain`` on a GPU, or in the interpreter, against the reference on a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vqkit.kernels import ops, reference
from vqkit.kernels.triton.chain import residual_chain

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


def drawn(N: int, Q: int, K: int, D: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(N)
    codes = torch.randn(Q, K, D, generator=generator) * 0.6 ** torch.arange(Q)[:, None, None]
    return torch.randn(N, D, generator=generator), codes


def assert_same(x: Tensor, codes: Tensor) -> None:
    indices = residual_chain(x.to(DEVICE), codes.to(DEVICE)).cpu()
    assert torch.equal(indices, reference.residual_chain(x, codes))


SMALL = [(1, 1, 1, 1), (33, 3, 70, 5), (70, 2, 130, 40), (3, 2, 20, 300)]
LARGE = [(5000, 8, 1024, 128), (3000, 4, 4096, 64), (1000, 12, 300, 256), (40_000, 4, 256, 16)]


@pytest.mark.parametrize("shape", SMALL + LARGE * GPU, ids=str)
def test_rows_of_any_shape(shape: tuple[int, int, int, int]):
    assert_same(*drawn(*shape))


def test_no_rows():
    x, codes = drawn(5, 3, 4, 2)
    assert residual_chain(x[:0].to(DEVICE), codes.to(DEVICE)).shape == (0, 3)


@pytest.mark.parametrize(("offset", "scale"), [(1000, 0.01), (0, 1e-42), (0, 1e30)])
def test_offsets_and_numbers_at_the_ends_of_float32(offset: float, scale: float):
    x, codes = drawn(20, 3, 30, 6)
    assert_same(offset + scale * x, torch.cat([offset + scale * codes[:1], scale * codes[1:]]))


def test_ties_and_near_ties():
    x, codes = drawn(300 if GPU else 12, 3, 40, 8)
    assert_same(x, codes.repeat(1, 2, 1))
    assert_same(x, codes[:, :1].expand(-1, 40, -1).contiguous())
    near = codes.repeat(1, 4, 1)
    near[:, 40:] += 1e-7
    assert_same(x, near)


def test_rows_that_are_not_finite_and_residuals_that_overflow():
    x, codes = drawn(12, 3, 10, 4)
    x[3, 1], x[5], x[6] = torch.nan, torch.inf, 3e38
    codes[0, 0] = -1e38
    indices = residual_chain(x.to(DEVICE), codes.to(DEVICE)).cpu()
    assert indices[[3, 5]].eq(-1).all()
    assert torch.equal(indices, reference.residual_chain(x, codes))
    codes[1] = -2e38
    assert_same(x, codes)


def test_the_op_is_well_formed():
    x, codes = drawn(9, 2, 5, 4)
    torch.library.opcheck(ops.residual_chain_op, (x.to(DEVICE), codes.to(DEVICE), "triton"))
    torch.library.opcheck(ops.residual_chain_op, (x, codes, "reference"))
