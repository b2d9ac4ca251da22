"""All stages of a residual quantizer in one kernel: the sum of the codes so far never leaves the registers.

Each stage is the screen of ``screen.py`` over its own codebook, with the residual centred, scaled and rounded on chip;
where several codes are within the slack of the best they are measured in float64 at once. A row that the screen cannot
close is put on a list with the stage it stopped at, and ``finish_rows`` takes it from there by measuring every code.
"""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import EUCLIDEAN, closer, distances
from vqkit.kernels.triton.prepare import LOST, exponent_of, power_of_two
from vqkit.kernels.triton.screen import NOTHING, code_of, slack_of, take_best, update


@triton.jit
def _near_one(residual, centre, inverse_unit):
    """A residual as the screen takes it, with the row statistics that ``prepare`` writes."""
    value = (residual - centre[None, :]) * inverse_unit
    norm = tl.sqrt(tl.sum(value * value, 1))
    exponent = tl.minimum(tl.maximum(exponent_of(norm), -60), 60)
    value = value * power_of_two(-exponent)[:, None]
    high = value.to(tl.float16)
    left = value - high.to(tl.float32)
    grow = power_of_two(exponent)
    error = 1.01 * tl.sqrt(tl.sum(left * left, 1)) * grow + 2.0**-23 * norm + LOST
    said = 1.01 * norm + LOST
    return high, grow, tl.where(said < 1e18, said, float("inf")), error


