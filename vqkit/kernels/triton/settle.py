"""From candidates to answers, in float64: of the few codes the screen left to a row, or of all of them."""

# Triton's ranges and branches on constants are not what a type checker takes them for.
# pyright: reportGeneralTypeIssues=false, reportPossiblyUnboundVariable=false

import triton
import triton.language as tl

from vqkit.kernels.triton.pairs import COSINE, DOT, EUCLIDEAN, closer, distances
from vqkit.kernels.triton.screen import NOTHING, member_of


@triton.jit
def settle(
    x_ptr,
    codes_ptr,
    row_stats,
    scores_ptr,
    candidates_ptr,
    rest_ptr,
    hidden_ptr,
    slack_ptr,
    indices_out,  # (H, N) int64
    distances_out,  # (H, N) float64
    open_count,
    open_rows,  # (H, N) int32: rows that more codes have to be measured for
    open_slots,  # (H, N) int32: those of a slot, given its first code, or −1 for all codes
    N,
    K,
    n_blocks,
    splits,
    heads,
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    KEPT: tl.constexpr,
    GROUP: tl.constexpr,
    METRIC: tl.constexpr,
):
    """Measure every candidate whose score is within the slack of the best."""
    n_padded = n_blocks * 128
    head = tl.program_id(1).to(tl.int64)
    row_P = tl.program_id(0) * P + tl.arange(0, P)
    inside = row_P < N
    place = head * n_padded + row_P
    state = tl.load(row_stats + head * 4 * n_padded + n_padded + row_P)
    top = tl.full((P,), NOTHING, tl.float32)
    rest = tl.full((P,), NOTHING, tl.float32)
    hidden = tl.full((P,), -1, tl.int32)
    for split in range(0, splits):
        top = tl.maximum(top, tl.load(scores_ptr + split * KEPT * heads * n_padded + place))
        rest = tl.maximum(rest, tl.load(rest_ptr + split * heads * n_padded + place))
        hides = tl.load(hidden_ptr + split * heads * n_padded + place)
        rest = tl.where((hides >= 0) & (hidden >= 0), -NOTHING, rest)
        hidden = tl.maximum(hidden, hides)
    least = top - tl.load(slack_ptr + place)
    finite = state == state
    closed = inside & finite & (state >= 0) & (rest < least)
    best = tl.full((P,), float("inf"), tl.float64)
    best_code = tl.full((P,), 0, tl.int64) + K
    # Each row with each code of a group is a pair.
    pairs: tl.constexpr = P * GROUP
    members = member_of(tl.zeros((P, GROUP), tl.int64), tl.arange(0, GROUP)[None, :])
    row_PG = row_P[:, None] + tl.zeros((P, GROUP), tl.int64)
    x_pairs = x_ptr + (head * N + tl.reshape(row_PG, (pairs,))) * D
    for number in range(0, splits * KEPT):
        here = number * heads * n_padded + place
        contends = closed & (tl.load(scores_ptr + here) >= least)
        if tl.max(contends.to(tl.int32), 0) > 0:
            group = tl.load(candidates_ptr + here, contends, 0).to(tl.int64)
            code_PG = group[:, None] + members
            measured_PG = contends[:, None] & (code_PG < K)
            e_pairs = codes_ptr + (head * K + tl.reshape(code_PG, (pairs,))) * D
            measured = tl.reshape(measured_PG, (pairs,))
            found = distances(x_pairs, e_pairs, measured, D, pairs, CHUNK, LEVELS, METRIC)
            distance_PG = tl.where(measured_PG, tl.reshape(found, (P, GROUP)), float("inf"))
            distance = tl.min(distance_PG, 1)
            code = tl.min(tl.where(measured_PG & (distance_PG == distance[:, None]), code_PG, K), 1)
            better = contends & closer(distance, code, best, best_code)
            best, best_code = tl.where(better, distance, best), tl.where(better, code, best_code)
    if METRIC != EUCLIDEAN:  # a zero row is as far from every code
        zero = finite & (state < 0)
        away = 1.0 if METRIC == COSINE else 0.0
        best, best_code = tl.where(zero, away, best), tl.where(zero, 0, best_code)
    answered = inside & (closed | (state < 0) | (state != state))
    out = head * N + row_P
    tl.store(indices_out + out, tl.where(finite, best_code, -1), answered)
    tl.store(distances_out + out, tl.where(finite, best, float("inf")), answered)
    lost = inside & finite & (state >= 0) & ((rest < least) == 0)
    unsettled = lost | (closed & (hidden >= 0))
    if tl.max(unsettled.to(tl.int32), 0) > 0:
        turn = tl.atomic_add(open_count + head + tl.zeros((P,), tl.int32), 1, unsettled, sem="relaxed")
        tl.store(open_rows + head * N + turn, row_P, unsettled)
        tl.store(open_slots + head * N + turn, tl.where(lost, -1, hidden), unsettled)


