"""Counts and sums of rows by index on a GPU: atomic, and yet the same bits in any order.

Atomic sums of floats depend on who comes first; sums of integers do not. A value is written as two integers, its
multiples of 2^(E−B) and of 2^(E−2B), where 2^E bounds every entry of the rows that its code drew and B is 40 (fewer for
millions of rows, so that no sum leaves 64 bits). Both are added by atomics, exactly. What is below 2^(E−2B−1) is rounded
off: 2⁻⁸⁰ of the code's largest entry, where sums in float64 lose 2⁻⁵³ of the largest partial sum. A value within 2⁻¹⁶
of the largest has no second part, so the second atomic is rare. Codes that drew NaN or inf are summed in float64.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

INFINITE = tl.constexpr(0x7F800000)  # float32's bits of inf; NaN's are more


@triton.jit
def _power_of_two(exponent):
    """2^exponent, float64, of an int64 in [−1022, 1023]."""
    return ((exponent + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _peaks(
    x_ptr, indices_ptr, counts, peaks, N, K, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr
):
    """Count each code's rows, and take the bits of the largest magnitude among their entries."""
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    index_P = tl.load(indices_ptr + head * N + row_P, row_P < N, -1)
    counted = index_P >= 0
    bits = tl.zeros((P, CHUNK), tl.int32)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = counted[:, None] & (d < D)[None, :]
        value = tl.load(x_ptr + (head * N + row_P)[:, None] * D + d[None, :], inside, 0.0).to(tl.float32)
        bits = tl.maximum(bits, value.to(tl.int32, bitcast=True) & 0x7FFFFFFF)
    slot_P = head * K + index_P
    tl.atomic_add(counts + slot_P, tl.full((P,), 1, tl.int64), counted, sem="relaxed")
    tl.atomic_max(peaks + slot_P, tl.max(bits, 1), counted, sem="relaxed")


@triton.jit
def _add(
    x_ptr,
    indices_ptr,
    peaks,
    high_ptr,
    low_ptr,
    sums_ptr,  # the memory of ``high``, as float64
    N,
    K,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    BITS: tl.constexpr,
):
    head = tl.program_id(2).to(tl.int64)
    row_P = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    d = tl.program_id(1) * CHUNK + tl.arange(0, CHUNK)
    index_P = tl.load(indices_ptr + head * N + row_P, row_P < N, -1)
    counted = index_P >= 0
    slot_P = head * K + index_P
    peak_P = tl.load(peaks + slot_P, counted, 0)
    inside = counted[:, None] & (d < D)[None, :]
    value = tl.load(x_ptr + (head * N + row_P)[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
    finite = inside & (peak_P < INFINITE)[:, None]
    scaled = tl.where(finite, value * _power_of_two(BITS + 126 - (peak_P >> 23).to(tl.int64))[:, None], 0.0)
    high = tl.floor(scaled + 0.5)
    low = tl.floor((scaled - high) * 2.0**BITS + 0.5)
    place = slot_P[:, None] * D + d[None, :]
    tl.atomic_add(high_ptr + place, high.to(tl.int64), finite & (high != 0), sem="relaxed")
    tl.atomic_add(low_ptr + place, low.to(tl.int64), finite & (low != 0), sem="relaxed")
    tl.atomic_add(sums_ptr + place, value, inside & (peak_P >= INFINITE)[:, None], sem="relaxed")


@triton.jit
def _finish(
    peaks, high_ptr, low_ptr, sums_ptr, total, D: tl.constexpr, P: tl.constexpr, BITS: tl.constexpr
):
    """Both parts as one float64, in place."""
    place = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    peak = tl.load(peaks + place // D, place < total, INFINITE)
    finite = peak < INFINITE
    high = tl.load(high_ptr + place, finite, 0).to(tl.float64)
    low = tl.load(low_ptr + place, finite, 0).to(tl.float64)
    step = _power_of_two((peak >> 23).to(tl.int64) - 126 - BITS)
    tl.store(sums_ptr + place, (high + low * 2.0**-BITS) * step, finite)


def code_sums(x_HND: Tensor, indices_HN: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """As ``reference.code_sums``."""
    (H, N, D), device = x_HND.shape, x_HND.device
    x, indices = x_HND.contiguous(), indices_HN.contiguous()
    counts = torch.zeros((H, size), dtype=torch.int64, device=device)
    sums = torch.zeros((H, size, D), dtype=torch.float64, device=device)
    if N == 0:
        return counts, sums
    # The peaks stand behind the low parts, so that one filling clears both.
    cleared = torch.zeros(H * size * D + H * size // 2 + 1, dtype=torch.int64, device=device)
    low, peaks = cleared[: H * size * D], cleared[H * size * D :].view(torch.int32)
    bits = min(40, 61 - N.bit_length())
    chunk = min(64, triton.next_power_of_2(D))
    _peaks[(triton.cdiv(N, 32), H)](x, indices, counts, peaks, N, size, D=D, P=32, CHUNK=chunk)
    high = sums.view(torch.int64)
    _add[(triton.cdiv(N, 16), triton.cdiv(D, chunk), H)](
        *(x, indices, peaks, high, low, sums, N, size), D=D, P=16, CHUNK=chunk, BITS=bits
    )
    _finish[(triton.cdiv(H * size * D, 512),)](peaks, high, low, sums, H * size * D, D=D, P=512, BITS=bits)
    return counts, sums
