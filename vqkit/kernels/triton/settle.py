"""From candidates to answers, in float64: of the few codes the screen left to a row, or of all of them."""

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import distances
from vqkit.kernels.triton.screen import NOTHING, slack_of


@triton.jit
def closer(distance, code, best, best_code):
    """Whether a code is nearer than the best so far, or as near and lower."""
    return (distance < best) | ((distance == best) & (code < best_code))


@triton.jit
def settle(
    x_ptr,
    codes_ptr,
    row_unit,
    code_unit,
    row_stats,
    code_stats,
    unit_ptr,
    scores_ptr,
    candidates_ptr,
    rest_ptr,
    indices_out,  # (H, N) int64
    distances_out,  # (H, N) float64
    open_count,
    open_rows,  # (H, N) int32: rows that all codes have to be measured for
    N,
    K,
    N_PADDED,
    K_PADDED,
    blocks,
    SPLITS,
    HEADS,
    D: tl.constexpr,
    W: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    BITS: tl.constexpr,
    KEPT: tl.constexpr,
    BLOCKS: tl.constexpr,
    COSINE: tl.constexpr,
):
    """Measure every candidate whose score is within the slack of the best."""
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0) * P + tl.arange(0, P)
    inside = row_P < N
    place = head * N_PADDED + row_P
    slack, state = slack_of(row_stats, code_stats, unit_ptr, head, row_P, N_PADDED, blocks, D, W, BITS, BLOCKS)
    top = tl.full((P,), NOTHING, tl.float32)
    rest = tl.full((P,), NOTHING, tl.float32)
    for split in range(0, SPLITS):
        top = tl.maximum(top, tl.load(scores_ptr + split * KEPT * HEADS * N_PADDED + place))
        rest = tl.maximum(rest, tl.load(rest_ptr + split * HEADS * N_PADDED + place))
    least = top - slack
    finite = state == state
    ordinary = inside & finite & (state >= 0)
    closed = ordinary & (rest < least)
    best = tl.full((P,), float("inf"), tl.float64)
    best_code = tl.full((P,), 0, tl.int64) + K
    for number in range(0, SPLITS * KEPT):
        here = number * HEADS * N_PADDED + place
        contends = closed & (tl.load(scores_ptr + here) >= least)
        if tl.max(contends.to(tl.int32), 0) > 0:
            code = tl.load(candidates_ptr + here, contends, 0).to(tl.int64)
            distance = distances(
                x_ptr + head * N * D,
                row_P.to(tl.int64),
                codes_ptr + head * K * D,
                code,
                row_unit + head * N_PADDED * 2,
                code_unit + head * K_PADDED * 2,
                contends,
                D,
                P,
                CHUNK,
                LEVELS,
                COSINE,
            )
            better = contends & closer(distance, code, best, best_code)
            best, best_code = tl.where(better, distance, best), tl.where(better, code, best_code)
    if COSINE:  # a zero row has distance one from every code
        zero = finite & (state < 0)
        best, best_code = tl.where(zero, 1.0, best), tl.where(zero, 0, best_code)
    answered = inside & ((closed | (finite == 0)) | (state < 0))
    out = head * N + row_P
    tl.store(indices_out + out, tl.where(finite, best_code, -1), answered)
    tl.store(distances_out + out, tl.where(finite, best, float("inf")), answered)
    unsettled = inside & (answered == 0)
    if tl.max(unsettled.to(tl.int32), 0) > 0:
        turn = tl.atomic_add(open_count + head + tl.zeros((P,), tl.int32), 1, unsettled, sem="relaxed")
        tl.store(open_rows + head * N + turn, row_P, unsettled)


@triton.jit
def measure_all(
    x_ptr,
    codes_ptr,
    row_unit,
    code_unit,
    indices_out,
    distances_out,
    open_count,
    open_rows,
    N,
    K,
    N_PADDED,
    K_PADDED,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    COSINE: tl.constexpr,
):
    """For the rows left open, measure every code. The number of rows is read here, so no host waits for it."""
    head = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, P)
    for turn in range(tl.program_id(0), tl.load(open_count + head), tl.num_programs(0)):
        row = tl.load(open_rows + head * N + turn).to(tl.int64)
        best = tl.full((P,), float("inf"), tl.float64)
        best_code = lane.to(tl.int64)
        for start in range(0, K, P):
            code = start + lane.to(tl.int64)
            distance = distances(
                x_ptr + head * N * D,
                row + tl.zeros((P,), tl.int64),
                codes_ptr + head * K * D,
                code,
                row_unit + head * N_PADDED * 2,
                code_unit + head * K_PADDED * 2,
                code < K,
                D,
                P,
                CHUNK,
                LEVELS,
                COSINE,
            )
            better = (code < K) & (distance < best)
            best, best_code = tl.where(better, distance, best), tl.where(better, code, best_code)
        least = tl.min(best, 0)
        tl.store(distances_out + head * N + row, least)
        tl.store(indices_out + head * N + row, tl.min(tl.where(best == least, best_code, K), 0))
