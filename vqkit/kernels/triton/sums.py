"""Counts and sums of rows by index on a GPU: atomic, and yet the same bits in any order.

Atomic sums of floats depend on who comes first; sums of integers do not. A value is written as two integers, its
multiples of 2^(E−B) and of 2^(E−2B), where 2^E bounds every entry of the rows that its code drew and B is 40 (fewer for
millions of rows, so that no sum leaves 64 bits). Both are added by atomics, exactly. What is below 2^(E−2B−1) is
rounded off: 2⁻⁸⁰ of the code's largest entry, where sums in float64 lose 2⁻⁵³ of the largest partial sum. A value
within 2⁻¹⁶ of the largest has no second part, so the second atomic is rare. Codes that drew NaN or inf are summed in
float64.

Where the rows of a tile all drew one code, as when a codebook collapses, they are summed before they queue for it.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from vqkit.kernels.triton.launch import Kernel, Workspace, aligned, power_of_two

INFINITE = tl.constexpr(0x7F800000)  # float32's bits of inf; NaN's are more


@triton.jit
def _power_of_two(exponent):
    """2^exponent, float64, of an int64 in [−1022, 1023]."""
    return ((exponent + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def _clear(counts, peaks, high_ptr, low_ptr, codes, total, P: tl.constexpr):
    place = tl.program_id(0).to(tl.int64) * P + tl.arange(0, P)
    zeros = tl.zeros((P,), tl.int64)
    tl.store(high_ptr + place, zeros, place < total)
    tl.store(low_ptr + place, zeros, place < total)
    tl.store(counts + place, zeros, place < codes)
    tl.store(peaks + place, tl.zeros((P,), tl.int32), place < codes)


@triton.jit
def _peaks(x_ptr, indices_ptr, counts, peaks, N, K, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr):
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
    most = tl.max(index_P, 0)
    if tl.min(tl.where(counted, index_P, most), 0) == most:
        tl.atomic_add(counts + head * K + most, tl.sum(counted.to(tl.int64), 0), most >= 0, sem="relaxed")
        tl.atomic_max(peaks + head * K + most, tl.max(tl.max(bits, 1), 0), most >= 0, sem="relaxed")
    else:
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
    rounded = tl.floor(scaled + 0.5)
    high = rounded.to(tl.int64)
    low = tl.floor((scaled - rounded) * 2.0**BITS + 0.5).to(tl.int64)
    most = tl.max(index_P, 0)
    if tl.min(tl.where(counted, index_P, most), 0) == most:
        place = (head * K + most) * D + d
        high_sum, low_sum = tl.sum(high, 0), tl.sum(low, 0)
        tl.atomic_add(high_ptr + place, high_sum, (d < D) & (high_sum != 0), sem="relaxed")
        tl.atomic_add(low_ptr + place, low_sum, (d < D) & (low_sum != 0), sem="relaxed")
    else:
        places = slot_P[:, None] * D + d[None, :]
        tl.atomic_add(high_ptr + places, high, high != 0, sem="relaxed")
        tl.atomic_add(low_ptr + places, low, low != 0, sem="relaxed")
    tl.atomic_add(
        sums_ptr + slot_P[:, None] * D + d[None, :], value, inside & (peak_P >= INFINITE)[:, None], sem="relaxed"
    )


@triton.jit
def _finish(peaks, high_ptr, low_ptr, sums_ptr, total, D: tl.constexpr, P: tl.constexpr, BITS: tl.constexpr):
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
    counts = torch.empty((H, size), dtype=torch.int64, device=device)
    sums = torch.empty((H, size, D), dtype=torch.float64, device=device)
    if N == 0:
        return counts.zero_(), sums.zero_()
    plan = _plan_for(H, N, size, D, x.dtype, device, (aligned(x), aligned(indices)))
    own = {"x": x, "indices": indices, "counts": counts, "sums": sums, "high": sums.view(torch.int64)}
    plan.workspace.run(plan.steps, own, device)
    return counts, sums


class Plan:
    """The sizes, grids and kernels of one problem."""

    def __init__(
        self, H: int, N: int, K: int, D: int, _dtype: torch.dtype, _device: torch.device, _alignment: tuple[bool, bool]
    ):
        bits, chunk = min(40, 61 - N.bit_length()), min(64, power_of_two(D))
        total, rows = H * K * D, max(16, min(128, 1024 // chunk))
        self.workspace = Workspace(low=(torch.int64, total), peaks=(torch.int32, H * K))
        tile = {"D": D, "P": rows, "CHUNK": chunk}
        self.steps = [
            (Kernel(_clear, {"P": 512}), (-(-total // 512), 1, 1), "counts peaks high low", (H * K, total)),
            (Kernel(_peaks, tile), (-(-N // rows), H, 1), "x indices counts peaks", (N, K)),
            (
                Kernel(_add, tile | {"BITS": bits}),
                (-(-N // rows), -(-D // chunk), H),
                "x indices peaks high low sums",
                (N, K),
            ),
            (
                Kernel(_finish, {"D": D, "P": 512, "BITS": bits}),
                (-(-total // 512), 1, 1),
                "peaks high low sums",
                (total,),
            ),
        ]


_plan_for = lru_cache(maxsize=512)(Plan)
