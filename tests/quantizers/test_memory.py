"""A training step's memory, in a process of its own, where rows by codes would be four times what is allowed."""

from __future__ import annotations

import pytest

from benchmarks.memory import ALL, BINARY, added

SIZE = 16_384  # rows and codes: 1 GiB of float32


@pytest.mark.parametrize("case", [case for case in ALL if case not in BINARY])
def test_a_step_of_a_table_adds_no_rows_by_codes(case: str):
    limit = SIZE**2 * 4 / 2**20 / 4
    assert 0 < (added(case, SIZE, SIZE) or 0) < limit


@pytest.mark.parametrize("bits", [16, 18])
@pytest.mark.parametrize("case", BINARY)
def test_a_step_of_bits_adds_no_rows_by_codes(case: str, bits: int):
    assert 0 < (added(case, 4096, bits) or 0) < 256 <= 4096 * 2**bits * 4 / 2**20 / 4
