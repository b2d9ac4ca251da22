"""The T nearest codes: a limit that at least T codes reach, the codes that may reach it, and their order in float64.

The screen of ``screen.py``, run twice, since no list of a row's best fits into registers. ``set_limits`` keeps the best
two scores of every column of a running tile. These belong to different codes, so the T-th largest of them is reached by
T codes, and what scores less than it by twice the bound is none of the T nearest. ``collect`` lists the codes that do
not; ``choose`` measures them, or every code where the list is too long or the bound says nothing.

Where a row's codes are spread over S programs, T codes reach the T-th largest score of any one of them, and T codes at
least reach the least of their ⌈T/S⌉-th largest: the higher of the two is the limit.
"""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import COSINE, closer, distances
from vqkit.kernels.triton.screen import NOTHING, scores_of, slack_of

FAR = tl.constexpr(1 << 40)  # above the number of any code
AT_ONCE = tl.constexpr(8)  # codes that others are compared with
LOWEST = tl.constexpr(-(2**31))


@triton.jit
def ordered(value):
    """Integers in the order of float32 numbers; and, of such integers, back."""
    return value ^ ((value >> 31) & 0x7FFFFFFF)


@triton.jit
def kth_largest(best, second, number, BM: tl.constexpr):
    """A float32 number (BM,) that the ``number``-th largest of two tiles of such integers is not below.

    It is off by less than 2⁻¹⁵ of itself: the lowest eight bits are zero, of 32 that are found one by one.
    """
    reached = tl.sum((best >= 0).to(tl.int32) + (second >= 0).to(tl.int32), 1) >= number
    at = tl.where(reached, 0, tl.full((BM,), LOWEST, tl.int32))
    for turn in range(0, 23):
        trial = at + (1 << (30 - turn))
        above = (best >= trial[:, None]).to(tl.int32) + (second >= trial[:, None]).to(tl.int32)
        at = tl.where(tl.sum(above, 1) >= number, trial, at)
    return ordered(at).to(tl.float32, bitcast=True)