@triton.jit
def run_stages(
    x_ptr,  # (N, D) float32
    codebooks_ptr,  # (Q, K, D) float32
    codes_ptr,  # (Q, K', W) float16
    heights,  # (Q, K')
    code_stats,
    centre_ptr,  # (Q, D)
    unit_ptr,  # (Q,)
    indices_out,  # (N, Q) int64
    open_count,
    open_rows,  # (N,) int32
    open_stages,  # (N,) int32
    residuals,  # (N, D) float32
    N,
    K,
    Q,
    k_blocks,
    blocks,
    D: tl.constexpr,
    W: tl.constexpr,
    BM: tl.constexpr,
    BN: tl.constexpr,
    BITS: tl.constexpr,
    BLOCKS: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
):
    """Take a block of rows through all stages."""
    k_padded = k_blocks * 128
    row_M = tl.program_id(0) * BM + tl.arange(0, BM)
    col_N, w = tl.arange(0, BN), tl.arange(0, W)
    slot = tl.arange(0, BN // 2)
    inside = (row_M < N)[:, None] & (w < D)[None, :]
    x_ptrs = x_ptr + row_M.to(tl.int64)[:, None] * D + w[None, :]
    total = tl.zeros((BM, W), tl.float32)
    live = row_M < N
    for stage in range(0, Q):
        residual = tl.load(x_ptrs, inside, 0.0) - total
        finite = tl.max((tl.abs(residual) < float("inf")).to(tl.int32) ^ 1, 1) == 0
        centre = tl.load(centre_ptr + w, w < D, 0.0)
        high, scale, norm, error = _near_one(residual, centre, 1.0 / tl.load(unit_ptr))
        best = tl.full((BM, BN // 2), NOTHING, tl.float32)
        second = tl.full((BM, BN // 2), NOTHING, tl.float32)
        e_ptrs = codes_ptr + col_N.to(tl.int64)[None, :] * W + w[:, None]
        h_ptrs = heights + col_N
        for it in range(0, k_padded // BN):
            acc = tl.dot(high, tl.load(e_ptrs))
            score = tl.fma(acc, scale[:, None] + tl.zeros_like(acc), tl.zeros_like(acc) - tl.load(h_ptrs)[None, :])
            best, second = update(best, second, score, it, BM, BN, 1, BITS)
            e_ptrs += BN * W
            h_ptrs += BN

        slack = slack_of(norm, error, 0.0, code_stats, unit_ptr, blocks, D, W, BITS, BLOCKS, EUCLIDEAN)
        top = tl.max(best, 1)
        least = top - slack
        bits = top.to(tl.int32, bitcast=True) & (2**BITS - 1)
        at, _, best, top = take_best(best, second, top, slot, BN // 2)
        code = code_of(at, bits, 0, BN, 1)
        sure = finite & live
        unsettled = sure & ((top < least) == 0)
        if tl.max(unsettled.to(tl.int32), 0) > 0:
            near1 = unsettled & (top >= least)
            bits = top.to(tl.int32, bitcast=True) & (2**BITS - 1)
            at, hides, best, top = take_best(best, second, top, slot, BN // 2)
            code1, lost = code_of(at, bits, 0, BN, 1), near1 & hides
            near2 = near1 & (top >= least)
            bits = top.to(tl.int32, bitcast=True) & (2**BITS - 1)
            at, hides, best, top = take_best(best, second, top, slot, BN // 2)
            code2, lost = code_of(at, bits, 0, BN, 1), lost | (near2 & hides)
            unsettled = unsettled & (((top < least) == 0) | lost)
            # Written out and read back by pieces: as a whole it would not fit into registers in float64.
            tl.debug_barrier()
            tl.store(
                residuals + row_M.to(tl.int64)[:, None] * D + w[None, :], tl.load(x_ptrs, inside, 0.0) - total, inside
            )
            tl.debug_barrier()
            first = code
            distance = tl.full((BM,), float("inf"), tl.float64)
            for turn in range(0, 3):
                other = tl.where(turn == 0, first, tl.where(turn == 1, code1, code2))
                near = tl.where(turn == 2, near2, near1)
                if tl.max(near.to(tl.int32), 0) > 0:
                    x_M, e_M = residuals + row_M.to(tl.int64) * D, codebooks_ptr + other.to(tl.int64) * D
                    measured = distances(x_M, e_M, near, D, BM, CHUNK, LEVELS, EUCLIDEAN)
                    better = near & closer(measured, other, distance, code)
                    distance, code = tl.where(better, measured, distance), tl.where(better, other, code)
            if tl.max(unsettled.to(tl.int32), 0) > 0:
                turns = tl.atomic_add(open_count + tl.zeros((BM,), tl.int32), 1, unsettled, sem="relaxed")
                tl.store(open_rows + turns, row_M, unsettled)
                tl.store(open_stages + turns, tl.zeros((BM,), tl.int32) + stage, unsettled)
        live = live & (unsettled == 0)
        chosen = live & finite
        tl.store(indices_out + row_M.to(tl.int64) * Q + stage, tl.where(chosen, code, -1).to(tl.int64), live)
        place = codebooks_ptr + code.to(tl.int64)[:, None] * D + w[None, :]
        total += tl.load(place, chosen[:, None] & (w < D)[None, :], 0.0)
        codebooks_ptr += K * D
        codes_ptr += k_padded * W
        heights += k_padded
        code_stats += 4 * blocks
        centre_ptr += D
        unit_ptr += 1


@triton.jit
def finish_rows(
    x_ptr,
    codebooks_ptr,
    indices_out,
    open_count,
    open_rows,
    open_stages,
    K,
    Q,
    D: tl.constexpr,
    W: tl.constexpr,
    P: tl.constexpr,
):
    """The open rows from the stage they stopped at, by measuring every code."""
    lane, w = tl.arange(0, P), tl.arange(0, W)
    for item in range(tl.program_id(0), tl.load(open_count), tl.num_programs(0)):
        row = tl.load(open_rows + item).to(tl.int64)
        stopped = tl.load(open_stages + item)
        x = tl.load(x_ptr + row * D + w, w < D, 0.0)
        total = tl.zeros((W,), tl.float32)
        book = codebooks_ptr
        for stage in range(0, Q):
            code = tl.load(indices_out + row * Q + stage, stage < stopped, -1)
            if stage >= stopped:
                code = _closest(x - total, book, K, lane, w, D, P)
                tl.store(indices_out + row * Q + stage, code)
            total += tl.load(book + code * D + w, (w < D) & (code >= 0), 0.0)
            book += K * D


@triton.jit
def _closest(residual, book, K, lane, w, D: tl.constexpr, P: tl.constexpr):
    """The code nearest to a residual (W,), int64; −1 where it is not finite."""
    best = tl.full((P,), float("inf"), tl.float64)
    best_code = tl.zeros((P,), tl.int64)
    for start in range(0, K, P):
        code = start + lane.to(tl.int64)
        e = tl.load(book + code[:, None] * D + w[None, :], (code < K)[:, None] & (w < D)[None, :], 0.0)
        off = residual[None, :] - e
        rough = tl.sum(off * off, 1)
        limit = tl.min(best, 0) * (1 + (D + 16) * 2.0**-22)
        near = (code < K) & (((rough.to(tl.float64) > limit) & (rough < float("inf"))) == 0)
        if tl.max(near.to(tl.int32), 0) > 0:
            wide = residual.to(tl.float64)[None, :] - e.to(tl.float64)
            distance = tl.sum(wide * wide, 1)
            better = near & (distance < best)
            best, best_code = tl.where(better, distance, best), tl.where(better, code, best_code)
    least = tl.min(best, 0)
    code = tl.min(tl.where(best == least, best_code, K), 0)
    finite = tl.max((tl.abs(residual) < float("inf")).to(tl.int32) ^ 1, 0) == 0
    return tl.where(finite, code, -1)
