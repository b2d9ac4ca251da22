"""Tables of bits on a GPU, or in the interpreter, against the reference."""

from __future__ import annotations

import pytest
import torch

from vqkit.kernels import reference, triton

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


@pytest.mark.parametrize("rows", [0, 1, 33] + [70_000] * GPU)
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 8, 9])
def test_tables_are_the_reference_to_the_bit(bits: int, rows: int):
    chances = torch.sigmoid(torch.randn(rows, bits, 2, generator=torch.Generator().manual_seed(bits)) * 8)
    for least in (0.0, 1e-3):
        found = triton.bit_table(chances.to(DEVICE), least).cpu()
        assert torch.equal(found, reference.bit_table(chances, least))


@pytest.mark.parametrize("rows", [0, 1, 33] + [70_000] * GPU)
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 5, 8, 11])
def test_sums_by_bit(bits: int, rows: int):
    generator = torch.Generator().manual_seed(bits)
    table, slope = torch.rand(rows, 2**bits, generator=generator), torch.randn(rows, 2**bits, generator=generator)
    exact = reference.bit_sums(table.double(), slope.double())
    for found, wanted in zip(triton.bit_sums(table.to(DEVICE), slope.to(DEVICE)), exact, strict=True):
        torch.testing.assert_close(found.cpu().double(), wanted, rtol=1e-5, atol=1e-5 * 2 ** (bits / 2))


def test_views_of_tables():
    chances = torch.rand(3, 40, 2).transpose(0, 1).to(DEVICE)
    table = triton.bit_table(chances, 0.0)
    assert torch.equal(table, triton.bit_table(chances.contiguous(), 0.0))
    turned = table.t().contiguous().t()
    sums, of_view = triton.bit_sums(table, table), triton.bit_sums(turned, turned)
    assert all(torch.equal(a, b) for a, b in zip(sums, of_view, strict=True))


def test_tables_of_other_types_go_to_the_reference():
    chances = torch.rand(5, 3, 2).bfloat16()
    table = triton.bit_table(chances, 0.0)
    assert torch.equal(table, reference.bit_table(chances, 0.0))
    assert triton.bit_sums(table, table)[0].dtype == torch.bfloat16