@triton.jit
def set_limits(
    rows_ptr,  # (H, N', W)
    codes_ptr,  # (H, K', W)
    heights,  # (H, K')
    row_stats,
    code_stats,
    unit_ptr,
    whole_out,  # (S, H, N') float32: a score that T codes of a split reach
    share_out,  # (S, H, N') float32: one that ⌈T/S⌉ of them reach
    slack_out,  # (H, N') float32
    counts_out,  # (H, N') int32, set to zero
    n_blocks,
    k_blocks,
    blocks,
    tiles,  # of BN codes, for each of the S splits
    heads,
    T,
    share,
    D: tl.constexpr,
    W: tl.constexpr,
    BW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    SCREEN: tl.constexpr,
    BLOCKS: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Score a tile of rows against the codes of one split; BN is T or more."""
    n_padded, k_padded = n_blocks * 128, k_blocks * 128
    split, head = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row_M = tl.program_id(0) * BM + tl.arange(0, BM)
    col_N, w = tl.arange(0, BN), tl.arange(0, BW)
    first = split * tiles
    number = tl.minimum(tiles, k_padded // BN - first)
    stats = row_stats + head * 4 * n_padded + row_M
    scale_M = tl.load(stats)
    x_ptrs = rows_ptr + head * n_padded * W + row_M.to(tl.int64)[:, None] * W + w[None, :]
    e_ptrs = codes_ptr + head * k_padded * W + (first * BN + col_N).to(tl.int64)[None, :] * W + w[:, None]
    h_ptrs = heights + head * k_padded + first * BN + col_N
    x = tl.load(x_ptrs)
    best = tl.full((BM, BN), NOTHING, tl.float32)
    second = tl.full((BM, BN), NOTHING, tl.float32)
    for _ in range(0, number):
        score = scores_of(x_ptrs, e_ptrs, h_ptrs, x, scale_M, W, BW, BM, BN, SCREEN)
        second = tl.maximum(second, tl.minimum(best, score))
        best = tl.maximum(best, score)
        e_ptrs += BN * W
        h_ptrs += BN

    best, second = ordered(best.to(tl.int32, bitcast=True)), ordered(second.to(tl.int32, bitcast=True))
    out = head * n_padded + row_M
    here = split.to(tl.int64) * heads * n_padded + out
    whole_M = kth_largest(best, second, T, BM)
    tl.store(whole_out + here, whole_M)
    if share < T:
        whole_M = kth_largest(best, second, share, BM)
    tl.store(share_out + here, whole_M)
    if split == 0:
        norm_M, error_M, low_M = tl.load(stats + n_padded), tl.load(stats + 2 * n_padded), tl.load(stats + 3 * n_padded)
        code_stats += head * 4 * blocks
        slack_M = slack_of(norm_M, error_M, low_M, code_stats, unit_ptr + head, blocks, D, W, 0, BLOCKS, METRIC)
        tl.store(slack_out + out, slack_M)
        tl.store(counts_out + out, tl.zeros((BM,), tl.int32))


@triton.jit
def collect(
    rows_ptr,
    codes_ptr,
    heights,
    row_stats,
    whole_ptr,
    share_ptr,
    slack_ptr,
    counts_out,  # (H, N') int32: how many codes reach a row's limit
    list_out,  # (H, N', C) int32: the first of them to come
    N,
    K,
    n_blocks,
    k_blocks,
    tiles,
    limits,  # how many splits set limits
    heads,
    W: tl.constexpr,
    BW: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    C: tl.constexpr,
    SCREEN: tl.constexpr,
):
    """List the codes of one split whose scores reach the limits of a tile of rows."""
    n_padded, k_padded = n_blocks * 128, k_blocks * 128
    split, head = tl.program_id(1), tl.program_id(2).to(tl.int64)
    row_M = tl.program_id(0) * BM + tl.arange(0, BM)
    col_N, w = tl.arange(0, BN), tl.arange(0, BW)
    first = split * tiles
    number = tl.minimum(tiles, k_padded // BN - first)
    scale_M = tl.load(row_stats + head * 4 * n_padded + row_M)
    x_ptrs = rows_ptr + head * n_padded * W + row_M.to(tl.int64)[:, None] * W + w[None, :]
    e_ptrs = codes_ptr + head * k_padded * W + (first * BN + col_N).to(tl.int64)[None, :] * W + w[:, None]
    h_ptrs = heights + head * k_padded + first * BN + col_N
    place = head * n_padded + row_M
    whole_M, share_M = tl.load(whole_ptr + place), tl.load(share_ptr + place)
    there = place
    for _ in range(1, limits):
        there += n_padded * heads
        whole_M = tl.maximum(whole_M, tl.load(whole_ptr + there))
        share_M = tl.minimum(share_M, tl.load(share_ptr + there))
    slack_M = tl.load(slack_ptr + place)
    # Where the bound is no small number, or NaN, scores say nothing: no code is listed.
    limit_M = tl.where((slack_M < 1e30) & (row_M < N), tl.maximum(whole_M, share_M) - slack_M, float("inf"))
    x = tl.load(x_ptrs)
    for it in range(0, number):
        score = scores_of(x_ptrs, e_ptrs, h_ptrs, x, scale_M, W, BW, BM, BN, SCREEN)
        code_N = (first + it) * BN + col_N
        reaches = (score >= limit_M[:, None]) & (code_N < K)[None, :] & (limit_M < float("inf"))[:, None]
        if tl.max(tl.max(reaches.to(tl.int32), 1), 0) > 0:
            turns = tl.zeros((BM, BN), tl.int64)
            turn = tl.atomic_add(counts_out + place[:, None] + turns, 1, reaches, sem="relaxed")
            codes = code_N[None, :] + tl.zeros((BM, BN), tl.int32)
            tl.store(list_out + place[:, None] * C + turn, codes, reaches & (turn < C))
        e_ptrs += BN * W
        h_ptrs += BN


@triton.jit
def choose(
    x_ptr,
    codebook_ptr,
    row_stats,
    counts_ptr,
    list_ptr,
    block_ptr,  # (H, N, P) float64
    indices_out,  # (H, N, T) int64
    distances_out,  # (H, N, T) float64
    N,
    K,
    n_blocks,
    T,
    D: tl.constexpr,
    P: tl.constexpr,
    BEST: tl.constexpr,
    C: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Measure the codes that a row lists, or all, and keep the T nearest in order, where they are to be written."""
    n_padded = n_blocks * 128
    row, head = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    state = tl.load(row_stats + head * 4 * n_padded + n_padded + row)
    count = tl.load(counts_ptr + head * n_padded + row)
    listed = (count >= T) & (count <= C)
    lane, lane_P = tl.arange(0, BEST), tl.arange(0, P)
    indices_out += (head * N + row) * T
    distances_out += (head * N + row) * T
    if state >= 0:
        list_ptr += (head * n_padded + row) * C
        block_ptr += (head * N + row) * P
        x_P = x_ptr + (head * N + row + tl.zeros((P,), tl.int64)) * D
        number = tl.where(listed, count, K)
        best = tl.full((BEST,), float("inf"), tl.float64)
        best_code = FAR + lane.to(tl.int64)
        tl.store(distances_out + lane, best, lane < T)
        tl.store(indices_out + lane, best_code, lane < T)
        tl.debug_barrier()
        for start in range(0, number, P):
            code = numbered(list_ptr, start + lane_P, number, listed)
            inside = code < FAR
            e_P = codebook_ptr + (head * K + code) * D
            distance = distances(x_P, e_P, inside, D, P, CHUNK, LEVELS, METRIC)
            distance = tl.where(inside & (distance == distance), distance, float("inf"))
            last, last_code = tl.load(distances_out + T - 1), tl.load(indices_out + T - 1)
            if tl.max(closer(distance, code, last, last_code).to(tl.int32), 0) > 0:
                tl.store(block_ptr + lane_P, distance)
                tl.debug_barrier()
                best = tl.load(distances_out + lane, lane < T, float("inf"))
                best_code = tl.load(indices_out + lane, lane < T, FAR)
                rank, rank_P = lane, tl.zeros((P,), tl.int32)
                for first in range(0, P, AT_ONCE):
                    other = first + tl.arange(0, AT_ONCE)
                    away, what = tl.load(block_ptr + other), numbered(list_ptr, start + other, number, listed)
                    rank += nearer_than(away, what, best, best_code)
                    rank_P += nearer_than(away, what, distance, code)
                for first in range(0, T, AT_ONCE):
                    other = first + tl.arange(0, AT_ONCE)
                    away = tl.load(distances_out + other, other < T, float("inf"))
                    what = tl.load(indices_out + other, other < T, 2 * FAR)
                    rank_P += nearer_than(away, what, distance, code)
                tl.debug_barrier()
                tl.store(distances_out + rank, best, (rank < T) & (lane < T))
                tl.store(indices_out + rank, best_code, (rank < T) & (lane < T))
                tl.store(distances_out + rank_P, distance, rank_P < T)
                tl.store(indices_out + rank_P, code, rank_P < T)
                tl.debug_barrier()
    else:  # a zero row is as far from every code, and one that is not finite has no code
        zero = state == state
        away = 1.0 if METRIC == COSINE else 0.0
        code = tl.where(zero, lane, -1).to(tl.int64)
        distance = tl.zeros((BEST,), tl.float64) + tl.where(zero, away, float("inf"))
        tl.store(indices_out + lane, code, lane < T)
        tl.store(distances_out + lane, distance, lane < T)


@triton.jit
def numbered(list_ptr, place, number, listed):
    """The codes int64 at some places of a row's list, or of all codes; ``FAR`` and more behind the last."""
    code = tl.load(list_ptr + place, (place < number) & listed, 0)
    return tl.where(place < number, tl.where(listed, code, place), 2 * FAR + place.to(tl.int64))


@triton.jit
def nearer_than(distance, code, others, their_codes):
    """How many of a few codes are nearer than each of some others."""
    nearer = closer(distance[None, :], code[None, :], others[:, None], their_codes[:, None])
    return tl.sum(nearer.to(tl.int32), 1)