@triton.jit
def farther(x_P, e_P, mask_P, than, D: tl.constexpr, P: tl.constexpr, CHUNK: tl.constexpr, METRIC: tl.constexpr):
    """Whether a distance is larger than a float64 number by float32 alone, off by (D + 4) roundings.

    Of what overflows float32, or is NaN, it says no: that is to be measured.
    """
    rough = tl.zeros((P, CHUNK), tl.float32)
    mass = tl.zeros((P, CHUNK), tl.float32)
    for first in range(0, D, CHUNK):
        d = first + tl.arange(0, CHUNK)
        inside = mask_P[:, None] & (d < D)[None, :]
        x = tl.load(x_P[:, None] + d[None, :], inside, 0.0).to(tl.float32)
        e = tl.load(e_P[:, None] + d[None, :], inside, 0.0)
        if METRIC == DOT:
            rough -= x * e
            mass += tl.abs(x * e)
        else:
            off = x - e
            rough += off * off
    about = tl.sum(rough, 1)
    if METRIC == DOT:  # its roundings are of the sum of magnitudes; products may underflow
        limit = than + (D + 16) * 2.0**-22 * tl.sum(mass, 1).to(tl.float64) + D * 2.0**-126
    else:
        limit = than * (1 + (D + 16) * 2.0**-22)
    return (about.to(tl.float64) > limit) & (about < float("inf"))


@triton.jit
def measure_more(
    x_ptr,
    codes_ptr,
    indices_out,
    distances_out,
    open_count,
    open_rows,
    open_slots,
    arrivals,  # (H, PLACES) int32
    part_distance,  # (H, PLACES) float64
    part_code,  # (H, PLACES) int64
    N,
    K,
    tiles,  # of a split
    D: tl.constexpr,
    P: tl.constexpr,
    CHUNK: tl.constexpr,
    LEVELS: tl.constexpr,
    METRIC: tl.constexpr,
    PARTS: tl.constexpr,
    PLACES: tl.constexpr,
    BN: tl.constexpr,
    MEMBERS: tl.constexpr,
):
    """For the rows left open, measure the codes of a slot, or all. How many rows is read here: no host waits for it.

    A few rows are cut into parts of the codes, one a program; the program that comes last compares the parts.
    """
    head = tl.program_id(1).to(tl.int64)
    lane = tl.arange(0, P)
    count = tl.load(open_count + head)
    parts = tl.maximum(tl.minimum(tl.minimum(PLACES // tl.maximum(count, 1), PARTS), (K + P - 1) // P), 1)
    arrivals += head * PLACES
    part_distance += head * PLACES
    part_code += head * PLACES
    for item in range(tl.program_id(0), count * parts, tl.num_programs(0)):
        turn, part = item // parts, item % parts
        row = tl.load(open_rows + head * N + turn).to(tl.int64)
        slot = tl.load(open_slots + head * N + turn)
        of_slot = slot >= 0
        out = head * N + row
        x_P = x_ptr + (out + tl.zeros((P,), tl.int64)) * D
        # A slot's codes, MEMBERS of each tile, or all codes; numbered, and cut into parts.
        total = tl.where(of_slot, tiles * MEMBERS, K)
        span = ((total + P - 1) // P + parts - 1) // parts * P
        best = tl.full((P,), float("inf"), tl.float64)
        best_code = tl.zeros((P,), tl.int64) + K
        for start in range(part * span, tl.minimum(total, (part + 1) * span), P):
            number = start + lane
            code = tl.where(of_slot, member_of(slot + number // MEMBERS * BN, number % MEMBERS), number).to(tl.int64)
            near = (number < total) & (code < K)
            e_P = codes_ptr + (head * K + code) * D
            if METRIC != COSINE:
                near &= farther(x_P, e_P, near, tl.min(best, 0), D, P, CHUNK, METRIC) == 0
            if tl.max(near.to(tl.int32), 0) > 0:
                distance = distances(x_P, e_P, near, D, P, CHUNK, LEVELS, METRIC)
                better = near & closer(distance, code, best, best_code)
                best, best_code = tl.where(better, distance, best), tl.where(better, code, best_code)
        least = tl.min(best, 0)
        code = tl.min(tl.where(best == least, best_code, K), 0)
        last = parts == 1
        if parts > 1:
            tl.store(part_distance + item, least)
            tl.store(part_code + item, code)
            tl.debug_barrier()
            last = tl.atomic_add(arrivals + turn, 1, sem="acq_rel") == parts - 1
            there = tl.arange(0, PARTS)
            mine = (there < parts) & last
            all_parts = tl.load(part_distance + turn * parts + there, mine, float("inf"), volatile=True)
            all_codes = tl.load(part_code + turn * parts + there, mine, K, volatile=True)
            least = tl.min(all_parts, 0)
            code = tl.min(tl.where(all_parts == least, all_codes, K), 0)
        # Of a slot's row the other candidates have been measured. Where every distance is NaN any code will do.
        known = tl.load(distances_out + out, last & of_slot, float("inf"))
        known_code = tl.load(indices_out + out, last & of_slot, K)
        better = closer(least, code, known, known_code)
        code = tl.where(better, code, known_code)
        tl.store(distances_out + out, tl.where(better, least, known), last)
        tl.store(indices_out + out, tl.where(code < K, code, 0), last)
