"""Float64 distances of pairs, summed in one order wherever they are taken.

A reduction's order follows the layout a compiler gave its tile, so the same pair could round to two distances in two
kernels. Here the last axis is halved by hand: a pair's distance depends on the pair alone, which is what makes equal
codes tie and rows choose alike in any batch.
"""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

EUCLIDEAN, COSINE, DOT = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)  # metrics


@triton.jit
def row_sums(tile, P: tl.constexpr, WIDTH: tl.constexpr, LEVELS: tl.constexpr):
    """Sums (P,) of the rows of a tile (P, WIDTH), WIDTH = 2^LEVELS, in an order that no layout changes."""
    for level in tl.static_range(LEVELS):
        left, right = tl.split(tl.reshape(tile, (P, WIDTH >> (level + 1), 2)))
        tile = left + right
    return tl.reshape(tile, (P,))


@triton.jit
def closer(distance, code, best, best_code):
    """Whether a code is nearer than the best so far, or as near and lower."""
    return (distance < best) | ((distance == best) & (code < best_code))


@triton.jit
def directions(vectors, mask_P, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr, LEVELS: tl.constexpr):
    """Peaks and norms over the peak (P,) float64 of vectors, given pointers (P, 1); one and zero for a zero vector."""
    peaks = tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        value = tl.load(vectors + d[None, :], mask_P[:, None] & (d < D)[None, :], 0.0).to(tl.float64)
        peaks = tl.maximum(peaks, tl.abs(value))
    peak = tl.max(peaks, 1)
    peak = tl.where(peak > 0, peak, 1.0)
    squares = tl.zeros((P, CHUNK), tl.float64)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        value = tl.load(vectors + d[None, :], mask_P[:, None] & (d < D)[None, :], 0.0).to(tl.float64) / peak[:, None]
        squares = tl.fma(value, value, squares)
    return peak, tl.sqrt(row_sums(squares, P, CHUNK, LEVELS))


@triton.jit
def distances(
    x_P,
    e_P,
    mask_P,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Distances (P,) float64 of rows and codes, given pointers to their first entries: |x − e|², 1 − cos, or −x·e."""
    acc = tl.zeros((P, CHUNK), tl.float64)
    if METRIC == COSINE:
        x_peak, x_norm = directions(x_P[:, None], mask_P, D, P, CHUNK, LEVELS)
        e_peak, e_norm = directions(e_P[:, None], mask_P, D, P, CHUNK, LEVELS)
        directed = (x_norm > 0) & (e_norm > 0)
        x_norm, e_norm = tl.where(x_norm > 0, x_norm, 1.0), tl.where(e_norm > 0, e_norm, 1.0)
    for start in range(0, D, CHUNK):
        d = start + tl.arange(0, CHUNK)
        inside = mask_P[:, None] & (d < D)[None, :]
        x = tl.load(x_P[:, None] + d[None, :], inside, 0.0).to(tl.float64)
        e = tl.load(e_P[:, None] + d[None, :], inside, 0.0).to(tl.float64)
        if METRIC == COSINE:
            x = x / x_peak[:, None] / x_norm[:, None]
            e = e / e_peak[:, None] / e_norm[:, None]
        acc = tl.fma(x, -e, acc) if METRIC == DOT else tl.fma(x - e, x - e, acc)
    squared = row_sums(acc, P, CHUNK, LEVELS)
    if METRIC == COSINE:
        squared = tl.where(directed, squared / 2, 1.0)
    return squared
