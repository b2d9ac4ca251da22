"""The native tables of bits against the reference."""

from __future__ import annotations

import pytest
import torch

from vqkit.kernels import cpu, ops, reference

ABSENT = cpu.why_not()
pytestmark = pytest.mark.skipif(ABSENT is not None, reason=f"no native library: {ABSENT}")


@pytest.mark.parametrize("rows", [0, 1, 33, 700])
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4, 5, 8, 11])
def test_tables_are_the_reference_to_the_bit(bits: int, rows: int):
    chances = torch.sigmoid(torch.randn(rows, bits, 2, generator=torch.Generator().manual_seed(bits)) * 8)
    for least in (0.0, 1e-3):
        assert torch.equal(cpu.bit_table(chances, least), reference.bit_table(chances, least))


@pytest.mark.parametrize("rows", [0, 1, 33, 700])
@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4, 5, 8, 11])
def test_sums_by_bit(bits: int, rows: int):
    generator = torch.Generator().manual_seed(bits)
    table, slope = torch.rand(rows, 2**bits, generator=generator), torch.randn(rows, 2**bits, generator=generator)
    exact = reference.bit_sums(table.double(), slope.double())
    for found, wanted in zip(cpu.bit_sums(table, slope), exact, strict=True):
        torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5 * 2 ** (bits / 2))


def test_what_is_differentiated_goes_to_the_reference():
    chances = torch.rand(5, 3, 2, requires_grad=True)
    table = ops.bit_table(chances, 0.0)
    assert table.requires_grad
    assert torch.equal(table, cpu.bit_table(chances.detach(), 0.0))
    assert all(t.requires_grad for t in ops.bit_sums(table, torch.ones(5, 8)))
    with torch.no_grad():
        assert not ops.bit_table(chances, 0.0).requires_grad


def test_the_number_of_threads_changes_no_bit_of_a_table():
    chances, slope, threads, found = torch.rand(3000, 8, 2), torch.randn(3000, 256), torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            table = cpu.bit_table(chances, 1e-14)
            found.append((table, *cpu.bit_sums(table, slope)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_tables_of_float64_go_to_the_reference():
    chances = torch.rand(5, 3, 2, dtype=torch.float64)
    table = cpu.bit_table(chances, 0.0)
    assert torch.equal(table, reference.bit_table(chances, 0.0))
    assert cpu.bit_sums(table, table)[0].dtype == torch.float64
