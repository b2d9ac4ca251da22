"""Float64 distances of pairs, summed in one order wherever they are taken.

A reduction's order follows the layout a compiler gave its tile, so the same pair could round to two distances in two
kernels. Here the last axis is halved by hand: a pair's distance depends on the pair alone, which is what makes equal
codes tie and rows choose alike in any batch.
"""

import triton
import triton.language as tl


@triton.jit
def row_sums(tile, P: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr):
    """Sums (P,) of the rows of a tile (P, WIDTH), WIDTH = 2^LEVELS, in an order that no layout changes."""
    for level in tl.static_range(LEVELS):
        left, right = tl.split(tl.reshape(tile, (P, WIDTH >> (level + 1), 2)))
        tile = left + right
    return tl.reshape(tile, (P,))


@triton.jit
def power_of_two(exponent):
    """2^exponent, float64, of an int64 in [−1022, 1023]."""
    return ((exponent + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def exponent_of(value):
    """⌊log₂ value⌋ of a positive float64, int64; −1023 of zero, 1024 of inf and NaN."""
    return ((value.to(tl.int64, bitcast=True) >> 52) & 2047) - 1023


@triton.jit
def distances(
    x_ptr,
    row_P,
    codes_ptr,
    code_P,
    row_unit_ptr,
    code_unit_ptr,
    mask_P,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    COSINE: tl.constexpr,
):
    """Distances (P,) float64 of rows and codes by number (int64): |x − e|², or 1 − cos."""
    acc = tl.zeros((P, CHUNK), tl.float64)
    if COSINE:
        x_peak, x_norm = tl.load(row_unit_ptr + 2 * row_P, mask_P, 1.0), tl.load(row_unit_ptr + 2 * row_P + 1, mask_P, 0.0)
        e_peak = tl.load(code_unit_ptr + 2 * code_P, mask_P, 1.0)
        e_norm = tl.load(code_unit_ptr + 2 * code_P + 1, mask_P, 0.0)
        directed = (x_norm > 0) & (e_norm > 0)
        x_norm, e_norm = tl.where(x_norm > 0, x_norm, 1.0), tl.where(e_norm > 0, e_norm, 1.0)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = mask_P[:, None] & (d < D)[None, :]
        x = tl.load(x_ptr + row_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        e = tl.load(codes_ptr + code_P[:, None] * D + d[None, :], inside, 0.0).to(tl.float64)
        if COSINE:
            x = x / x_peak[:, None] / x_norm[:, None]
            e = e / e_peak[:, None] / e_norm[:, None]
        acc = tl.fma(x - e, x - e, acc)
    squared = row_sums(acc, P, CHUNK, LEVELS)
    if COSINE:
        squared = tl.where(directed, squared / 2, 1.0)
    return squared
