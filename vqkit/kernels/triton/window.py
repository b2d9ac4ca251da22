"""Indices into a ring of the last ones, on a GPU: three launches."""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from vqkit.kernels import reference
from vqkit.kernels.triton.launch import aligned, power_of_two
from vqkit.kernels.triton.single import Single, blocks

COUNTED = 1024  # indices whose number one program counts
MOST_COUNTS = 4096  # of them that one program adds up


@triton.jit
def _count(indices_ptr, parts_ptr, N, parts, P: tl.constexpr):
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    index_P = tl.load(indices_ptr + head * N + row_P, row_P < N, -1)
    tl.store(parts_ptr + head * parts + tl.program_id(0), tl.sum((index_P >= 0).to(tl.int64), 0))


@triton.jit
def _write(
    indices_ptr, parts_ptr, cursor_ptr, ring_ptr, N, parts, LENGTH: tl.constexpr, P: tl.constexpr, PARTS: tl.constexpr
):
    """Indices to their places behind the cursor, but those that later ones would write over."""
    head, own = tl.program_id(1).to(tl.int64), tl.program_id(0)
    row_P, part = own.to(tl.int64) * P + tl.arange(0, P), tl.arange(0, PARTS)
    known = tl.load(parts_ptr + head * parts + part, part < parts, 0)
    index_P = tl.load(indices_ptr + head * N + row_P, row_P < N, -1)
    counted = (index_P >= 0).to(tl.int64)
    order_P = tl.sum(tl.where(part < own, known, 0), 0) + tl.cumsum(counted, 0) - 1
    kept = (index_P >= 0) & (order_P >= tl.sum(known, 0) - LENGTH)
    slot_P = (tl.load(cursor_ptr + head) + order_P) % LENGTH
    tl.store(ring_ptr + head * (LENGTH + 1) + slot_P, index_P, kept)


@triton.jit
def _advance(parts_ptr, cursor_ptr, parts, LENGTH: tl.constexpr, PARTS: tl.constexpr):
    """In a launch of its own: every program of the last one had to read the old cursor."""
    head, part = tl.program_id(0).to(tl.int64), tl.arange(0, PARTS)
    total = tl.sum(tl.load(parts_ptr + head * parts + part, part < parts, 0), 0)
    tl.store(cursor_ptr + head, (tl.load(cursor_ptr + head) + total) % LENGTH)


def record_(ring: Tensor, cursor: Tensor, indices: Tensor) -> None:
    """As ``reference.record_``, whose spare slot stays as it was."""
    (H, N), parts = indices.shape, blocks(indices.shape[1], COUNTED)
    if not 0 < parts <= MOST_COUNTS or not (ring.is_contiguous() and cursor.is_contiguous()):
        reference.record_(ring, cursor, indices)
        return
    given, device = indices.contiguous(), indices.device
    counts = torch.empty((H, parts), dtype=torch.int64, device=device)
    alike = (indices.dtype, ring.dtype, device, *(aligned(t) for t in (given, cursor, ring)))
    count, write, advance = _plans(H, N, ring.shape[1] - 1, alike)
    count.run(given, counts)
    write.run(given, counts, cursor, ring)
    advance.run(counts, cursor)


@lru_cache(maxsize=512)
def _plans(H: int, N: int, length: int, _alike: tuple) -> tuple[Single, Single, Single]:
    parts = blocks(N, COUNTED)
    how, rows = {"LENGTH": length}, {"P": COUNTED}
    sums = {"PARTS": power_of_two(parts)}
    return (
        Single(_count, (parts, H, 1), (N, parts), rows),
        Single(_write, (parts, H, 1), (N, parts), how | rows | sums),
        Single(_advance, (H, 1, 1), (parts,), how | sums),
    )
