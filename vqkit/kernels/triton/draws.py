"""Rows drawn at random on a GPU, without a sort: five launches, however many rows there are.

Random bits spread evenly, so that of as many buckets as there are rows, by the bits' first digits, each holds about
one: where a bucket begins follows from how full the higher ones are, and a row's place in its own from a look at the
few that share it.
"""

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

SECTION = tl.constexpr(1024)  # buckets that are counted together, too
MOST_BITS = 20  # of the number of a bucket
MOST_ROWS = 2**31


@triton.jit
def _mix(value):
    value = value ^ (value >> 16)
    value = value * 0x85EBCA6B
    value = value ^ (value >> 13)
    value = value * 0xC2B2AE35
    return value ^ (value >> 16)


@triton.jit
def _hashed_bits(seed, position):
    """As of ``reference.hashing``, whose masked int64 are the uint32 here."""
    high = ((position >> 32) & 0xFFFFFFFF).to(tl.uint32)
    low = (position & 0xFFFFFFFF).to(tl.uint32)
    key = _mix(_mix(((seed + 0x9E3779B9) & 0xFFFFFFFF).to(tl.uint32)) ^ high)
    return _mix(_mix(low ^ key) + key + 0x6A09E667)


@triton.jit
def _count(
    valid_ptr, positions_ptr, seed_ptr, bits_ptr, sizes_ptr, sections_ptr, N, BITS: tl.constexpr, P: tl.constexpr
):
    """Every row's bits, and how many rows each bucket holds, those of the highest bits the first."""
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    counted = tl.load(valid_ptr + head * N + row_P, row_P < N, 0) != 0
    bits_P = _hashed_bits(tl.load(seed_ptr), tl.load(positions_ptr + head * N + row_P, row_P < N, 0))
    tl.store(bits_ptr + head * N + row_P, bits_P.to(tl.int32, bitcast=True), row_P < N)
    bucket_P = ((bits_P ^ 0xFFFFFFFF) >> (32 - BITS)).to(tl.int32)
    one = tl.full((P,), 1, tl.int32)
    tl.atomic_add(sizes_ptr + (head << BITS) + bucket_P, one, counted, sem="relaxed")
    tl.atomic_add(sections_ptr + (head << BITS) // SECTION + bucket_P // SECTION, one, counted, sem="relaxed")


@triton.jit
def _begin(sizes_ptr, sections_ptr, begins_ptr, BITS: tl.constexpr, SECTIONS: tl.constexpr):
    """Where each bucket of a section begins."""
    head, own = tl.program_id(1).to(tl.int64), tl.program_id(0)
    section = tl.arange(0, SECTIONS)
    before = tl.load(sections_ptr + head * SECTIONS + section, section < own, 0)
    place = (head << BITS) + own * SECTION + tl.arange(0, SECTION)
    size = tl.load(sizes_ptr + place)
    tl.store(begins_ptr + place, tl.sum(before, 0) + tl.cumsum(size, 0) - size)


@triton.jit
def _sort_in(valid_ptr, bits_ptr, begins_ptr, filled_ptr, order_ptr, N, BITS: tl.constexpr, P: tl.constexpr):
    """Rows into their buckets, in whatever order they come."""
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    counted = tl.load(valid_ptr + head * N + row_P, row_P < N, 0) != 0
    bits_P = tl.load(bits_ptr + head * N + row_P, counted, 0).to(tl.uint32, bitcast=True)
    bucket_P = (head << BITS) + ((bits_P ^ 0xFFFFFFFF) >> (32 - BITS)).to(tl.int64)
    nth_P = tl.atomic_add(filled_ptr + bucket_P, tl.full((P,), 1, tl.int32), counted, sem="relaxed")
    place_P = tl.load(begins_ptr + bucket_P, counted, 0) + nth_P
    tl.store(order_ptr + head * N + place_P, row_P.to(tl.int32), counted)


@triton.jit
def _rank(
    bits_ptr,
    sizes_ptr,
    begins_ptr,
    sections_ptr,
    order_ptr,
    scores_ptr,
    numbers_ptr,
    N,
    R,
    BITS: tl.constexpr,
    SECTIONS: tl.constexpr,
    P: tl.constexpr,
):
    """Rows in the order of their scores, the first ``R`` of them."""
    head = tl.program_id(1).to(tl.int64)
    place_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    total = tl.sum(tl.load(sections_ptr + head * SECTIONS + tl.arange(0, SECTIONS)), 0)
    filled = place_P < total
    row_P = tl.load(order_ptr + head * N + place_P, filled, 0)
    bits_P = tl.load(bits_ptr + head * N + row_P, filled, 0).to(tl.uint32, bitcast=True)
    bucket_P = (head << BITS) + ((bits_P ^ 0xFFFFFFFF) >> (32 - BITS)).to(tl.int64)
    begin_P = tl.load(begins_ptr + bucket_P, filled, 0)
    near = filled & (begin_P < R)
    size_P = tl.load(sizes_ptr + bucket_P, near, 0)
    rank_P = begin_P.to(tl.int64)
    for other in range(tl.max(size_P, 0)):
        there = near & (other < size_P)
        its_row = tl.load(order_ptr + head * N + begin_P + other, there, 0)
        its_bits = tl.load(bits_ptr + head * N + its_row, there, 0).to(tl.uint32, bitcast=True)
        before = (its_bits > bits_P) | ((its_bits == bits_P) & (its_row < row_P))
        rank_P += (there & before).to(tl.int64)
    kept, score = near & (rank_P < R), (bits_P.to(tl.float64) + 0.5) / 4294967296.0
    tl.store(scores_ptr + head * R + rank_P, score, kept)
    tl.store(numbers_ptr + head * R + rank_P, row_P.to(tl.int64), kept)
    empty = (place_P >= total) & (place_P < R)
    tl.store(scores_ptr + head * R + place_P, tl.full((P,), -float("inf"), tl.float64), empty)
    tl.store(numbers_ptr + head * R + place_P, tl.zeros((P,), tl.int64), empty)


def draw(valid_HN: Tensor, positions_HN: Tensor, seed: Tensor, slots: int) -> tuple[Tensor, Tensor]:
    """As ``reference.draw``; of equal scores the lower row comes first."""
    (H, N), device = valid_HN.shape, valid_HN.device
    if not 0 < N < MOST_ROWS:
        return reference.draw(valid_HN, positions_HN, seed, slots)
    R, valid, positions = min(slots, N), valid_HN.contiguous(), positions_HN.contiguous()
    bits = min(MOST_BITS, max(SECTION.value, power_of_two(N)).bit_length() - 1)
    sections, many = 2**bits // SECTION.value, H * 2**bits
    zeros = torch.zeros(2 * many + H * sections, dtype=torch.int32, device=device)
    sizes, filled, own = zeros[:many], zeros[many : 2 * many], zeros[2 * many :]
    hashed, order = (torch.empty((H, N), dtype=torch.int32, device=device) for _ in range(2))
    begins = torch.empty(many, dtype=torch.int32, device=device)
    scores = torch.empty((H, R), dtype=torch.float64, device=device)
    numbers = torch.empty((H, R), dtype=torch.int64, device=device)
    alike = (device, *(aligned(t) for t in (valid, positions, seed)))
    count, begin, sort_in, rank = _plans(H, N, R, bits, alike)
    count.run(valid, positions, seed, hashed, sizes, own)
    begin.run(sizes, own, begins)
    sort_in.run(valid, hashed, begins, filled, order)
    rank.run(hashed, sizes, begins, own, order, scores, numbers)
    return scores, numbers


@lru_cache(maxsize=512)
def _plans(H: int, N: int, R: int, bits: int, _alike: tuple) -> tuple[Single, Single, Single, Single]:
    sections, over = 2**bits // SECTION.value, (blocks(N, 256), H, 1)
    buckets, rows = {"BITS": bits}, {"P": 256}
    parts = {"SECTIONS": sections}
    return (
        Single(_count, over, (N,), buckets | rows),
        Single(_begin, (sections, H, 1), (), buckets | parts),
        Single(_sort_in, over, (N,), buckets | rows),
        Single(_rank, over, (N, R), buckets | parts | rows),
    )
