"""The ring of the last indices, on a GPU or in the interpreter, against the reference."""

from __future__ import annotations

import pytest
import torch

from vqkit.kernels import reference, triton

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


@pytest.mark.parametrize("rows", [0, 1, 30, 2500] + [70_000] * GPU)
@pytest.mark.parametrize("length", [1, 7, 1000, 5000])
@pytest.mark.parametrize("share", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_a_ring_after_three_records(rows: int, length: int, share: float, kind: torch.dtype):
    torch.manual_seed(rows)
    ring, cursor = torch.full((2, length + 1), -1, dtype=kind), torch.zeros(2, 1, dtype=torch.int64)
    ours, our_cursor = ring.to(DEVICE, copy=True), cursor.to(DEVICE, copy=True)
    for _ in range(3):
        indices = torch.where(torch.rand(2, rows) < share, torch.randint(99, (2, rows)), -1)
        triton.record_(ours, our_cursor, indices.to(DEVICE))
        reference.record_(ring, cursor, indices)
    assert torch.equal(ours[:, :length].cpu(), ring[:, :length])
    assert torch.equal(our_cursor.cpu(), cursor)


def test_indices_of_a_transposed_view():
    indices = torch.randint(-1, 9, (40, 2)).to(DEVICE)
    rings = [torch.full((2, 101), -1, dtype=torch.int32, device=DEVICE) for _ in range(2)]
    cursors = [torch.zeros(2, 1, dtype=torch.int64, device=DEVICE) for _ in range(2)]
    triton.record_(rings[0], cursors[0], indices.t())
    triton.record_(rings[1], cursors[1], indices.t().contiguous())
    assert torch.equal(rings[0], rings[1])
